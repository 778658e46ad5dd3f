#include "talpa/model/families/family.h"

#include <array>

namespace talpa {
namespace {

constexpr std::array<const FamilyAdapter*, 6> kAdapters = {&kLlamaAdapter,    &kMixtralAdapter,
                                                           &kQwen2MoeAdapter, &kQwen3MoeAdapter,
                                                           &kOlmoeAdapter,    &kTalpaAdapter};

}  // namespace

std::span<const FamilyAdapter* const> family_adapters() { return kAdapters; }

const FamilyAdapter& adapter_of(Family family) {
  for (const FamilyAdapter* adapter : kAdapters)
    if (adapter->family == family) return *adapter;
  fail(ErrorCode::kInternal, "no adapter of family {}", static_cast<int>(family));
}

std::string known_families() {
  std::string names;
  for (const FamilyAdapter* adapter : kAdapters)
    names += (names.empty() ? "" : ", ") + std::string(adapter->model_type);
  return names;
}

}  // namespace talpa
