#pragma once

#include <string>
#include <string_view>

#include "talpa/text/component.h"

namespace talpa::text {

/// A pattern and what its matches become; read by the normaliser and the decoder of that name.
struct Replace {
  Regex pattern;
  std::string content;

  std::string apply(std::string_view text) const;
};

Replace read_replace(Component& component);

/// Replaces every occurrence of `from`, left to right; nothing if `from` is empty.
void replace_all(std::string& text, std::string_view from, std::string_view to);

}  // namespace talpa::text
