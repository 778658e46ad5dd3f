// S targets, W columns.
#include "talpa/nn/moe/row_map.h"

#include <torch/torch.h>

#include <algorithm>
#include <vector>

#include "talpa/base/error.h"

namespace talpa::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

template <class T>
void sum_into(T* target, const T* source, std::int64_t width) {
  for (std::int64_t i = 0; i < width; ++i) target[i] += source[i];
}

at::Tensor sum_on_cpu(const at::Tensor& y_SW, const at::Tensor& inverse, const at::Tensor& ends) {
  const std::int64_t width = y_SW.size(1), num_sources = ends.size(0) - 1;
  at::Tensor result = at::empty({num_sources, width}, y_SW.options());
  const auto* order = inverse.const_data_ptr<std::int64_t>();
  const auto* end = ends.const_data_ptr<std::int64_t>();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, y_SW.scalar_type(), "sum_rows", [&] {
    const auto* source = y_SW.const_data_ptr<scalar_t>();
    auto* target = result.data_ptr<scalar_t>();
    for (std::int64_t t = 0; t < num_sources; ++t, target += width) {
      if (end[t] == end[t + 1]) {
        std::fill_n(target, width, scalar_t(0));
        continue;
      }
      std::copy_n(source + order[end[t]] * width, width, target);
      for (std::int64_t i = end[t] + 1; i < end[t + 1]; ++i)
        sum_into(target, source + order[i] * width, width);
    }
  });
  return result;
}

at::Tensor sum_plain(const at::Tensor& y_SW, const RowMap& map) {
  if (map.identity) return y_SW;
  if (y_SW.is_cpu()) return sum_on_cpu(y_SW.contiguous(), map.inverse, map.inverse_ends);
  return at::zeros({map.num_sources, y_SW.size(1)}, y_SW.options())
      .index_add_(0, map.index.to(y_SW.device()), y_SW);
}

at::Tensor gather_plain(const at::Tensor& x, const RowMap& map) {
  return map.identity ? x : x.index_select(0, map.index.to(x.device()));
}

void save(AutogradContext* context, const RowMap& map) {
  context->saved_data["index"] = map.index;
  context->saved_data["inverse"] = map.inverse;
  context->saved_data["inverse_ends"] = map.inverse_ends;
}

RowMap saved(AutogradContext* context) {
  RowMap map;
  map.index = context->saved_data["index"].toTensor();
  map.inverse = context->saved_data["inverse"].toTensor();
  map.inverse_ends = context->saved_data["inverse_ends"].toTensor();
  map.num_sources = map.inverse_ends.size(0) - 1;
  return map;
}

struct GatherRows : torch::autograd::Function<GatherRows> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const RowMap& map) {
    save(context, map);
    return gather_plain(x, map);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    return {sum_plain(gradients[0], saved(context)), at::Tensor()};
  }
};

struct SumRows : torch::autograd::Function<SumRows> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& y_SW, const RowMap& map) {
    save(context, map);
    return sum_plain(y_SW, map);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    return {gather_plain(gradients[0], saved(context)), at::Tensor()};
  }
};

}  // namespace

RowMap::RowMap(std::span<const std::int32_t> index_S, std::int64_t sources) : num_sources(sources) {
  const auto num_targets = static_cast<std::int64_t>(index_S.size());
  index = at::empty({num_targets}, at::kInt);
  inverse = at::empty({num_targets}, at::kLong);
  inverse_ends = at::zeros({num_sources + 1}, at::kLong);
  std::copy(index_S.begin(), index_S.end(), index.data_ptr<std::int32_t>());
  auto* ends = inverse_ends.data_ptr<std::int64_t>();
  identity = num_targets == num_sources;
  for (std::int64_t s = 0; s < num_targets; ++s) {
    TALPA_CHECK(index_S[s] >= 0 && index_S[s] < num_sources);
    identity = identity && index_S[s] == s;
    ++ends[index_S[s] + 1];
  }
  for (std::int64_t t = 0; t < num_sources; ++t) ends[t + 1] += ends[t];
  std::vector<std::int64_t> next(ends, ends + num_sources);
  auto* order = inverse.data_ptr<std::int64_t>();
  for (std::int64_t s = 0; s < num_targets; ++s) order[next[index_S[s]]++] = s;
}

at::Tensor rows_of(const at::Tensor& x, const RowMap& map, RowRange range) {
  return map.identity ? range.of(x) : x.index_select(0, range.of(map.index).to(x.device()));
}

void add_rows(at::Tensor& sum, const at::Tensor& y, const RowMap& map, RowRange range) {
  if (map.identity) {
    range.of(sum).add_(y);
    return;
  }
  const at::Tensor index = range.of(map.index);
  if (!sum.is_cpu()) {
    sum.index_add_(0, index.to(sum.device()), y);
    return;
  }
  const std::int64_t width = sum.size(1);
  const auto* row = index.const_data_ptr<std::int32_t>();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, y.scalar_type(), "add_rows", [&] {
    const auto* source = y.const_data_ptr<scalar_t>();
    auto* target = sum.data_ptr<scalar_t>();
    for (std::int64_t i = 0; i < index.size(0); ++i)
      sum_into(target + row[i] * width, source + i * width, width);
  });
}

at::Tensor gather_rows(const at::Tensor& x, const RowMap& map) {
  TALPA_CHECK(x.dim() == 2 && x.size(0) == map.num_sources);
  return map.identity ? x : GatherRows::apply(x, map);
}

at::Tensor sum_rows(const at::Tensor& y_SW, const RowMap& map) {
  TALPA_CHECK(y_SW.dim() == 2 && y_SW.size(0) == map.num_targets());
  return map.identity ? y_SW : SumRows::apply(y_SW, map);
}

}  // namespace talpa::nn
