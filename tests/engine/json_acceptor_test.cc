#include <gtest/gtest.h>

#include <cmath>

#include "engine/json_oracle.h"
#include "talpa/base/random.h"

namespace talpa::testing {
namespace {

std::string random_text(Random& random) {
  static const std::vector<std::string> kParts = {"a",
                                                  "Zz",
                                                  " ",
                                                  "\"",
                                                  "\\",
                                                  "/",
                                                  "\n",
                                                  "\t",
                                                  "\x01",
                                                  "\x7f",
                                                  "\xc3\xa9",
                                                  "\xe0\xa0\x80",
                                                  "\xed\x9f\xbf",
                                                  "\xef\xbf\xbf",
                                                  "\xf0\x9f\x98\x80",
                                                  "\xf4\x8f\xbf\xbf",
                                                  "{",
                                                  "]",
                                                  "0"};
  std::string text;
  for (std::uint64_t i = random.below(5); i > 0; --i) text += kParts[random.below(kParts.size())];
  return text;
}

Json random_value(Random& random, int depth) {
  switch (random.below(depth > 0 ? 8 : 6)) {
    case 0:
      return random_text(random);
    case 1:
      return static_cast<std::int64_t>(random.next() >> random.below(64));
    case 2:
      return -static_cast<std::int64_t>(random.below(1000));
    case 3:
      return std::ldexp(random.normal(), static_cast<int>(random.below(200)) - 100);
    case 4:
      return random.below(2) == 0;
    case 5:
      return nullptr;
    default:
      break;
  }
  Json value = random.below(2) == 0 ? Json::object() : Json::array();
  for (std::uint64_t i = random.below(4); i > 0; --i) {
    if (value.is_object())
      value[random_text(random)] = random_value(random, depth - 1);
    else
      value.push_back(random_value(random, depth - 1));
  }
  return value;
}

std::string random_document(Random& random) {
  Json object = Json::object();
  for (std::uint64_t i = random.below(4); i > 0; --i)
    object[random_text(random)] = random_value(random, 4);
  return object.dump(static_cast<int>(random.below(4)) - 1, ' ', random.below(2) == 0);
}

void mutate(Random& random, std::string& text) {
  static constexpr std::string_view kSigns = "{}[]\",:\\u0dDcC8+-.eE \n\tnulltruefalse\x80\xc3\xed";
  const std::size_t at = random.below(text.size());
  switch (random.below(4)) {
    case 0:
      text[at] = kSigns[random.below(kSigns.size())];
      break;
    case 1:
      text.erase(at, 1 + random.below(3));
      break;
    case 2:
      text.insert(at, 1, kSigns[random.below(kSigns.size())]);
      break;
    default:
      text.insert(at, text.substr(random.below(text.size()), 1 + random.below(6)));
  }
  if (text.empty()) text.push_back('{');
}

TEST(JsonAcceptorTest, TakesDocumentsAndCompletesTheirBeginnings) {
  Random random(1, "documents");
  for (int i = 0; i < 3000; ++i) {
    const std::string text = random_document(random);
    ASSERT_TRUE(judge_json(text).complete()) << text;
    ASSERT_TRUE(judge_json(std::string("\n ") + text + "\r\n\t ").complete()) << text;
    const std::string begin = text.substr(0, random.below(text.size()));
    const JsonVerdict verdict = judge_json(begin);
    ASSERT_EQ(verdict.last, JsonStep::kTaken) << begin;
    ASSERT_FALSE(verdict.acceptor.complete()) << begin;
    ASSERT_TRUE(is_json_object(begin + json_ending(verdict.acceptor))) << begin;
  }
}

TEST(JsonAcceptorTest, AgreesWithNlohmannOnMutatedDocuments) {
  Random random(2, "mutations");
  int good = 0, wrong = 0;
  for (int i = 0; i < 60000; ++i) {
    std::string text = random_document(random);
    for (std::uint64_t edits = 1 + random.below(3); edits > 0; --edits) mutate(random, text);
    const JsonVerdict verdict = judge_json(text);
    if (verdict.last == JsonStep::kTooMuch) continue;
    ASSERT_EQ(verdict.complete(), is_json_object(text)) << text;
    ++(verdict.complete() ? good : wrong);
    // What it took before the byte that it did not take was the beginning of an object.
    if (i % 8 == 0 && !verdict.acceptor.complete()) {
      ASSERT_TRUE(is_json_object(text.substr(0, verdict.num_taken) + json_ending(verdict.acceptor)))
          << text;
    }
  }
  EXPECT_GT(good, 3000);
  EXPECT_GT(wrong, 5000);
}

TEST(JsonAcceptorTest, EscapesOfSurrogatesComeInPairs) {
  for (const char* text : {R"({"a":"\uD83D\uDE00"})", R"({"\ud800\udc00":1})", R"({"a":"\ud7ff"})",
                           R"({"a":"\ue000\uDBFF\uDFFF"})"})
    EXPECT_TRUE(judge_json(text).complete()) << text;
  for (const char* text : {R"({"a":"\udc00)", R"({"a":"\ud800")", R"({"a":"\ud800\n)",
                           R"({"a":"\ud800\ud8)", R"({"a":"\ud800\u0)", R"({"a":"\ud800x)"})
    EXPECT_EQ(judge_json(text).last, JsonStep::kWrong) << text;
}

TEST(JsonAcceptorTest, OnlyObjectsAreTaken) {
  for (const char* text : {"[",
                           "1",
                           "\"",
                           "t",
                           "}",
                           "{}{",
                           "{},",
                           "{1",
                           "{\"a\"}",
                           "{\"a\":1,}",
                           "{\"a\":[1,]",
                           "{\"a\":01",
                           "{\"a\":+",
                           "{\"a\":.",
                           "{\"a\":1.}",
                           "{\"a\":-}",
                           "{\"a\":1e}",
                           "{\"a\":[}",
                           "{\"a\":{]",
                           "{\"a\":tru}",
                           "{\"a\":\"\n",
                           "{\"a\":\"\\x",
                           "\xef\xbb\xbf{"})
    EXPECT_EQ(judge_json(text).last, JsonStep::kWrong) << text;
}

TEST(JsonAcceptorTest, BoundsWhatCouldGoOnForEver) {
  auto last = [](const std::string& text) { return judge_json(text).last; };
  auto nested = [](int depth) {
    std::string text = "{\"a\":";
    return text.append(static_cast<std::size_t>(depth - 1), '[');
  };
  EXPECT_EQ(last(nested(JsonAcceptor::kMaxDepth)), JsonStep::kTaken);
  EXPECT_EQ(last(nested(JsonAcceptor::kMaxDepth + 1)), JsonStep::kTooMuch);
  const std::string space(JsonAcceptor::kMaxSpace, '\n');
  EXPECT_EQ(
      last(std::string("{") + space + "\"a\"" + space + ":" + space + "1" + space + "}" + space),
      JsonStep::kTaken);
  EXPECT_EQ(last("{" + space + " "), JsonStep::kTooMuch);
  EXPECT_EQ(last("    {"), JsonStep::kTaken);
  EXPECT_EQ(last("     "), JsonStep::kTooMuch);
  EXPECT_EQ(last("{}" + space + " "), JsonStep::kTooMuch);
  const std::string digits(JsonAcceptor::kMaxDigits, '9');
  EXPECT_TRUE(judge_json("{\"a\":-" + digits + "." + digits + "e-99}").complete());
  EXPECT_EQ(last("{\"a\":" + digits + "9"), JsonStep::kTooMuch);
  EXPECT_EQ(last("{\"a\":1." + digits + "9"), JsonStep::kTooMuch);
  EXPECT_EQ(last("{\"a\":1e100"), JsonStep::kTooMuch);
}

}  // namespace
}  // namespace talpa::testing
