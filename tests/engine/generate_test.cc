#include "talpa/engine/generate.h"

#include <gtest/gtest.h>

#include "engine/random_model.h"
#include "talpa/engine/stop_filter.h"

namespace talpa::testing {
namespace {

/// Ids as bytes of text: what each stands for is given by the test.
class ToyTokenizer : public Tokenizer {
 public:
  explicit ToyTokenizer(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {}
  std::vector<TokenId> encode(std::string_view, bool, bool) const override { return {}; }
  std::string decode(std::span<const TokenId> ids, bool) const override {
    std::string text;
    for (const TokenId id : ids) text += tokens_[static_cast<std::size_t>(id) % tokens_.size()];
    return text;
  }
  int vocab_size() const override { return 101; }
  const std::string& token(TokenId id) const override { return tokens_.at(id % tokens_.size()); }
  std::optional<TokenId> id_of(std::string_view) const override { return std::nullopt; }
  bool is_special(TokenId) const override { return false; }

 private:
  std::vector<std::string> tokens_;
};

class GenerateTest : public ::testing::Test {
 protected:
  GenerateTest() : loaded_(random_model(small_config(Family::kLlama), scratch_)) {
    use({"ab", "cd", "ef", "gh", "ij", "kl", "mn"});
  }
  void use(std::vector<std::string> tokens) {
    loaded_.tokenizer = std::make_shared<ToyTokenizer>(std::move(tokens));
  }
  Generation run(const GenerateOptions& options) {
    pieces_.clear();
    return generate(loaded_, prompt_, options,
                    [&](std::string_view t) { pieces_.emplace_back(t); });
  }
  std::string streamed() const {
    std::string text;
    for (const auto& piece : pieces_) text += piece;
    return text;
  }

  Scratch scratch_;
  LoadedModel loaded_;
  std::vector<TokenId> prompt_ = {3, 1, 4, 1, 5};
  std::vector<std::string> pieces_;
};

TEST_F(GenerateTest, StreamsTheTextItReturns) {
  const Generation g = run({.max_tokens = 20, .sampler = {.temperature = 2}});
  EXPECT_EQ(g.tokens.size(), 20u);
  EXPECT_EQ(g.finish, FinishReason::kLength);
  EXPECT_EQ(g.text, loaded_.tokenizer->decode(g.tokens, true));
  EXPECT_EQ(streamed(), g.text);
  EXPECT_EQ(pieces_.size(), 20u);
}

TEST_F(GenerateTest, SeedDecides) {
  const GenerateOptions a{.max_tokens = 15, .sampler = {.temperature = 3, .seed = 1}};
  const GenerateOptions b{.max_tokens = 15, .sampler = {.temperature = 3, .seed = 2}};
  EXPECT_EQ(run(a).tokens, run(a).tokens);
  EXPECT_NE(run(a).tokens, run(b).tokens);
}

/// Stop strings that begin in one token and end in another, at every place of the text.
TEST_F(GenerateTest, StopsInsideAndAcrossTokens) {
  const GenerateOptions free{.max_tokens = 12, .sampler = {.temperature = 3, .seed = 3}};
  const std::string text = run(free).text;
  for (std::size_t at = 0; at + 3 < text.size(); ++at) {
    GenerateOptions options = free;
    options.stop = {"never", text.substr(at, 3)};
    const Generation g = run(options);
    EXPECT_EQ(g.finish, FinishReason::kStop);
    EXPECT_EQ(g.text, text.substr(0, text.find(options.stop[1])));
    EXPECT_EQ(streamed(), g.text);
  }
}

TEST_F(GenerateTest, HeldBackTextComesAtTheEnd) {
  const GenerateOptions free{.max_tokens = 6, .sampler = {.temperature = 3}};
  const std::string text = run(free).text;
  GenerateOptions options = free;
  options.stop = {text.substr(text.size() - 3) + "!"};
  const Generation g = run(options);
  EXPECT_EQ(g.text, text);
  EXPECT_EQ(g.finish, FinishReason::kLength);
}

/// Every piece is whole characters although tokens end inside them.
TEST_F(GenerateTest, NeverSplitsACharacter) {
  use({"\xe2", "\x82", "\xac", "\xe2\x82", "\xac\xf0\x9f", "\x98\x80", "x"});
  const Generation g = run({.max_tokens = 60, .sampler = {.temperature = 5}});
  EXPECT_EQ(streamed(), g.text);
  EXPECT_NE(g.text.find('x'), std::string::npos);
  for (const std::string& piece : pieces_) {
    const Json quoted = piece;
    EXPECT_NO_THROW(quoted.dump()) << "not UTF-8";
  }
}

TEST_F(GenerateTest, EndsAtEndOfText) {
  const Generation free = run({.max_tokens = 10});
  loaded_.files.config.eos_tokens = {free.tokens[4]};
  loaded_.model = Model::load(loaded_.files, {.threads = 1});
  const Generation g = run({.max_tokens = 10});
  EXPECT_EQ(g.finish, FinishReason::kStop);
  const auto first = std::find(free.tokens.begin(), free.tokens.end(), free.tokens[4]);
  EXPECT_EQ(g.tokens, std::vector<TokenId>(free.tokens.begin(), first));
  EXPECT_EQ(run({.max_tokens = 10, .ignore_eos = true}).tokens, free.tokens);
}

TEST_F(GenerateTest, CanBeCancelled) {
  std::atomic<bool> cancelled{false};
  const GenerateOptions options{.max_tokens = 1000, .ignore_eos = true, .cancelled = &cancelled};
  int count = 0;
  const Generation g =
      generate(loaded_, prompt_, options, [&](std::string_view) { cancelled = ++count == 3; });
  EXPECT_EQ(g.finish, FinishReason::kCancelled);
  EXPECT_EQ(g.tokens.size(), 3u);
  cancelled = true;
  EXPECT_EQ(generate(loaded_, prompt_, options).finish, FinishReason::kCancelled);
}

TEST_F(GenerateTest, RefusesWhatItCannotDo) {
  EXPECT_TALPA_ERROR(generate(loaded_, {}, {}), kUsage, "prompt is empty");
  EXPECT_TALPA_ERROR(run({.max_tokens = -1}), kConfig, "max_tokens");
  EXPECT_TALPA_ERROR(run({.stop = {""}}), kConfig, "stop");
  EXPECT_TRUE(run({.max_tokens = 0}).tokens.empty());
  loaded_.tokenizer = nullptr;
  EXPECT_EQ(run({.max_tokens = 4, .ignore_eos = true}).tokens.size(), 4u);
  EXPECT_TALPA_ERROR(run({.stop = {"x"}}), kUnsupported, "tokenizer");
}

TEST(StopFilterTest, HoldsBackOnlyWhatMayBecomeAStop) {
  StopFilter filter({"abc", "bd"});
  EXPECT_EQ(filter.push("xa"), "x");
  EXPECT_EQ(filter.push("b"), "");
  EXPECT_EQ(filter.push("x"), "abx");
  EXPECT_EQ(filter.push("ab"), "");
  EXPECT_EQ(filter.push("dz"), "a");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.push("more"), "");
  EXPECT_EQ(filter.finish(), "");
}

}  // namespace
}  // namespace talpa::testing
