#include "talpa/engine/mixed_experts.h"

#include <cmath>

#include "talpa/base/error.h"

namespace talpa {

namespace {

std::vector<float> floats_of(const Weight& weight) {
  std::vector<float> values(static_cast<std::size_t>(num_elements(weight.shape)));
  weight.read(values.data());
  return values;
}

float activate(BasisActivation activation, float v) {
  switch (activation) {
    case BasisActivation::kSilu:
      return v / (1 + std::exp(-v));
    case BasisActivation::kTanh:
      return std::tanh(v);
    case BasisActivation::kNone:
      break;
  }
  return v;
}

/// A matrix in memory, row-major.
struct Matrix {
  std::int64_t rows = 0, columns = 0;
  std::vector<float> values;

  Matrix transposed() const {
    Matrix t{columns, rows, std::vector<float>(values.size())};
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < columns; ++c) t.values[c * rows + r] = values[r * columns + c];
    return t;
  }
};

Matrix product(const Matrix& a, const Matrix& b, ThreadPool& pool) {
  const Matrix b_t = b.transposed();
  const PackedMatrix packed =
      pack(rows_of(b_t.values.data(), b_t.rows, b_t.columns), DType::kF32, pool);
  Matrix y{a.rows, b.columns, std::vector<float>(static_cast<std::size_t>(a.rows * b.columns))};
  Activations x;
  x.set(a.values.data(), a.rows, a.columns);
  matmul(x, packed, y.values.data(), pool);
  return y;
}

/// f(sum_j mix_ij basis_j) for each expert i.
class MixedBases {
 public:
  MixedBases(const Weight& bases, const Weight& mix, BasisActivation activation)
      : shape_(bases.shape), bases_(floats_of(bases)), mix_(floats_of(mix)), f_(activation) {}

  Matrix of_expert(std::int64_t i) const {
    const std::int64_t num = shape_[0], size = shape_[1] * shape_[2];
    Matrix m{shape_[1], shape_[2], std::vector<float>(static_cast<std::size_t>(size))};
    for (std::int64_t j = 0; j < num; ++j) {
      const float weight = mix_[i * num + j];
      const float* basis = bases_.data() + j * size;
      for (std::int64_t e = 0; e < size; ++e) m.values[e] += weight * basis[e];
    }
    for (float& v : m.values) v = activate(f_, v);
    return m;
  }

 private:
  Shape shape_;
  std::vector<float> bases_, mix_;
  BasisActivation f_;
};

}  // namespace

ExpertWeights materialise_mixed_experts(const ModelFiles& files, const std::string& prefix,
                                        std::optional<DType> wanted, ThreadPool& pool) {
  const LatentConfig& latent = files.config.moe.latent;
  const int num_experts = files.config.moe.num_experts;
  auto expert = [&](const std::string& name, std::int64_t i) {
    const Weight slice = files.at(prefix + name).slice(i);
    return Matrix{slice.shape[0], slice.shape[1], floats_of(slice)};
  };
  auto stack = [&](const std::string& name, const std::string& basis, const std::string& mix,
                   bool factored) {
    const DType held = held_type(files.at(prefix + name).dtype(), wanted);
    std::optional<MixedBases> bases;
    if (factored)
      bases.emplace(files.at(prefix + basis), files.at(prefix + mix), latent.basis_activation);
    std::vector<PackedMatrix> packed;
    for (int i = 0; i < num_experts; ++i) {
      Matrix w = expert(name, i);
      if (factored)
        w = name == "down" ? product(bases->of_expert(i), w, pool)
                           : product(w, bases->of_expert(i), pool);
      packed.push_back(pack(rows_of(w.values.data(), w.rows, w.columns), held, pool));
    }
    return packed;
  };
  const bool shared = latent.share_gate_up_latent;
  ExpertWeights e;
  e.gate = stack("gate", shared ? "gate_up_in" : "gate_in", shared ? "gate_up_mix" : "gate_mix",
                 latent.factor_gate);
  e.up = stack("up", shared ? "gate_up_in" : "up_in", shared ? "gate_up_mix" : "up_mix",
               latent.factor_up);
  e.down = stack("down", "down_out", "down_mix", latent.factor_down);
  return e;
}

}  // namespace talpa
