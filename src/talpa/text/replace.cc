#include "talpa/text/replace.h"

namespace talpa::text {

std::string Replace::apply(std::string_view text) const {
  // Replacements that follow one another could otherwise fill the memory.
  const std::size_t limit = 16 * text.size() + (std::size_t{64} << 20);
  std::string out;
  std::size_t done = 0;
  pattern.find_all(text, [&](std::size_t begin, std::size_t end) {
    out += text.substr(done, begin - done);
    out += content;
    done = end;
    if (out.size() > limit)
      fail(ErrorCode::kUnsupported, "replacing \"{}\" makes more than {} bytes of {}",
           pattern.pattern(), limit, text.size());
  });
  out += text.substr(done);
  return out;
}

Replace read_replace(Component& component) {
  Regex pattern = component.pattern("pattern");
  return {std::move(pattern), component.string("content")};
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  auto found = from.empty() ? std::string::npos : text.find(from);
  if (found == std::string::npos) return;
  std::string out;
  std::size_t done = 0;
  for (; found != std::string::npos; found = text.find(from, done)) {
    out.append(text, done, found - done).append(to);
    done = found + from.size();
  }
  text = out.append(text, done);
}

}  // namespace talpa::text
