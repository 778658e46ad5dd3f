#include "talpa/engine/json_acceptor.h"

#include <string_view>

namespace talpa {

namespace {

bool is_json_space(unsigned char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
bool is_json_digit(unsigned char c) { return c >= '0' && c <= '9'; }

/// -1 for what is no hexadecimal digit.
int hex_value(unsigned char c) {
  if (is_json_digit(c)) return c - '0';
  const unsigned char lower = c | 0x20;
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

}  // namespace

JsonStep JsonAcceptor::push(char byte) {
  const auto c = static_cast<unsigned char>(byte);
  if (state_ <= State::kDone) {
    if (is_json_space(c)) return count(state_ == State::kStart ? kMaxLead : kMaxSpace);
    return structure(c);
  }
  switch (state_) {
    case State::kString:
      return string(c);
    case State::kEscape:
      return escape(c);
    case State::kHex:
      return hex(c);
    case State::kPairBackslash:
      return c == '\\' ? go(State::kPairU) : JsonStep::kWrong;
    case State::kPairU:
      return c == 'u' ? go(State::kHex) : JsonStep::kWrong;
    case State::kLiteral:
      if (*literal_ != byte) return JsonStep::kWrong;
      return *++literal_ == '\0' ? go(State::kAfterValue) : JsonStep::kTaken;
    default:
      return number(c);
  }
}

/// A byte where white space may stand.
JsonStep JsonAcceptor::structure(unsigned char c) {
  run_ = 0;
  switch (state_) {
    case State::kStart:
      return c == '{' ? open(true) : JsonStep::kWrong;
    case State::kFirstKey:
    case State::kKey:
      if (c == '}' && state_ == State::kFirstKey) return close(true);
      key_ = true;
      return c == '"' ? go(State::kString) : JsonStep::kWrong;
    case State::kColon:
      return c == ':' ? go(State::kValue) : JsonStep::kWrong;
    case State::kFirstValue:
      return c == ']' ? close(false) : value(c);
    case State::kValue:
      return value(c);
    case State::kAfterValue:
      if (c == ',') return go(in_object() ? State::kKey : State::kValue);
      return c == '}' || c == ']' ? close(c == '}') : JsonStep::kWrong;
    default:
      return JsonStep::kWrong;
  }
}

JsonStep JsonAcceptor::open(bool object) {
  if (depth_ == kMaxDepth) return JsonStep::kTooMuch;
  const std::uint64_t bit = std::uint64_t{1} << depth_++;
  objects_ = object ? objects_ | bit : objects_ & ~bit;
  return go(object ? State::kFirstKey : State::kFirstValue);
}

JsonStep JsonAcceptor::close(bool object) {
  if (in_object() != object) return JsonStep::kWrong;
  return go(--depth_ == 0 ? State::kDone : State::kAfterValue);
}

JsonStep JsonAcceptor::value(unsigned char c) {
  run_ = 1;
  switch (c) {
    case '{':
    case '[':
      run_ = 0;
      return open(c == '{');
    case '"':
      key_ = false;
      return go(State::kString);
    case 't':
      return literal("rue");
    case 'f':
      return literal("alse");
    case 'n':
      return literal("ull");
    case '-':
      return go(State::kMinus);
    case '0':
      return go(State::kZero);
    default:
      return is_json_digit(c) ? go(State::kInteger) : JsonStep::kWrong;
  }
}

JsonStep JsonAcceptor::literal(const char* rest) {
  run_ = 0;
  literal_ = rest;
  return go(State::kLiteral);
}

JsonStep JsonAcceptor::string(unsigned char c) {
  if (character_left_ > 0) {
    if (c < least_next_ || c > most_next_) return JsonStep::kWrong;
    --character_left_;
    least_next_ = 0x80;
    most_next_ = 0xbf;
    return JsonStep::kTaken;
  }
  if (c == '"') {
    run_ = 0;
    return go(key_ ? State::kColon : State::kAfterValue);
  }
  if (c == '\\') return go(State::kEscape);
  if (c < 0x20) return JsonStep::kWrong;
  return c < 0x80 ? JsonStep::kTaken : character(c);
}

/// The first byte of several; what may follow is table 3-7 of Unicode.
JsonStep JsonAcceptor::character(unsigned char lead) {
  if (lead < 0xc2 || lead > 0xf4) return JsonStep::kWrong;
  character_left_ = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
  if (lead == 0xe0) least_next_ = 0xa0;
  if (lead == 0xed) most_next_ = 0x9f;
  if (lead == 0xf0) least_next_ = 0x90;
  if (lead == 0xf4) most_next_ = 0x8f;
  return JsonStep::kTaken;
}

JsonStep JsonAcceptor::escape(unsigned char c) {
  if (c == 'u') return go(State::kHex);
  constexpr std::string_view kShort = "\"\\/bfnrt";
  const bool known = kShort.find(static_cast<char>(c)) != std::string_view::npos;
  return known ? go(State::kString) : JsonStep::kWrong;
}

/// Of \uXXXX: D800 to DBFF must come before, DC00 to DFFF behind such a one.
JsonStep JsonAcceptor::hex(unsigned char c) {
  const int digit = hex_value(c);
  if (digit < 0) return JsonStep::kWrong;
  if (hex_digits_ == 0) {
    surrogate_ = digit == 0xd;
    if (second_of_pair_ && !surrogate_) return JsonStep::kWrong;
  } else if (hex_digits_ == 1 && surrogate_) {
    if (second_of_pair_ != (digit >= 0xc)) return JsonStep::kWrong;
    surrogate_ = digit >= 8 && digit < 0xc;
  }
  if (++hex_digits_ < 4) return JsonStep::kTaken;
  hex_digits_ = 0;
  second_of_pair_ = surrogate_;
  return go(surrogate_ ? State::kPairBackslash : State::kString);
}

JsonStep JsonAcceptor::number(unsigned char c) {
  switch (state_) {
    case State::kMinus:
      run_ = 0;
      return digits(c, c == '0' ? State::kZero : State::kInteger);
    case State::kPoint:
      return digits(c, State::kFraction);
    case State::kExponent:
      if (c == '+' || c == '-') return go(State::kExponentSign);
      return digits(c, State::kExponentDigits);
    case State::kExponentSign:
      return digits(c, State::kExponentDigits);
    default:  // it may end here
      break;
  }
  if (is_json_digit(c)) return state_ == State::kZero ? JsonStep::kWrong : digits(c, state_);
  run_ = 0;
  if (c == '.' && state_ <= State::kInteger) return go(State::kPoint);
  if ((c | 0x20) == 'e' && state_ <= State::kFraction) return go(State::kExponent);
  state_ = State::kAfterValue;
  return push(static_cast<char>(c));
}

JsonStep JsonAcceptor::digits(unsigned char c, State state) {
  if (!is_json_digit(c)) return JsonStep::kWrong;
  state_ = state;
  return count(state == State::kExponentDigits ? kMaxExponentDigits : kMaxDigits);
}

}  // namespace talpa
