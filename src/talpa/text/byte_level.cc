#include "talpa/text/byte_level.h"

#include "talpa/text/unicode.h"

namespace talpa::text {

namespace {

struct ByteTables {
  std::array<std::string, 256> characters;
  std::array<int, 512> bytes;
};

ByteTables make_tables() {
  ByteTables tables;
  tables.bytes.fill(-1);
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
    const char32_t code = printable ? static_cast<char32_t>(byte) : next++;
    tables.characters[static_cast<std::size_t>(byte)] = to_utf8(code);
    tables.bytes[code] = byte;
  }
  return tables;
}

const ByteTables& tables() {
  static const ByteTables kTables = make_tables();
  return kTables;
}

}  // namespace

const std::array<std::string, 256>& byte_characters() { return tables().characters; }

std::string bytes_to_characters(std::string_view bytes) {
  const auto& characters = byte_characters();
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 4);
  for (const char byte : bytes) out += characters[static_cast<unsigned char>(byte)];
  return out;
}

std::optional<std::string> characters_to_bytes(std::string_view token) {
  const auto& bytes = tables().bytes;
  std::string out;
  for (std::size_t i = 0; i < token.size();) {
    const Character c = character_at(token, i);
    if (c.code >= bytes.size() || bytes[c.code] < 0) return std::nullopt;
    out.push_back(static_cast<char>(bytes[c.code]));
    i += static_cast<std::size_t>(c.size);
  }
  return out;
}

}  // namespace talpa::text
