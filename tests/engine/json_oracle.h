#pragma once

#include <array>
#include <string>

#include "talpa/base/config.h"
#include "talpa/engine/json_acceptor.h"

namespace talpa::testing {

/// What JsonAcceptor makes of a text.
struct JsonVerdict {
  JsonStep last = JsonStep::kTaken;
  JsonAcceptor acceptor;  ///< behind the bytes that it took:
  std::size_t num_taken = 0;

  bool complete() const { return last == JsonStep::kTaken && acceptor.complete(); }
};

inline JsonVerdict judge_json(std::string_view text) {
  JsonVerdict verdict;
  for (const char byte : text) {
    JsonAcceptor next = verdict.acceptor;
    verdict.last = next.push(byte);
    if (verdict.last != JsonStep::kTaken) return verdict;
    verdict.acceptor = next;
    ++verdict.num_taken;
  }
  return verdict;
}

/// Whether nlohmann's library takes it for an object. It passes over a byte-order mark, which may
/// not stand there, and stops at a zero byte.
inline bool is_json_object(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && text[first] == '{' &&
         text.find('\0') == std::string_view::npos && Json::accept(text);
}

/// What ends the object, found byte by byte; without the last brace if there is no end.
inline std::string json_ending(JsonAcceptor acceptor) {
  static constexpr std::array<unsigned char, 18> kTries = {
      '"', '}', ']', ':', '0', 'c', 'd', '\\', 'u', 'r', 'e', 'a', 'l', 's', 0x80, 0x90, 0xa0, '{'};
  std::string ending;
  while (!acceptor.complete()) {
    bool found = false;
    for (const unsigned char byte : kTries) {
      JsonAcceptor next = acceptor;
      if (next.push(static_cast<char>(byte)) != JsonStep::kTaken) continue;
      acceptor = next;
      ending += static_cast<char>(byte);
      found = true;
      break;
    }
    if (!found || ending.size() > 1000) break;
  }
  return ending;
}

}  // namespace talpa::testing
