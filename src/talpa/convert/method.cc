#include "talpa/convert/method.h"

#include <fmt/ranges.h>

#include "talpa/convert/svd.h"

namespace talpa::convert {

const std::vector<const Method*>& methods() {
  static const SvdMethod svd;
  static const std::vector<const Method*> all = {&svd};
  return all;
}

const Method& method_named(const std::string& name) {
  std::vector<std::string> names;
  for (const Method* method : methods()) {
    if (name == method->name()) return *method;
    names.emplace_back(method->name());
  }
  fail(ErrorCode::kUsage, "unknown method {}; known: {}", name, fmt::join(names, ", "));
}

}  // namespace talpa::convert
