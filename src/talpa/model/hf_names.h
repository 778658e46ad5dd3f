#pragma once

#include <string>
#include <string_view>

namespace talpa {

/// "layers.3.attn.q" taken apart: layer 3, role "attn.q". Tensors outside layers have layer -1
/// and their whole name as role.
struct WeightName {
  int layer = -1;
  std::string_view role;
};
WeightName split_weight_name(std::string_view name);

}  // namespace talpa
