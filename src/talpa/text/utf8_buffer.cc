#include "talpa/text/tokenizer.h"
#include "talpa/text/unicode.h"

namespace talpa {

std::string Utf8Buffer::push(std::string_view bytes) {
  pending_ += bytes;
  // Everything up to a character that is cut off at the end; broken bytes before it pass.
  std::size_t whole = 0;
  const std::string_view all = pending_;
  while (whole < all.size()) {
    const text::Utf8Step step = text::utf8_step(all.substr(whole));
    if (step.truncated) break;
    whole += static_cast<std::size_t>(step.size ? step.size : step.invalid);
  }
  std::string out = text::valid_utf8(all.substr(0, whole));
  pending_.erase(0, whole);
  return out;
}

std::string Utf8Buffer::finish() {
  std::string out = text::valid_utf8(pending_);
  pending_.clear();
  return out;
}

}  // namespace talpa
