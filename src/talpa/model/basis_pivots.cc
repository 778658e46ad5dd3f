#include "talpa/model/basis_pivots.h"

#include "talpa/base/error.h"

namespace talpa {

bool is_pivot(std::string_view name) { return name.ends_with("_pivot"); }

std::vector<std::int32_t> basis_order(std::span<const float> mask_Gr, int latent_dim,
                                      int basis_rank, const std::string& name) {
  std::vector<std::int32_t> order(mask_Gr.size());
  const auto width = static_cast<std::size_t>(latent_dim);
  for (std::size_t first = 0; first < order.size(); first += width) {
    std::int32_t pivots = 0, others = basis_rank;
    for (std::size_t i = first; i < first + width; ++i) {
      if (mask_Gr[i] != 0 && mask_Gr[i] != 1)
        fail(ErrorCode::kFormat, "{}: row {}, column {} is {}; a pivot mask holds zeros and ones",
             name, first / width, i - first, mask_Gr[i]);
      order[i] = mask_Gr[i] == 1 ? pivots++ : others++;
    }
    if (pivots != basis_rank)
      fail(ErrorCode::kFormat, "{}: row {} marks {} pivots, expected {}", name, first / width,
           pivots, basis_rank);
  }
  return order;
}

std::vector<std::int32_t> basis_order(const ModelFiles& files, const std::string& name) {
  const Weight& weight = files.at(name);
  std::vector<float> mask_Gr(static_cast<std::size_t>(num_elements(weight.shape)));
  weight.read(mask_Gr.data());
  const LatentSize size = latent_size_of(files.config.moe.latent, name);
  return basis_order(mask_Gr, size.width, size.rank,
                     fmt::format("{}: {}", files.path.string(), name));
}

}  // namespace talpa
