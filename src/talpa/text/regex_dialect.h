#pragma once

#include <string>
#include <string_view>

namespace talpa::text {

/// The PCRE2 pattern that matches what `pattern` matches in Oniguruma's Ruby syntax; throws
/// kUnsupported for constructs that the engines read differently and that have no equivalent.
std::string translate_regex(std::string_view pattern);

}  // namespace talpa::text
