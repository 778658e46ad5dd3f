#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "talpa/text/tokenizer.h"
#include "talpa/text/unicode.h"

namespace talpa {
namespace {

std::string random_characters() {
  const auto codes =
      *rc::gen::container<std::vector<std::uint32_t>>(rc::gen::inRange<std::uint32_t>(0, 0x110000));
  std::string text;
  for (const std::uint32_t c : codes)
    if (c < 0xd800 || c > 0xdfff) text::append_character(text, c);
  return text;
}

/// Pushes `bytes` in random pieces; every answer must be whole characters.
std::string push_in_pieces(const std::string& bytes) {
  Utf8Buffer buffer;
  std::string out;
  for (std::size_t i = 0; i < bytes.size();) {
    const auto size = *rc::gen::inRange<std::size_t>(1, 6);
    const std::string piece = buffer.push(std::string_view(bytes).substr(i, size));
    RC_ASSERT(text::is_valid_utf8(piece));
    out += piece;
    i += size;
  }
  return out + buffer.finish();
}

TEST(Utf8Buffer, ValidTextComesThroughUnchanged) {
  EXPECT_TRUE(rc::check([] {
    const std::string text = random_characters();
    RC_ASSERT(push_in_pieces(text) == text);
  }));
}

TEST(Utf8Buffer, BrokenBytesAreReplacedTheSameInEveryCut) {
  EXPECT_TRUE(rc::check([] {
    const auto bytes = *rc::gen::container<std::string>(rc::gen::arbitrary<char>());
    RC_ASSERT(push_in_pieces(bytes) == text::valid_utf8(bytes));
  }));
}

TEST(Utf8Buffer, HoldsBackAnUnfinishedCharacter) {
  Utf8Buffer buffer;
  EXPECT_EQ(buffer.push("a\xe2\x82"), "a");
  EXPECT_EQ(buffer.push("\xac"
                        "b\xf0"),
            "\xe2\x82\xac"
            "b");
  EXPECT_EQ(buffer.finish(), "\xef\xbf\xbd");
  EXPECT_EQ(buffer.finish(), "");
}

struct Broken {
  const char* bytes;
  const char* valid;
};

TEST(ValidUtf8, ReplacesMaximalSubparts) {
  const Broken table[] = {
      {"\xc0\xaf", "\ufffd\ufffd"},
      {"\xe0\x80\x80", "\ufffd\ufffd\ufffd"},
      {"\xed\xa0\x80", "\ufffd\ufffd\ufffd"},
      {"\xf0\x9f\x98", "\ufffd"},
      {"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"},
      {"a\x80z", "a\ufffdz"},
      {"\xe2\x82z", "\ufffdz"},
      {"\xff", "\ufffd"},
  };
  for (const Broken& row : table) EXPECT_EQ(text::valid_utf8(row.bytes), row.valid);
}

}  // namespace
}  // namespace talpa
