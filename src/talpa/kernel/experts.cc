// T rows, D model width, S slots (row, expert), P group rows (row, group), M expert width,
// R latent width.
#include "talpa/kernel/experts.h"

#include <algorithm>

#include "talpa/base/error.h"
#include "talpa/kernel/implementation.h"
#include "talpa/route/groups.h"

namespace talpa {

namespace {

class ExpertRun {
 public:
  ExpertRun(const ExpertWeights& weights, const DispatchPlan& plan, ExpertScratch& scratch,
            ThreadPool& pool)
      : w_(weights), plan_(plan), scratch_(scratch), pool_(pool) {
    if (!w_.gate_in.empty() || !w_.up_in.empty() || !w_.down_out.empty())
      groups_ = group_rows(plan, w_.group_size);
  }

  void run(Activations& x, float* y_TD) {
    const std::int64_t dim =
        w_.down_out.empty() ? w_.down.front().rows() : w_.down_out.front().rows();
    const Input gate = latent_of(x, w_.gate_in, scratch_.gate_latent, scratch_.gate_latent_rows);
    const Input up = w_.share_gate_up && !w_.gate_in.empty()
                         ? gate
                         : latent_of(x, w_.up_in, scratch_.up_latent, scratch_.up_latent_rows);
    hidden(gate, up);
    const float* y_SD = down();
    if (w_.down_out.empty()) {
      combine(y_SD, plan_.slot, plan_.weight, dim, y_TD);
    } else {
      combine_latents(y_SD, dim, y_TD);
    }
  }

 private:
  /// Rows that gate or up multiply: x by the slots' rows, or latents by the slots' group rows.
  struct Input {
    Activations* rows;
    const std::int32_t* index;  ///< [S]
  };

  Input latent_of(Activations& x, const std::vector<PackedMatrix>& in, Activations& latent,
                  Buffer<float>& u_PR) {
    if (in.empty()) return {&x, plan_.row.data()};
    const std::int64_t width = in.front().rows();
    u_PR.resize(groups_.row.size() * static_cast<std::size_t>(width));
    x.prepare(in.front().dtype(), pool_);
    std::vector<Product> products;
    for (std::size_t g = 0; g < in.size(); ++g) {
      const int begin = groups_.offsets[g], count = groups_.offsets[g + 1] - begin;
      if (count > 0)
        products.push_back(
            {&in[g], &x, groups_.row.data() + begin, count, u_PR.data() + begin * width, width});
    }
    run_products(products, pool_);
    latent.set(u_PR.data(), static_cast<std::int64_t>(groups_.row.size()), width);
    return {&latent, groups_.member.data()};
  }

  void hidden(const Input& gate, const Input& up) {
    const std::int64_t width = w_.gate.front().rows();
    float* h_SM = scratch_.hidden_rows.resize(static_cast<std::size_t>(plan_.num_slots() * width));
    gate.rows->prepare(w_.gate.front().dtype(), pool_);
    up.rows->prepare(w_.up.front().dtype(), pool_);
    std::vector<GatedProduct> products;
    for (int e = 0; e < plan_.num_experts; ++e) {
      const int begin = plan_.offsets[e], count = plan_.count(e);
      if (count == 0) continue;
      products.push_back({{&w_.gate[e], gate.rows, gate.index + begin, count},
                          {&w_.up[e], up.rows, up.index + begin, count},
                          h_SM + begin * width,
                          width});
    }
    run_gated_products(products, pool_);
    scratch_.hidden.set(h_SM, plan_.num_slots(), width);
  }

  const float* down() {
    const std::int64_t width = w_.down.front().rows();
    float* y = scratch_.slot_rows.resize(static_cast<std::size_t>(plan_.num_slots() * width));
    scratch_.hidden.prepare(w_.down.front().dtype(), pool_);
    slots_.resize(static_cast<std::size_t>(plan_.num_slots()));
    for (int s = 0; s < plan_.num_slots(); ++s) slots_[s] = s;
    std::vector<Product> products;
    for (int e = 0; e < plan_.num_experts; ++e) {
      const int begin = plan_.offsets[e], count = plan_.count(e);
      if (count > 0)
        products.push_back({&w_.down[e], &scratch_.hidden, slots_.data() + begin, count,
                            y + begin * width, width});
    }
    run_products(products, pool_);
    return y;
  }

  /// y_TD += weighted slots of each row in the order of its choices.
  void combine(const float* y_SD, const std::vector<std::int32_t>& slot,
               const std::vector<float>& weight, std::int64_t dim, float* y_TD) {
    const auto& functions = kernel::row_functions();
    const int choices = plan_.top_k;
    pool_.parallel_for(plan_.num_rows, 32, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t)
        for (int j = 0; j < choices; ++j) {
          const std::int32_t s = slot[t * choices + j];
          functions.axpy(weight[s], y_SD + s * dim, y_TD + t * dim, dim);
        }
    });
  }

  /// Weighted sums in the latent of each (row, group), projected, then added to the row.
  void combine_latents(const float* z_SR, std::int64_t dim, float* y_TD) {
    const std::int64_t width = w_.down.front().rows();
    const std::size_t pairs = groups_.row.size();
    float* z_PR = scratch_.latent_sum_rows.resize(pairs * static_cast<std::size_t>(width));
    std::fill_n(z_PR, pairs * static_cast<std::size_t>(width), 0.0f);
    const auto& functions = kernel::row_functions();
    for (const std::int32_t s : plan_.slot)
      functions.axpy(plan_.weight[s], z_SR + s * width, z_PR + groups_.member[s] * width, width);
    float* y_PD = scratch_.group_rows.resize(pairs * static_cast<std::size_t>(dim));
    scratch_.latent_sum.set(z_PR, static_cast<std::int64_t>(pairs), width);
    scratch_.latent_sum.prepare(w_.down_out.front().dtype(), pool_);
    std::vector<std::int32_t> identity(pairs);
    for (std::size_t p = 0; p < pairs; ++p) identity[p] = static_cast<std::int32_t>(p);
    std::vector<Product> products;
    for (std::size_t g = 0; g < w_.down_out.size(); ++g) {
      const int begin = groups_.offsets[g], count = groups_.offsets[g + 1] - begin;
      if (count > 0)
        products.push_back({&w_.down_out[g], &scratch_.latent_sum, identity.data() + begin, count,
                            y_PD + begin * dim, dim});
    }
    run_products(products, pool_);
    for (std::size_t p = 0; p < pairs; ++p)
      functions.axpy(1.0f, y_PD + static_cast<std::int64_t>(p) * dim, y_TD + groups_.row[p] * dim,
                     dim);
  }

  const ExpertWeights& w_;
  const DispatchPlan& plan_;
  ExpertScratch& scratch_;
  ThreadPool& pool_;
  GroupPlan groups_;
  std::vector<std::int32_t> slots_;
};

}  // namespace

std::uint64_t ExpertWeights::bytes() const {
  std::uint64_t total = 0;
  for (const auto* stack : {&gate, &up, &down, &gate_in, &up_in, &down_out})
    for (const PackedMatrix& m : *stack) total += m.bytes();
  return total;
}

void run_experts(const ExpertWeights& weights, const DispatchPlan& plan, Activations& x_TD,
                 float* y_TD, ExpertScratch& scratch, ThreadPool& pool) {
  if (plan.num_experts != static_cast<int>(weights.gate.size()))
    fail(ErrorCode::kShape, "the plan has {} experts, the layer {}", plan.num_experts,
         weights.gate.size());
  if (plan.num_rows != x_TD.rows())
    fail(ErrorCode::kShape, "the plan has {} rows, the activations {}", plan.num_rows, x_TD.rows());
  if (plan.num_rows > 0) ExpertRun(weights, plan, scratch, pool).run(x_TD, y_TD);
}

void run_feed_forward(const FeedForwardWeights& weights, Activations& x_TD, float* y_TD,
                      ExpertScratch& scratch, ThreadPool& pool) {
  const std::int64_t rows = x_TD.rows(), width = weights.gate.rows();
  float* h_TM = scratch.hidden_rows.resize(static_cast<std::size_t>(rows * width));
  x_TD.prepare(weights.gate.dtype(), pool);
  x_TD.prepare(weights.up.dtype(), pool);
  const GatedProduct gated{{&weights.gate, &x_TD, nullptr, static_cast<int>(rows)},
                           {&weights.up, &x_TD, nullptr, static_cast<int>(rows)},
                           h_TM,
                           width};
  run_gated_products({&gated, 1}, pool);
  scratch.hidden.set(h_TM, rows, width);
  matmul(scratch.hidden, weights.down, y_TD, pool);
}

}  // namespace talpa
