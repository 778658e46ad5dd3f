#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace talpa::text {

/// GPT-2's pattern that cuts text into words (Radford et al. 2019).
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// The printable character that stands for each byte in byte-level vocabularies: itself for
/// printable Latin-1, the others in order from U+0100.
const std::array<std::string, 256>& byte_characters();

/// `bytes` written in those characters.
std::string bytes_to_characters(std::string_view bytes);
/// The bytes that a token stands for; nullopt if it holds another character.
std::optional<std::string> characters_to_bytes(std::string_view token);

}  // namespace talpa::text
