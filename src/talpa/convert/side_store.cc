#include "talpa/convert/side_store.h"

#include <torch/torch.h>

#include <vector>

namespace talpa::convert {

SideStore::SideStore(const std::filesystem::path& folder, Side side)
    : side_(side),
      kept_(!folder.empty()),
      finished_(folder / fmt::format("{}.safetensors", enum_name(side))),
      state_(folder / fmt::format("{}.state.safetensors", enum_name(side))) {}

std::optional<SideStore::Finished> SideStore::finished() const {
  auto tensors = kept_ ? load_tensors(finished_) : std::nullopt;
  if (!tensors) return std::nullopt;
  const auto found = tensors->find("numbers");
  if (found == tensors->end() || (found->second.numel() != 3 && found->second.numel() != 5))
    fail(ErrorCode::kFormat, "{} is no finished projection", finished_.string());
  const at::Tensor numbers = found->second.to(torch::kDouble).contiguous();
  const double* number = numbers.const_data_ptr<double>();
  ProjectionFit fit{
      .side = side_, .squared_error = number[0], .squared_norm = number[1], .seconds = number[2]};
  if (numbers.size(0) == 5) {
    fit.weighted_error = number[3];
    fit.weighted_norm = number[4];
  }
  tensors->erase("numbers");
  return Finished{std::move(*tensors), fit};
}

void SideStore::finish(const Finished& result) const {
  if (!kept_) return;
  const ProjectionFit& fit = result.fit;
  std::vector<double> numbers = {fit.squared_error, fit.squared_norm, fit.seconds};
  if (fit.weighted_error) numbers.insert(numbers.end(), {*fit.weighted_error, *fit.weighted_norm});
  NamedTensors all = result.tensors;
  all["numbers"] = torch::tensor(numbers, torch::kDouble);
  save_tensors(finished_, all);
  std::filesystem::remove(state_);
}

void SideStore::resume(BasesFit& fit) const {
  if (!kept_) return;
  if (const auto state = load_tensors(state_)) fit.restore(*state);
}

void SideStore::keep(const BasesFit& fit) const {
  if (kept_) save_tensors(state_, fit.state());
}

}  // namespace talpa::convert
