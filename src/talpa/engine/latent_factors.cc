// N model width, M expert width, R latent width, I experts.
#include "talpa/engine/latent_factors.h"

#include <algorithm>

#include "talpa/engine/read_factors.h"

namespace talpa {

namespace {

std::vector<std::string> matrices_behind(const std::string& latent) {
  if (latent == "gate_up") return {"gate", "up"};
  return {latent};
}

/// Rows of the transpose of y [columns, rows].
RowSource columns_of(const float* y, std::int64_t rows, std::int64_t columns) {
  return {rows, columns, DType::kF32,
          [=](std::int64_t first, std::int64_t count, std::byte* target) {
            constexpr std::int64_t kTile = 16;
            auto* row = reinterpret_cast<float*>(target);
            for (std::int64_t tile = 0; tile < columns; tile += kTile)
              for (std::int64_t i = 0; i < count; ++i)
                for (std::int64_t c = tile; c < std::min(columns, tile + kTile); ++c)
                  row[i * columns + c] = y[c * rows + first + i];
          }};
}

}  // namespace

std::vector<std::string> latents_of(const LatentConfig& latent) {
  std::vector<std::string> names;
  if (latent.share_gate_up_latent) {
    names.emplace_back("gate_up");
  } else {
    if (latent.factor_gate) names.emplace_back("gate");
    if (latent.factor_up) names.emplace_back("up");
  }
  if (latent.factor_down) names.emplace_back("down");
  return names;
}

LatentFactors::LatentFactors(const ModelFiles& files, const std::string& prefix,
                             const std::string& latent, std::optional<DType> factors,
                             std::optional<DType> dense, ThreadPool& pool)
    : is_down_(latent == "down"), bases_(files, prefix, latent, factors, pool) {
  for (const std::string& name : matrices_behind(latent)) {
    const DType held = held_type_of(files, prefix + name, dense);
    matrices_.push_back({name, files.config.moe.hidden_dim,
                         read_factors(files, prefix + name, is_down_, factors, pool), held});
  }
}

std::uint64_t LatentFactors::bytes() const {
  std::uint64_t total = bases_.bytes();
  for (const Matrix& matrix : matrices_) total += matrix.own.bytes();
  return total;
}

std::uint64_t LatentFactors::formed_bytes() const {
  std::uint64_t total = 0;
  for (const Matrix& m : matrices_)
    total += is_down_ ? packed_bytes(bases_.dim(), m.width, m.dense)
                      : packed_bytes(m.width, bases_.dim(), m.dense);
  return total;
}

double LatentFactors::bytes_to_form() const {
  double total = bases_.bytes_of_mixture();
  for (const Matrix& m : matrices_)
    total += static_cast<double>(m.own.bytes()) * static_cast<double>(m.width) /
             static_cast<double>(m.own.rows());
  return total;
}

void LatentFactors::form(std::span<const int> experts, const Forming& forming,
                         const Take& take) const {
  if (experts.empty()) return;
  const std::int64_t elements = bases_.dim() * bases_.latent_dim();
  const auto mixture_bytes = static_cast<std::uint64_t>(elements) * sizeof(float);
  // Half for mixtures, half for what mixing them takes.
  const auto at_once = static_cast<std::size_t>(
      std::clamp<std::uint64_t>(forming.bytes / 2 / mixture_bytes, 1, experts.size()));
  float* s_INR = forming.scratch.mixtures.resize(at_once * static_cast<std::size_t>(elements));
  Activations s_NR;
  for (std::size_t first = 0; first < experts.size(); first += at_once) {
    const auto now = experts.subspan(first, std::min(at_once, experts.size() - first));
    bases_.mix(now, forming.bytes / 2, s_INR, forming.scratch, forming.pool);
    for (std::size_t i = 0; i < now.size(); ++i) {
      s_NR.set(s_INR + static_cast<std::int64_t>(i) * elements, bases_.dim(), bases_.latent_dim());
      for (const Matrix& matrix : matrices_)
        take(matrix.name, first + i, product(matrix, now[i], s_NR, forming));
    }
  }
}

PackedMatrix LatentFactors::product(const Matrix& matrix, int expert, Activations& s_NR,
                                    const Forming& forming) const {
  const RowSource own{matrix.width, bases_.latent_dim(), DType::kF32,
                      [&](std::int64_t first, std::int64_t count, std::byte* target) {
                        matrix.own.read(expert * matrix.width + first, count,
                                        reinterpret_cast<float*>(target));
                      }};
  float* y_NM = forming.scratch.dense.resize(static_cast<std::size_t>(bases_.dim() * matrix.width));
  matmul(s_NR, pack(own, DType::kF32, forming.pool), y_NM, forming.pool);
  const RowSource dense = is_down_ ? rows_of(y_NM, bases_.dim(), matrix.width)
                                   : columns_of(y_NM, matrix.width, bases_.dim());
  return pack(dense, matrix.dense, forming.pool, forming.memory);
}

}  // namespace talpa
