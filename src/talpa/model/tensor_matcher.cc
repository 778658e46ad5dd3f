#include "talpa/model/tensor_matcher.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace talpa {
namespace {

constexpr std::size_t kNamesShown = 5;

/// Ends of names of tensors that only repeat what the description says.
constexpr std::array<std::string_view, 3> kIgnorable = {
    "rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached"};

bool is_ignorable(std::string_view name) {
  return std::any_of(kIgnorable.begin(), kIgnorable.end(),
                     [&](std::string_view end) { return name.ends_with(end); });
}

Shape without_leading_ones(const Shape& shape) {
  auto first = shape.begin();
  while (shape.end() - first > 1 && *first == 1) ++first;
  return {first, shape.end()};
}

/// "3 tensors <what>: a, b, c" of which `names` are the first.
std::string told(std::int64_t count, const char* one, const char* many,
                 const std::vector<std::string>& names) {
  return fmt::format("{} {}: {}{}", count, count == 1 ? one : many, fmt::join(names, ", "),
                     static_cast<std::size_t>(count) > names.size() ? ", ..." : "");
}

}  // namespace

const TensorView* TensorMatcher::checked(const std::string& name, const Shape& shape) {
  const TensorView* view = store_.find(name);
  if (!view) {
    if (missing_.size() < kNamesShown) missing_.push_back(name);
    ++num_missing_;
    return nullptr;
  }
  if (without_leading_ones(view->shape) != without_leading_ones(shape))
    fail(ErrorCode::kFormat, "{}: tensor {}: expected shape {}, got {}", store_.path().string(),
         name, to_string(shape), to_string(view->shape));
  if (!is_float(view->dtype) && !is_quantised(view->dtype))
    fail(ErrorCode::kUnsupported, "{}: tensor {}: weights of type {} are not supported",
         store_.path().string(), name, name_of(view->dtype));
  return view;
}

void TensorMatcher::append(Weight& weight, const TensorView& view, std::int64_t columns,
                           std::int64_t first, std::int64_t count) {
  if (!weight.pieces.empty() && weight.dtype() != view.dtype)
    fail(ErrorCode::kUnsupported,
         "{}: tensor {}: expected type {} like the rest of its stack, got {}",
         store_.path().string(), view.name, name_of(weight.dtype()), name_of(view.dtype));
  const std::uint64_t row_bytes = bytes_of(view.dtype, static_cast<std::uint64_t>(columns));
  // Single rows come in thousands; they go without a name.
  weight.pieces.push_back({count == 1 ? std::string() : view.name,
                           view.dtype,
                           {count, columns},
                           view.bytes.subspan(static_cast<std::size_t>(first) * row_bytes,
                                              static_cast<std::size_t>(count) * row_bytes)});
}

void TensorMatcher::take(Weight& weight, const std::string& name, const Shape& shape) {
  take_range(weight, name, shape, 0, num_elements(shape) / shape.back());
}

void TensorMatcher::take_range(Weight& weight, const std::string& name, const Shape& shape,
                               std::int64_t first, std::int64_t count) {
  const TensorView* view = checked(name, shape);
  if (!view) return;
  append(weight, *view, shape.back(), first, count);
  taken_[name] += count * shape.back();
}

void TensorMatcher::finish() const {
  const std::string path = store_.path().string();
  if (num_missing_ > 0)
    fail(ErrorCode::kFormat, "{}: {}", path,
         told(num_missing_, "tensor is missing", "tensors are missing", missing_));
  std::vector<std::string> left_over;
  std::int64_t num_left_over = 0;
  for (const auto& [name, view] : store_.tensors()) {
    const auto it = taken_.find(name);
    const std::int64_t taken = it == taken_.end() ? 0 : it->second;
    if (taken == -1 || taken == num_elements(view.shape)) continue;
    if (taken != 0)
      fail(ErrorCode::kFormat, "{}: tensor {}: {} of its {} elements have a place in the model",
           path, name, taken, num_elements(view.shape));
    if (is_ignorable(name)) continue;
    if (left_over.size() < kNamesShown) left_over.push_back(name);
    ++num_left_over;
  }
  if (num_left_over > 0)
    fail(ErrorCode::kFormat, "{}: {}", path,
         told(num_left_over, "tensor has no place in the model",
              "tensors have no place in the model", left_over));
}

}  // namespace talpa
