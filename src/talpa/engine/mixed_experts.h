#pragma once

#include "talpa/engine/latent_factors.h"
#include "talpa/kernel/experts.h"

namespace talpa {

/// The dense matrices of an expert; empty where the matrix is not factored.
struct FormedExpert {
  PackedMatrix gate, up, down;

  std::uint64_t bytes() const { return gate.bytes() + up.bytes() + down.bytes(); }
};

/// The latent experts of a layer as factors, which are multiplied out when a token comes to them.
/// `prefix` is "layers.L.moe."; factors are held, and experts formed, as `wanted` or as stored.
class MixedExperts {
 public:
  MixedExperts(const ModelFiles& files, const std::string& prefix, std::optional<DType> wanted,
               ThreadPool& pool);

  int num_experts() const { return num_experts_; }
  /// Bytes of the factors.
  std::uint64_t bytes() const;
  /// Bytes of one formed expert.
  std::uint64_t formed_bytes() const;
  /// Bytes of factors read to form one expert alone, on average.
  double bytes_to_form() const;

  /// In the order of `experts`. Takes scratch memory of half of the layer's formed experts at most,
  /// or what one expert needs.
  std::vector<FormedExpert> form(std::span<const int> experts, FormingScratch& scratch,
                                 ThreadPool& pool) const;

 private:
  int num_experts_;
  std::vector<LatentFactors> latents_;
};

/// Latent experts multiplied out, mixed or linear: dense matrices of all experts, one latent at a
/// time from factors as stored. What is not factored stays empty. Memory beside the result: the
/// factors of one latent, and half of the layer's dense experts at most.
ExpertWeights form_all_experts(const ModelFiles& files, const std::string& prefix,
                               std::optional<DType> wanted, ThreadPool& pool,
                               kernel::PanelMemory& memory);

}  // namespace talpa
