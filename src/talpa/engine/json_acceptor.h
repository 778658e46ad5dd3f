#pragma once

#include <cstdint>
#include <string_view>

namespace talpa {

/// What came of a byte behind a text that was good so far.
enum class JsonStep : std::uint8_t {
  kTaken,
  kWrong,    ///< no JSON object begins so
  kTooMuch,  ///< more of something than is taken, though it would be JSON
};

/// Reads a JSON object (RFC 8259, UTF-8) byte by byte. Whatever it took can be completed. A few
/// words, to be copied for a try. Bounded, so that a text cannot go on for ever between two signs.
class JsonAcceptor {
 public:
  static constexpr int kMaxDepth = 64;
  static constexpr int kMaxLead = 4;            ///< bytes of white space before the object
  static constexpr int kMaxSpace = 64;          ///< bytes of white space in another place
  static constexpr int kMaxDigits = 20;         ///< before a decimal point, and behind it
  static constexpr int kMaxExponentDigits = 2;  ///< so that no number is out of a double's range

  /// Not to be used again after a byte that was not taken.
  JsonStep push(char byte);
  /// False if one of the bytes is not taken.
  bool push(std::string_view bytes) {
    for (const char byte : bytes)
      if (push(byte) != JsonStep::kTaken) return false;
    return true;
  }
  /// The object is closed; only white space may follow.
  bool complete() const { return state_ == State::kDone; }
  /// In a string, between two characters: any but a quote, a backslash or a control may follow.
  bool between_characters() const { return state_ == State::kString && character_left_ == 0; }

 private:
  enum class State : std::uint8_t {
    // White space may stand here:
    kStart,
    kFirstKey,
    kKey,
    kColon,
    kFirstValue,
    kValue,
    kAfterValue,
    kDone,
    // but not here:
    kString,
    kEscape,
    kHex,
    kPairBackslash,
    kPairU,
    kLiteral,
    kMinus,
    kZero,
    kInteger,
    kPoint,
    kFraction,
    kExponent,
    kExponentSign,
    kExponentDigits,
  };

  JsonStep go(State state) {
    state_ = state;
    return JsonStep::kTaken;
  }
  /// One more in a row.
  JsonStep count(int most) { return ++run_ <= most ? JsonStep::kTaken : JsonStep::kTooMuch; }
  bool in_object() const { return (objects_ >> (depth_ - 1) & 1) != 0; }
  JsonStep structure(unsigned char byte);
  JsonStep open(bool object);
  JsonStep close(bool object);
  JsonStep value(unsigned char byte);
  JsonStep literal(const char* rest);
  JsonStep string(unsigned char byte);
  JsonStep character(unsigned char lead);
  JsonStep escape(unsigned char byte);
  JsonStep hex(unsigned char byte);
  JsonStep number(unsigned char byte);
  JsonStep digits(unsigned char byte, State state);

  std::uint64_t objects_ = 0;  ///< by depth, the outermost in bit 0: an object, or else an array
  const char* literal_ = nullptr;  ///< what is still to come of true, false, null
  State state_ = State::kStart;
  std::uint8_t depth_ = 0;
  std::uint8_t run_ = 0;                               ///< white space or digits in a row
  std::uint8_t character_left_ = 0;                    ///< bytes of a UTF-8 character to come
  std::uint8_t least_next_ = 0x80, most_next_ = 0xbf;  ///< the first of them
  std::uint8_t hex_digits_ = 0;
  bool key_ = false;             ///< the string is one
  bool surrogate_ = false;       ///< the escape begins a pair
  bool second_of_pair_ = false;  ///< the escape must end one
};

}  // namespace talpa
