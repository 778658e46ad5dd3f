// Times the experts of one MoE layer, forward and backward in fp32, in turn with the ways that
// model code has: a loop over experts of autograd's own operations, and at::_grouped_mm. Each round
// runs every one of them once; ratios are medians over the rounds. One Markdown row a shape. usage:
// moe_step_bench [ROUNDS [SHAPE]]
#include <fmt/format.h>
#include <time.h>
#include <torch/torch.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "nn/plain_experts.h"
#include "talpa/kernel/limits.h"
#include "talpa/nn/moe/experts.h"
#include "talpa/nn/moe/latent_experts.h"
#include "talpa/nn/scope.h"

namespace {

using namespace talpa;
using namespace talpa::nn;

struct Shape {
  std::int64_t rows, width, experts, hidden;
  int top_k;
  std::int64_t latent_dim = 0;
};

const std::vector<Shape> kShapes{
    {6144, 256, 8, 512, 2},  {6144, 256, 32, 128, 4},      {6144, 256, 64, 128, 8},
    {4096, 512, 16, 384, 4}, {6144, 256, 32, 128, 4, 128}, {4096, 128, 32, 48, 4},
};

class Layer {
 public:
  explicit Layer(const Shape& s) : shape_(s) {
    torch::manual_seed(1);
    const std::int64_t in = s.latent_dim > 0 ? s.latent_dim : s.width;
    add("gate", {s.experts, s.hidden, in});
    add("up", {s.experts, s.hidden, in});
    add("down", {s.experts, s.width, s.hidden});
    if (s.latent_dim > 0) {
      add("gate_in", {1, s.latent_dim, s.width});
      add("up_in", {1, s.latent_dim, s.width});
    }
    add("x", {s.rows, s.width});
    direction_ = at::randn({s.rows, s.width});
    const MoeConfig config{.num_experts = static_cast<int>(s.experts), .top_k = s.top_k};
    routing_ = route_rows(at::randn({s.rows, s.experts}), config);
  }

  void run(const std::string& how) {
    for (auto& [name, tensor] : tensors_) tensor.mutable_grad().reset();
    forward(how).backward(direction_);
  }

  /// The products of all experts alone, by libtorch, on rows that lie in order.
  void run_products() {
    const torch::NoGradGuard no_grad;
    const at::Tensor &gate = tensors_["gate"], &up = tensors_["up"], &down = tensors_["down"];
    const std::int64_t slots = routing_.offsets.back(), in = gate.size(2);
    if (!rows_.defined()) {
      rows_ = at::randn({slots, in});
      hidden_ = at::randn({slots, shape_.hidden});
      y_ = at::randn({slots, shape_.width});
    }
    for_each_range(routing_.offsets, [&](std::int64_t e, RowRange range) {
      const at::Tensor x = range.of(rows_), h = range.of(hidden_), y = range.of(y_);
      for (const at::Tensor* w : {&gate, &up}) {
        at::mm(x, w->select(0, e).t());
        at::mm(h, w->select(0, e));
        at::mm(h.t(), x);
      }
      at::mm(h, down.select(0, e).t());
      at::mm(y, down.select(0, e));
      at::mm(y.t(), h);
    });
  }

  /// Operations of a forward and a backward: each product is done once and has two gradients.
  double operations(bool with_latents = true) const {
    const double slots = static_cast<double>(shape_.rows) * shape_.top_k;
    const double in = static_cast<double>(shape_.latent_dim > 0 ? shape_.latent_dim : shape_.width);
    const double width = static_cast<double>(shape_.width);
    double products = slots * static_cast<double>(shape_.hidden) * (2 * in + width);
    if (with_latents && shape_.latent_dim > 0)
      products += static_cast<double>(shape_.rows) * 2 * in * width;
    return 6 * products;
  }

 private:
  at::Tensor forward(const std::string& how) {
    const Scope scope(tensors_);
    const at::Tensor& x = tensors_["x"];
    if (how == "loop")
      return testing::PlainExperts{tensors_["gate"],      tensors_["up"],      tensors_["down"],
                                   scope.find("gate_in"), scope.find("up_in"), {}}
          .run(x, routing_);
    if (how == "grouped_mm") return grouped(x);
    if (shape_.latent_dim == 0) return dense_experts(x, routing_, scope);
    return latent_experts(x, routing_, scope, {.latent_dim = static_cast<int>(shape_.latent_dim)});
  }

  at::Tensor grouped(const at::Tensor& x) {
    const at::Tensor row = routing_.slots.index;
    std::vector<std::int32_t> ends(routing_.offsets.begin() + 1, routing_.offsets.end());
    const at::Tensor end = at::tensor(ends, at::kInt);
    const auto product = [&](const at::Tensor& rows, const char* name) {
      return at::_grouped_mm(rows, tensors_[name].transpose(1, 2), end);
    };
    const auto input = [&](const char* name) {
      const at::Tensor rows = shape_.latent_dim > 0 ? at::linear(x, tensors_[name][0]) : x;
      return rows.index_select(0, row);
    };
    const at::Tensor a = input("gate_in"), b = shape_.latent_dim > 0 ? input("up_in") : a;
    const at::Tensor hidden = at::silu(product(a, "gate")) * product(b, "up");
    const at::Tensor y = product(hidden, "down") * routing_.weight_S.unsqueeze(1);
    return at::zeros_like(x).index_add(0, row, y);
  }

  void add(const std::string& name, std::vector<std::int64_t> sizes) {
    tensors_[name] = at::randn(sizes).mul_(name == "x" ? 1 : 0.1).requires_grad_(true);
  }

  Shape shape_;
  Parameters tensors_;
  Routing routing_;
  at::Tensor direction_, rows_, hidden_, y_;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// CPU seconds of all threads: what others do on the machine counts less than by the clock.
double seconds_of(const std::function<void()>& work) {
  const auto now = [] {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  work();
  return now() - start;
}

void measure(const Shape& shape, int rounds, ThreadPool& pool) {
  const std::vector<std::string> ways{"talpa", "loop", "grouped_mm"};
  Layer layer(shape);
  for (const std::string& how : ways) layer.run(how);
  std::vector<std::vector<double>> seconds(ways.size());
  std::vector<double> ratio, share, products;
  layer.run_products();
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < ways.size(); ++i)
      seconds[i].push_back(seconds_of([&] { layer.run(ways[i]); }));
    const double limit = fp32_limit(pool) / pool.size();
    products.push_back(layer.operations(false) / seconds_of([&] { layer.run_products(); }) / limit);
    ratio.push_back(std::min(seconds[1].back(), seconds[2].back()) / seconds[0].back());
    share.push_back(layer.operations() / seconds[0].back() / limit);
  }
  fmt::print(
      "| {} x {}, {} of {} x {}{} | {} | {:.1f} | {:.1f} | {:.1f} | {:.2f} | {:.0f} % | {:.0f} % "
      "|\n",
      shape.rows, shape.width, shape.top_k, shape.experts, shape.hidden,
      shape.latent_dim > 0 ? fmt::format(", r = {}", shape.latent_dim) : "",
      shape.rows * shape.top_k / shape.experts, 1e3 * median(seconds[0]), 1e3 * median(seconds[1]),
      1e3 * median(seconds[2]), median(ratio), 100 * median(share), 100 * median(products));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 15;
  ThreadPool pool = make_thread_pool(0);
  at::set_num_threads(pool.size());
  fmt::print(
      "| rows x width, experts a row of all x hidden | rows an expert | talpa, CPU ms | loop, ms "
      "| grouped_mm, ms | best of both / talpa | of FMA limit | libtorch's products alone "
      "|\n|---|---|---|---|---|---|---|---|\n");
  for (std::size_t i = 0; i < kShapes.size(); ++i)
    if (argc <= 2 || i == static_cast<std::size_t>(std::atoi(argv[2])))
      measure(kShapes[i], rounds, pool);
}
