#include "talpa/train/replicas.h"

#include <torch/torch.h>

#include "talpa/base/config.h"
#include "talpa/base/error.h"
#include "talpa/train/run_log.h"

namespace talpa::train {

namespace {

constexpr std::int64_t kBucketBytes = 32 << 20;

void run_bucket(const std::vector<at::Tensor>& tensors,
                const std::function<void(at::Tensor flat)>& body) {
  if (tensors.empty()) return;
  std::vector<at::Tensor> parts;
  for (const at::Tensor& tensor : tensors) parts.push_back(tensor.reshape({-1}));
  const at::Tensor flat = at::cat(parts);
  body(flat);
  std::int64_t first = 0;
  for (const at::Tensor& tensor : tensors) {
    at::Tensor(tensor).copy_(flat.narrow(0, first, tensor.numel()).view(tensor.sizes()));
    first += tensor.numel();
  }
}

/// Gradients by whether their parameter is split; one that a process lacks is zeros there.
std::vector<at::Tensor> gradients_of(const NamedTensors& parameters,
                                     const std::function<bool(const std::string&)>& wanted) {
  std::vector<at::Tensor> gradients;
  for (const auto& [name, value] : parameters) {
    if (!wanted(name)) continue;
    at::Tensor& gradient = at::Tensor(value).mutable_grad();
    if (!gradient.defined()) gradient = at::zeros_like(value.detach());
    gradients.push_back(gradient.detach());
  }
  return gradients;
}

}  // namespace

void in_buckets(const std::vector<at::Tensor>& tensors,
                const std::function<void(at::Tensor flat)>& body) {
  const torch::NoGradGuard no_grad;
  std::vector<at::Tensor> bucket;
  std::int64_t bytes = 0;
  for (const at::Tensor& tensor : tensors) {
    const bool other_type = !bucket.empty() && bucket.back().scalar_type() != tensor.scalar_type();
    if (bytes >= kBucketBytes || other_type) {
      run_bucket(bucket, body);
      bucket.clear();
      bytes = 0;
    }
    bucket.push_back(tensor);
    bytes += static_cast<std::int64_t>(tensor.nbytes());
  }
  run_bucket(bucket, body);
}

bool Replicas::is_split(const std::string& name) const {
  return mesh_.experts() != nullptr && is_split_(name.substr(0, name.find('/')));
}

void Replicas::align(const NamedTensors& parameters) {
  std::vector<at::Tensor> shared, split;
  for (const auto& [name, value] : parameters)
    (is_split(name) ? split : shared).push_back(value.detach());
  in_buckets(shared, [this](const at::Tensor& flat) { world().broadcast(flat, 0); });
  if (mesh_.replicas() != nullptr)
    in_buckets(split, [this](const at::Tensor& flat) { mesh_.replicas()->broadcast(flat, 0); });
}

void Replicas::sum_gradients(const NamedTensors& parameters) {
  in_buckets(gradients_of(parameters, [this](const auto& name) { return !is_split(name); }),
             [this](const at::Tensor& flat) { world().sum(flat); });
  if (mesh_.replicas() != nullptr)
    in_buckets(gradients_of(parameters, [this](const auto& name) { return is_split(name); }),
               [this](const at::Tensor& flat) { mesh_.replicas()->sum(flat); });
}

void Replicas::check_alike(const std::string& text, const std::string& what) {
  const std::vector<std::string> texts = world().gather_text(text);
  for (std::size_t rank = 1; rank < texts.size(); ++rank)
    if (texts[rank] != texts[0])
      fail(ErrorCode::kConfig, "rank {} differs from rank 0 in {}", rank, what);
}

double Replicas::first_value(double own) {
  const at::Tensor value = at::full({1}, own, at::kDouble);
  world().broadcast(value, 0);
  return value.item<double>();
}

double Replicas::sum_of_shares(double own) {
  if (mesh_.experts() != nullptr) mesh_.experts()->sum(std::span(&own, 1));
  return own;
}

bool Replicas::combine(StepRecord& record, bool stop) {
  std::vector<double> values{stop ? 1.0 : 0.0, record.loss, static_cast<double>(record.tokens)};
  for (const auto& [name, value] : record.metrics) values.push_back(value);
  world().sum(values);
  record.loss = values[1];
  record.tokens = static_cast<std::int64_t>(values[2]);
  std::size_t next = 3;
  for (auto& [name, value] : record.metrics) value = values[next++];
  return values[0] > 0;
}

NamedTensors Replicas::whole(const NamedTensors& state, bool sharded) {
  NamedTensors result;
  for (const auto& [name, tensor] : state)
    result[name] = is_split(name) ? mesh_.experts()->gather_rows(tensor) : tensor;
  if (sharded) fetch_missing(result, state);
  return result;
}

// From each process in turn what it alone has.
void Replicas::fetch_missing(NamedTensors& result, const NamedTensors& state) {
  Json own = Json::object();
  for (const auto& [name, tensor] : state)
    if (!is_split(name)) own[name] = tensor.sizes().vec();
  const auto lists = world().gather_text(own.dump());
  for (int owner = 1; owner < world().size(); ++owner) {
    const Json list = Json::parse(lists[static_cast<std::size_t>(owner)]);
    for (const auto& [name, shape] : list.items()) {
      const at::Tensor tensor = owner == world().rank()
                                    ? state.at(name).contiguous()
                                    : at::empty(shape.get<std::vector<std::int64_t>>(), at::kFloat);
      world().broadcast(tensor, owner);
      if (is_first()) result[name] = tensor;
    }
  }
}

at::Tensor Replicas::share_of(const std::string& name, const at::Tensor& whole) {
  if (!is_split(name)) return whole;
  const std::int64_t count = whole.size(0) / mesh_.experts()->size();
  return whole.narrow(0, mesh_.experts()->rank() * count, count);
}

std::vector<std::int64_t> Replicas::whole_shape(const std::string& name, const at::Tensor& share) {
  std::vector<std::int64_t> shape = share.sizes().vec();
  if (is_split(name)) shape.at(0) *= mesh_.experts()->size();
  return shape;
}

}  // namespace talpa::train
