#pragma once

#include <functional>

#include "talpa/engine/expert_bases.h"
#include "talpa/kernel/matmul.h"

namespace talpa {

/// Latents of a layer's experts by name: "gate" and "up", or "gate_up"; "down".
std::vector<std::string> latents_of(const LatentConfig& latent);

/// One latent of a layer's experts with the matrices behind it, and the dense matrices that they
/// stand for:
///   gate, up: W_i = A_i S_i^T     down: W_i = S_i D_i     S_i of ExpertBases.
class LatentFactors {
 public:
  /// Factors are held as `factors`, or as stored; dense matrices formed as `dense`, or as the
  /// matrix of the same name is stored.
  LatentFactors(const ModelFiles& files, const std::string& prefix, const std::string& latent,
                std::optional<DType> factors, std::optional<DType> dense, ThreadPool& pool);

  std::uint64_t bytes() const;
  /// Bytes of one expert's dense matrices, packed.
  std::uint64_t formed_bytes() const;
  /// Bytes of factors read to form one expert's, on average.
  double bytes_to_form() const;

  /// Called with the name of the matrix, "gate", "up" or "down", and the index within `experts`.
  using Take = std::function<void(const std::string&, std::size_t, PackedMatrix)>;
  struct Forming {
    std::uint64_t bytes = 0;  ///< of scratch memory, at most, or what one expert needs
    FormingScratch& scratch;
    ThreadPool& pool;
    kernel::PanelMemory* memory = nullptr;  ///< as in pack()
  };
  /// Forms the dense matrices of `experts`, multiplied in fp32.
  void form(std::span<const int> experts, const Forming& forming, const Take& take) const;

 private:
  struct Matrix {
    std::string name;
    std::int64_t width = 0;  ///< m
    HeldRows own;            ///< A_i, or D_i^T, [N m, r]
    DType dense = DType::kF32;
  };
  PackedMatrix product(const Matrix& matrix, int expert, Activations& s_NR,
                       const Forming& forming) const;

  bool is_down_;
  ExpertBases bases_;
  std::vector<Matrix> matrices_;
};

}  // namespace talpa
