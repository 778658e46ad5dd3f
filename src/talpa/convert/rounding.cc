// R rows, C columns of what is rounded; K columns of a block.
#include "talpa/convert/rounding.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <torch/torch.h>

#include "talpa/base/error.h"
#include "talpa/convert/eigen.h"
#include "talpa/format/block_rounding.h"
#include "talpa/format/scale_search.h"

namespace talpa::convert {

namespace {

constexpr double kDamping = 0.01;  // of the mean of H's diagonal, as in the paper's experiments
constexpr std::int64_t kBlock = kRoundedBlock;
constexpr std::int64_t kRowsATask = 16;

/// Upper U with (H + damping)^-1 = U^T U, fp32.
at::Tensor error_factor(const at::Tensor& moment_CC) {
  at::Tensor damped = moment_CC.to(torch::kDouble).clone();
  const double mean = damped.diagonal().mean().item<double>();
  damped.diagonal().add_(mean > 0 ? kDamping * mean : 1.0);
  const at::Tensor inverse = torch::cholesky_inverse(cholesky_factor(damped));
  return cholesky_factor((inverse + inverse.t()) / 2).t().to(torch::kFloat).contiguous();
}

/// One block of one row. `weights` are changed: what is left of them is the error that later
/// columns of the block were asked to make up for.
struct BlockRow {
  float* weights;            ///< K
  float* values;             ///< K, out: as rounded
  float* errors;             ///< K, out: error over the factor's diagonal; null without a factor
  const float* factor;       ///< K rows of the factor's block; null: nothing is passed on
  std::int64_t factor_step;  ///< from row to row
  std::byte* bytes;
};

/// Rounds to one scale; returns the error that the factor leaves, the sum of squared `errors`.
float round_to_scale(const detail::BlockLevels& levels, float scale, const BlockRow& row,
                     std::int8_t* q) {
  const float inverse = detail::inverse(scale);
  float sum = 0;
  for (std::int64_t j = 0; j < kBlock; ++j) {
    const int level = detail::nearest_level(levels, row.weights[j] * inverse);
    q[j] = static_cast<std::int8_t>(level);
    row.values[j] = scale * static_cast<float>(level);
    if (row.factor == nullptr) continue;
    const float* passed = row.factor + j * row.factor_step;
    const float error = (row.weights[j] - row.values[j]) / passed[j];
    row.errors[j] = error;
    sum += error * error;
    for (std::int64_t k = j + 1; k < kBlock; ++k) row.weights[k] -= error * passed[k];
  }
  return sum;
}

/// Scales around the one of least squared error, among which the factor may find a better one.
constexpr float kTriedScales[] = {0.76f, 0.82f, 0.88f, 0.94f, 1.06f, 1.12f, 1.18f};
/// More levels than these gain nothing by trying.
constexpr int kTriedLevels = 8;

/// The scale that leaves the least error behind when errors are passed on within the block.
float tried_scale(const detail::BlockLevels& levels, float scale, const BlockRow& row) {
  float weights[kBlock], values[kBlock], errors[kBlock];
  std::int8_t q[kBlock];
  auto error_of = [&](float tried) {
    std::copy_n(row.weights, kBlock, weights);
    return round_to_scale(levels, tried,
                          {weights, values, errors, row.factor, row.factor_step, nullptr}, q);
  };
  float best = scale, least = error_of(scale);
  for (const float share : kTriedScales) {
    const float tried = detail::as_f16(scale * share);
    const float error = error_of(tried);
    if (error < least) least = error, best = tried;
  }
  return best;
}

void round_block(DType dtype, const BlockRow& row) {
  const detail::BlockLevels levels = levels_of(dtype);
  float scale = best_scale_of(dtype, row.weights);
  if (row.factor != nullptr && levels.greatest - levels.least < kTriedLevels)
    scale = tried_scale(levels, scale, row);
  std::int8_t q[kBlock];
  round_to_scale(levels, scale, row, q);
  store_block(dtype, scale, q, row.bytes);
}

/// Rounds a matrix block by block of columns; with a factor errors are passed on to the right.
RoundedMatrix round_columns(const at::Tensor& weight_RC, DType dtype, const at::Tensor& factor_CC) {
  const std::int64_t rows = weight_RC.size(0), columns = weight_RC.size(1);
  const std::int64_t block_bytes = info_of(dtype).block_bytes;
  at::Tensor open_RC = weight_RC.clone(at::MemoryFormat::Contiguous);
  at::Tensor errors_RK = torch::zeros({rows, kBlock});
  RoundedMatrix out{torch::empty({rows, columns}), {}};
  out.bytes.resize(bytes_of(dtype, static_cast<std::uint64_t>(rows * columns)));
  const bool passes_on = factor_CC.defined();
  for (std::int64_t begin = 0; begin < columns; begin += kBlock) {
    at::parallel_for(0, rows, kRowsATask, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t r = first; r < last; ++r) {
        const std::int64_t at = r * columns + begin;
        round_block(dtype,
                    {open_RC.data_ptr<float>() + at, out.values_RC.data_ptr<float>() + at,
                     errors_RK.data_ptr<float>() + r * kBlock,
                     passes_on ? factor_CC.data_ptr<float>() + begin * (columns + 1) : nullptr,
                     columns, out.bytes.data() + at / kBlock * block_bytes});
      }
    });
    const std::int64_t rest = columns - begin - kBlock;
    if (!passes_on || rest == 0) continue;
    open_RC.narrow(1, begin + kBlock, rest)
        .sub_(errors_RK.matmul(factor_CC.narrow(0, begin, kBlock).narrow(1, begin + kBlock, rest)));
  }
  return out;
}

/// Rows' errors in the metric, [R] fp64.
at::Tensor row_errors(const at::Tensor& weight_RC, const RoundedMatrix& rounded,
                      const at::Tensor& moment_CC) {
  const at::Tensor error_RC = (weight_RC - rounded.values_RC).to(torch::kDouble);
  return error_RC.matmul(moment_CC).mul(error_RC).sum(1);
}

/// Takes the rows of `plain` that are better.
void keep_better_rows(const at::Tensor& weight_RC, const at::Tensor& moment_CC,
                      const RoundedMatrix& plain, RoundedMatrix& rounded) {
  const at::Tensor metric = moment_CC.to(torch::kDouble);
  const at::Tensor better =
      row_errors(weight_RC, plain, metric) < row_errors(weight_RC, rounded, metric);
  const std::size_t row_bytes = plain.bytes.size() / static_cast<std::size_t>(weight_RC.size(0));
  for (std::int64_t r = 0; r < weight_RC.size(0); ++r) {
    if (!better[r].item<bool>()) continue;
    rounded.values_RC[r].copy_(plain.values_RC[r]);
    std::copy_n(plain.bytes.begin() + static_cast<std::ptrdiff_t>(r * row_bytes), row_bytes,
                rounded.bytes.begin() + static_cast<std::ptrdiff_t>(r * row_bytes));
  }
}

RoundedMatrix nearest(const at::Tensor& weight_RC, DType dtype) {
  RoundedMatrix out{torch::empty_like(weight_RC), {}};
  const std::int64_t count = weight_RC.numel();
  out.bytes.resize(bytes_of(dtype, static_cast<std::uint64_t>(count)));
  from_float(dtype, weight_RC.data_ptr<float>(), out.bytes.data(), count);
  to_float(dtype, out.bytes.data(), out.values_RC.data_ptr<float>(), count);
  return out;
}

void check_moment(const at::Tensor& moment, std::int64_t width) {
  if (moment.dim() != 2 || moment.size(0) != width || moment.size(1) != width)
    fail(ErrorCode::kShape, "a moment of inputs of width {} is [{}], expected [{}, {}]", width,
         fmt::join(moment.sizes(), ", "), width, width);
}

/// The moment of expert `i`, fp64; identity without moments.
at::Tensor moment_of(const ExpertsToRound& experts, std::size_t i, std::int64_t width) {
  if (!experts.moment) return torch::eye(width, torch::kDouble);
  const at::Tensor moment = experts.moment(i);
  check_moment(moment, width);
  return moment.to(torch::kDouble);
}

/// X with X gram = target, by least squares where gram is singular.
at::Tensor solve_right(const at::Tensor& target, const at::Tensor& gram) {
  return torch::cholesky_solve(target.t(), cholesky_factor(gram)).t().to(torch::kFloat);
}

}  // namespace

RoundedMatrix round_blocks(const at::Tensor& weight_RC, DType dtype, const at::Tensor& moment_CC) {
  const at::Tensor weight = weight_RC.to(torch::kFloat).contiguous();
  if (is_float(dtype)) return nearest(weight, dtype);
  if (weight.size(1) % info_of(dtype).block_size != 0)
    fail(ErrorCode::kShape, "rows of {} are not whole blocks of {}, which hold {}", weight.size(1),
         name_of(dtype), info_of(dtype).block_size);
  if (!has_levels(dtype)) return nearest(weight, dtype);
  RoundedMatrix plain = round_columns(weight, dtype, {});
  if (!moment_CC.defined()) return plain;
  check_moment(moment_CC, weight.size(1));
  RoundedMatrix rounded = round_columns(weight, dtype, error_factor(moment_CC));
  keep_better_rows(weight, moment_CC, plain, rounded);
  return rounded;
}

double rounding_noise(DType dtype) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(/*seed=*/1);
  const at::Tensor sample = torch::randn({64, 256}, generator);
  const at::Tensor error = round_blocks(sample, dtype).values_RC - sample;
  return (error.square().sum() / sample.square().sum()).item<double>();
}

FitForRounding fit_for_rounding(const at::Tensor& target_MR, const at::Tensor& gram_RR,
                                double noise) {
  at::Tensor gram = (gram_RR + gram_RR.t()) / 2;
  gram.diagonal().add_(noise * gram.diagonal().mean());
  return {solve_right(target_MR, gram), gram};
}

RoundedFactors round_input_factors(const ExpertsToRound& experts_MD, const at::Tensor& right_RD,
                                   FactorTypes types) {
  const std::int64_t width = right_RD.size(1);
  at::Tensor all;
  if (experts_MD.moment) {
    all = torch::zeros({width, width}, torch::kDouble);
    for (std::size_t i = 0; i < experts_MD.count; ++i) all += moment_of(experts_MD, i, width);
  }
  RoundedFactors out;
  out.right.push_back(round_blocks(right_RD, types.right, all));
  const at::Tensor right = out.right.front().values_RC.to(torch::kDouble);
  for (std::size_t i = 0; i < experts_MD.count; ++i) {
    const at::Tensor seen = moment_of(experts_MD, i, width).matmul(right.t());
    const at::Tensor inner = right.matmul(seen);
    const at::Tensor left =
        solve_right(experts_MD.weight(i).to(torch::kDouble).matmul(seen), inner);
    out.left.push_back(round_blocks(left, types.left, inner));
  }
  return out;
}

RoundedFactors round_output_factors(const ExpertsToRound& experts_DM, const at::Tensor& rights_NRM,
                                    FactorTypes types) {
  const std::int64_t width = rights_NRM.size(2);
  RoundedFactors out;
  at::Tensor target, inner;
  for (std::size_t i = 0; i < experts_DM.count; ++i) {
    const at::Tensor moment = moment_of(experts_DM, i, width);
    out.right.push_back(round_blocks(rights_NRM[static_cast<std::int64_t>(i)], types.right,
                                     experts_DM.moment ? moment : at::Tensor()));
    const at::Tensor right = out.right.back().values_RC.to(torch::kDouble);
    const at::Tensor seen = moment.matmul(right.t());
    const at::Tensor wanted = experts_DM.weight(i).to(torch::kDouble).matmul(seen);
    target = i == 0 ? wanted : target + wanted;
    inner = i == 0 ? right.matmul(seen) : inner + right.matmul(seen);
  }
  out.left.push_back(round_blocks(solve_right(target, inner), types.left, inner));
  return out;
}

}  // namespace talpa::convert
