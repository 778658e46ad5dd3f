// The experts of a layer beside the plain loop over them: values, gradients, bits and bytes.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>

#include "nn/counting_allocator.h"
#include "nn/plain_experts.h"
#include "talpa/nn/moe/experts.h"
#include "talpa/nn/moe/latent_experts.h"
#include "talpa/nn/scope.h"

namespace talpa::nn {
namespace {

using talpa::testing::CountingAllocator;
using talpa::testing::PlainExperts;

struct Shape {
  std::string name;
  std::int64_t rows, width, experts, expert_width;
  int top_k;
  LatentConfig latent;
};

/// One layer's experts on random rows, by both ways.
class Layer {
 public:
  Layer(const Shape& shape, at::ScalarType dtype) : shape_(shape) {
    torch::manual_seed(5);
    const auto n = shape.width, m = shape.expert_width, experts = shape.experts;
    const LatentConfig& l = shape.latent;
    const std::int64_t r = l.latent_dim;
    const std::int64_t groups = l.group_size > 0 ? experts / l.group_size : 1;
    const bool gate = l.enabled() && l.factor_gate, up = l.enabled() && l.factor_up;
    const bool down = l.enabled() && l.factor_down;
    add("gate", {experts, m, gate ? r : n}, dtype);
    add("up", {experts, m, up ? r : n}, dtype);
    add("down", {experts, down ? r : n, m}, dtype);
    if (gate && l.share_gate_up_latent) add("gate_up_in", {groups, r, n}, dtype);
    if (gate && !l.share_gate_up_latent) add("gate_in", {groups, r, n}, dtype);
    if (up && !l.share_gate_up_latent) add("up_in", {groups, r, n}, dtype);
    if (down) add("down_out", {groups, n, r}, dtype);
    add("x", {shape.rows, n}, dtype);
    add("logits", {shape.rows, experts}, dtype);
    direction_ = at::randn({shape.rows, n}, at::kDouble).to(dtype);
  }

  at::Tensor run(bool fused) {
    const MoeConfig config{.num_experts = static_cast<int>(shape_.experts), .top_k = shape_.top_k};
    const Routing routing = route_rows(tensors_["logits"], config);
    const Scope scope(tensors_);
    if (fused && shape_.latent.enabled())
      return latent_experts(tensors_["x"], routing, scope, shape_.latent);
    if (fused) return dense_experts(tensors_["x"], routing, scope);
    const bool shared = shape_.latent.share_gate_up_latent;
    return PlainExperts{tensors_["gate"],
                        tensors_["up"],
                        tensors_["down"],
                        scope.find(shared ? "gate_up_in" : "gate_in"),
                        scope.find(shared ? "gate_up_in" : "up_in"),
                        scope.find("down_out")}
        .run(tensors_["x"], routing);
  }

  /// The value, then every gradient of a fixed functional of it.
  std::map<std::string, at::Tensor> results(bool fused) {
    for (auto& [name, tensor] : tensors_) tensor.mutable_grad().reset();
    const at::Tensor y = run(fused);
    (y * direction_).sum().backward();
    std::map<std::string, at::Tensor> results{{"value", y.detach()}};
    for (const auto& [name, tensor] : tensors_) results[name] = tensor.grad().clone();
    return results;
  }

 private:
  void add(const std::string& name, std::vector<std::int64_t> sizes, at::ScalarType dtype) {
    const double root = std::sqrt(static_cast<double>(shape_.width));
    const double scale = name == "x" || name == "logits" ? 1 : 0.73 / root;
    tensors_[name] = at::randn(sizes, at::kDouble).mul_(scale).to(dtype).requires_grad_(true);
  }

  Shape shape_;
  Parameters tensors_;
  at::Tensor direction_;
};

std::vector<Shape> shapes() {
  // Few rows for many experts, so that some have none; one group of all, whose map is the identity.
  return {{"dense", 9, 6, 8, 5, 2, {}},
          {"groups", 9, 6, 8, 5, 2, {.latent_dim = 4, .group_size = 2}},
          {"one_group", 9, 6, 8, 5, 3, {.latent_dim = 4}},
          {"up_alone", 9, 6, 8, 5, 2, {.latent_dim = 4, .group_size = 4, .factor_gate = false}},
          {"down_too", 9, 6, 8, 5, 3, {.latent_dim = 4, .group_size = 4, .factor_down = true}},
          {"whole_tiles", 60, 64, 4, 48, 2, {}},
          {"latent_moe",
           9,
           6,
           8,
           5,
           3,
           {.latent_dim = 4, .factor_down = true, .share_gate_up_latent = true}}};
}

class RoutedExperts : public ::testing::TestWithParam<Shape> {};

INSTANTIATE_TEST_SUITE_P(Shapes, RoutedExperts, ::testing::ValuesIn(shapes()),
                         [](const auto& info) { return info.param.name; });

TEST_P(RoutedExperts, EqualThePlainLoop) {
  for (const auto& [dtype, tolerance] :
       {std::pair{at::kDouble, 1e-12}, std::pair{at::kFloat, 2e-5}}) {
    Layer layer(GetParam(), dtype);
    const auto expected = layer.results(false), actual = layer.results(true);
    for (const auto& [name, value] : expected) {
      ASSERT_EQ(actual.at(name).sizes(), value.sizes()) << name;
      EXPECT_GT(value.abs().max().item<double>(), 0) << name;
      EXPECT_LT((actual.at(name) - value).abs().max().item<double>(), tolerance) << name;
    }
  }
}

TEST_P(RoutedExperts, InBf16StayNearFp32) {
  Layer wide(GetParam(), at::kFloat), narrow(GetParam(), at::kBFloat16);
  const auto expected = wide.results(true), actual = narrow.results(true);
  for (const auto& [name, value] : expected) {
    const double error = (actual.at(name).to(at::kFloat) - value).norm().item<double>();
    EXPECT_LT(error, 0.05 * value.norm().item<double>()) << name;
  }
}

TEST_P(RoutedExperts, AreDeterministic) {
  Layer layer(GetParam(), at::kFloat);
  const auto first = layer.results(true), second = layer.results(true);
  for (const auto& [name, value] : first) EXPECT_TRUE(value.equal(second.at(name))) << name;
}

TEST(RoutedExperts, DoNotDependOnThreads) {
  Layer layer({"dense", 300, 80, 8, 40, 3, {}}, at::kFloat);
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = layer.results(true);
  at::set_num_threads(2);
  const auto two = layer.results(true);
  at::set_num_threads(before);
  for (const auto& [name, value] : one)
    EXPECT_TRUE(name == "logits" || value.equal(two.at(name))) << name;
}

struct Bytes {
  std::int64_t saved, peak;
};

/// What a forward leaves alive for its backward, and the most alive at once in both.
Bytes bytes_of(Layer& layer, bool fused) {
  layer.results(fused);  // gradients exist from here on
  CountingAllocator counter;
  const at::Tensor y = layer.run(fused);
  const Bytes forward{counter.live(), counter.peak()};
  y.sum().backward();
  return {forward.saved, counter.peak()};
}

/// An MoE of 32 experts, a token to four of them, and its latent kin; 1,024 rows.
TEST(RoutedExperts, SaveLessThanThePlainLoop) {
  const std::vector<Shape> large{
      {"dense", 1024, 256, 32, 128, 4, {}},
      {"groups of 8", 1024, 256, 32, 128, 4, {.latent_dim = 128, .group_size = 8}},
      {"one group", 1024, 256, 32, 128, 4, {.latent_dim = 128}},
      {"latent MoE",
       1024,
       256,
       32,
       128,
       4,
       {.latent_dim = 128, .factor_down = true, .share_gate_up_latent = true}}};
  for (const Shape& shape : large) {
    Layer layer(shape, at::kFloat);
    const Bytes loop = bytes_of(layer, false), fused = bytes_of(layer, true);
    const auto mib = [](std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
    fmt::print("{:12}  saved {:6.2f} MiB, the loop {:6.2f};  most {:6.2f} MiB, the loop {:6.2f}\n",
               shape.name, mib(fused.saved), mib(loop.saved), mib(fused.peak), mib(loop.peak));
    EXPECT_LT(fused.saved, 0.55 * loop.saved) << shape.name;
    EXPECT_LT(fused.peak, loop.peak) << shape.name;
  }
}

}  // namespace
}  // namespace talpa::nn
