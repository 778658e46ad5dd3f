#include "talpa/engine/mixed_experts.h"

#include <numeric>

namespace talpa {

namespace {

/// The place that `matrix` has in a struct with members gate, up and down.
template <class T>
auto& member(T& owner, const std::string& matrix) {
  return matrix == "gate" ? owner.gate : matrix == "up" ? owner.up : owner.down;
}

template <class Number, class Get>
Number sum_over(const std::vector<LatentFactors>& latents, const Get& get) {
  Number total = 0;
  for (const LatentFactors& latent : latents) total += get(latent);
  return total;
}

}  // namespace

MixedExperts::MixedExperts(const ModelFiles& files, const std::string& prefix,
                           std::optional<DType> wanted, ThreadPool& pool)
    : num_experts_(files.config.moe.num_experts) {
  for (const std::string& latent : latents_of(files.config.moe.latent))
    latents_.emplace_back(files, prefix, latent, wanted, wanted, pool);
}

std::uint64_t MixedExperts::bytes() const {
  return sum_over<std::uint64_t>(latents_, [](const LatentFactors& l) { return l.bytes(); });
}
std::uint64_t MixedExperts::formed_bytes() const {
  return sum_over<std::uint64_t>(latents_, [](const LatentFactors& l) { return l.formed_bytes(); });
}
double MixedExperts::bytes_to_form() const {
  return sum_over<double>(latents_, [](const LatentFactors& l) { return l.bytes_to_form(); });
}

std::vector<FormedExpert> MixedExperts::form(std::span<const int> experts, FormingScratch& scratch,
                                             ThreadPool& pool) const {
  std::vector<FormedExpert> formed(experts.size());
  const std::uint64_t bytes = formed_bytes() * static_cast<unsigned>(num_experts_) / 2;
  for (const LatentFactors& latent : latents_)
    latent.form(experts, {bytes, scratch, pool},
                [&](const std::string& matrix, std::size_t i, PackedMatrix dense) {
                  member(formed[i], matrix) = std::move(dense);
                });
  return formed;
}

ExpertWeights form_all_experts(const ModelFiles& files, const std::string& prefix,
                               std::optional<DType> wanted, ThreadPool& pool,
                               kernel::PanelMemory& memory) {
  std::vector<int> experts(static_cast<std::size_t>(files.config.moe.num_experts));
  std::iota(experts.begin(), experts.end(), 0);
  ExpertWeights weights;
  for (const std::string& name : latents_of(files.config.moe.latent)) {
    const LatentFactors latent(files, prefix, name, std::nullopt, wanted, pool);
    FormingScratch scratch;
    latent.form(experts, {latent.formed_bytes() * experts.size() / 2, scratch, pool, &memory},
                [&](const std::string& matrix, std::size_t i, PackedMatrix dense) {
                  auto& stack = member(weights, matrix);
                  stack.resize(experts.size());
                  stack[i] = std::move(dense);
                });
  }
  return weights;
}

}  // namespace talpa
