#pragma once

#include "talpa/text/component.h"

namespace talpa::text {

/// Where a mark is put in front of text that does not begin with one.
enum class PrependScheme { kAlways, kFirst, kNever };

/// Spaces written as a visible mark, as SentencePiece does; read by the pre-tokenizer and the
/// decoder of that name.
struct Metaspace {
  char32_t replacement = U'\u2581';
  PrependScheme prepend = PrependScheme::kAlways;
  bool split = true;
};

Metaspace read_metaspace(Component& component);

}  // namespace talpa::text
