#include "talpa/collective/communicator.h"

#include <torch/torch.h>

#include <algorithm>
#include <numeric>

#include "talpa/base/error.h"

namespace talpa::collective {

namespace {

constexpr std::chrono::milliseconds kLook{200};

std::int64_t total(const std::vector<std::int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

at::Tensor tensor_of(std::span<double> values) {
  return at::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, at::kDouble);
}

std::vector<std::int64_t> with_rows(const at::Tensor& x, std::int64_t rows) {
  std::vector<std::int64_t> shape = x.sizes().vec();
  shape.at(0) = rows;
  return shape;
}

}  // namespace

Communicator::Communicator(c10::intrusive_ptr<c10d::Backend> backend, std::shared_ptr<Peers> peers)
    : backend_(std::move(backend)), peers_(std::move(peers)) {}

Communicator::~Communicator() {
  // Its destructor would wait for what never ends.
  if (broken_) {
    backend_.release();
    new std::shared_ptr<Peers>(std::move(peers_));
  }
}

void Communicator::fail_lost(const char* operation, const std::string& lost) {
  broken_ = true;
  fail(ErrorCode::kIo, "{}, seen in {} at {}", lost, operation, position_);
}

template <class Start>
void Communicator::run(const char* operation, Start&& start) {
  std::string reason;
  try {
    const auto work = start();
    while (true) {
      // An operation may complete as a wait for it runs out: only then is an exception its own.
      const bool completed = work->isCompleted();
      try {
        work->wait(kLook);
        return;
      } catch (const std::exception&) {
        if (completed) throw;
      }
      if (const auto lost = peers_->lost()) fail_lost(operation, *lost);
    }
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    reason = error.what();
  }
  if (const auto lost = peers_->diagnose()) fail_lost(operation, *lost);
  broken_ = true;
  fail(ErrorCode::kIo, "{} failed at {}: {}", operation, position_,
       reason.substr(0, reason.find('\n')));
}

void Communicator::sum(at::Tensor x) {
  const torch::NoGradGuard no_grad;
  TALPA_CHECK(x.is_contiguous());
  std::vector<at::Tensor> tensors{x.detach()};
  if (x.numel() > 0) run("all-reduce", [&] { return backend_->allreduce(tensors); });
}

// An operation that cannot end keeps writing: into memory that it owns.
void Communicator::sum_view(const at::Tensor& view) {
  at::Tensor own = view.clone();
  sum(own);
  at::Tensor(view).copy_(own);
}

void Communicator::sum(std::span<double> values) { sum_view(tensor_of(values)); }

void Communicator::sum(std::vector<std::int64_t>& values) {
  sum_view(at::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, at::kLong));
}

void Communicator::broadcast(at::Tensor x, int root) {
  const torch::NoGradGuard no_grad;
  TALPA_CHECK(x.is_contiguous());
  std::vector<at::Tensor> tensors{x.detach()};
  c10d::BroadcastOptions options;
  options.rootRank = root;
  if (x.numel() > 0) run("broadcast", [&] { return backend_->broadcast(tensors, options); });
}

at::Tensor Communicator::exchange_rows(const at::Tensor& x, const std::vector<std::int64_t>& send,
                                       const std::vector<std::int64_t>& recv) {
  const torch::NoGradGuard no_grad;
  TALPA_CHECK(x.size(0) == total(send) && static_cast<int>(send.size()) == size());
  at::Tensor input = x.detach().contiguous();
  at::Tensor output = at::empty(with_rows(x, total(recv)), input.options());
  std::vector<std::int64_t> from = recv, to = send;
  run("all-to-all", [&] { return backend_->alltoall_base(output, input, from, to); });
  return output;
}

at::Tensor Communicator::gather_rows(const at::Tensor& x) {
  const torch::NoGradGuard no_grad;
  std::vector<std::int64_t> rows(static_cast<std::size_t>(size()), 0);
  rows[static_cast<std::size_t>(rank())] = x.size(0);
  sum(rows);
  // Collectives that gather want equal shares: the longest's.
  const std::int64_t most = *std::max_element(rows.begin(), rows.end());
  at::Tensor padded = at::zeros(with_rows(x, most), x.options().requires_grad(false));
  padded.narrow(0, 0, x.size(0)).copy_(x.detach());
  std::vector<std::vector<at::Tensor>> outputs(1);
  for (int r = 0; r < size(); ++r) outputs[0].push_back(at::empty_like(padded));
  std::vector<at::Tensor> inputs{padded};
  if (padded.numel() > 0) run("all-gather", [&] { return backend_->allgather(outputs, inputs); });
  for (std::size_t r = 0; r < rows.size(); ++r) outputs[0][r] = outputs[0][r].narrow(0, 0, rows[r]);
  return at::cat(outputs[0], 0);
}

std::vector<std::string> Communicator::gather_text(const std::string& text) {
  const auto bytes = static_cast<std::int64_t>(text.size());
  const at::Tensor own = at::empty({bytes}, at::kByte);
  std::copy(text.begin(), text.end(), own.data_ptr<std::uint8_t>());
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(size()), 0);
  sizes[static_cast<std::size_t>(rank())] = bytes;
  sum(sizes);
  const at::Tensor all = gather_rows(own);
  const char* next = reinterpret_cast<const char*>(all.const_data_ptr<std::uint8_t>());
  std::vector<std::string> texts;
  for (const std::int64_t length : sizes) {
    texts.emplace_back(next, static_cast<std::size_t>(length));
    next += length;
  }
  return texts;
}

void Communicator::barrier() {
  double nothing = 0;
  sum(std::span(&nothing, 1));
}

}  // namespace talpa::collective
