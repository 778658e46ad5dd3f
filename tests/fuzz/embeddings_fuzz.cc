// Input: the body of a request for embeddings.
#include "fuzz.h"
#include "talpa/serve/api_error.h"
#include "talpa/serve/embeddings.h"

namespace {

using talpa::TokenId;
namespace serve = talpa::serve;

const talpa::Tokenizer& small_tokenizer() {
  static const auto tokenizer =
      talpa::Tokenizer::from_json(talpa::Json::parse(R"({"version": "1.0", "added_tokens": [
        {"id": 0, "content": "[UNK]", "special": true}, {"id": 1, "content": "[SEP]", "special": true}],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100,
                  "vocab": {"[UNK]": 0, "[SEP]": 1, "a": 2, "b": 3, "##a": 4, "##b": 5, "ab": 6}}})"),
                                  "fuzz");
  return *tokenizer;
}

std::vector<std::vector<float>> check_texts(const std::vector<std::vector<TokenId>>& texts) {
  talpa::fuzz::require(!texts.empty() && texts.size() <= 2048, "some texts");
  for (const auto& text : texts) {
    talpa::fuzz::require(!text.empty() && text.size() <= 8, "a text that fits");
    for (const TokenId token : text)
      talpa::fuzz::require(token >= 0 && token < 7, "a token of the vocabulary");
  }
  return std::vector<std::vector<float>>(texts.size(), {0.5f, -1e-8f, 3});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const serve::ServedText text(small_tokenizer(), 8);
  static const serve::EmbeddingSource source{
      .text = text,
      .model_name = "m",
      .vocab_size = 7,
      .dim = 3,
      .embed = [](auto texts, const serve::HttpRequest&) { return check_texts(texts); }};
  return talpa::fuzz::run(data, size, [](std::string_view input) {
    try {
      const serve::HttpRequest request{.body = std::string(input)};
      const auto reply = serve::answer_embeddings(source, request);
      talpa::fuzz::require(talpa::Json::parse(reply.body)["object"] == "list", "a list");
    } catch (const serve::ApiError& error) {
      talpa::fuzz::require(error.status == 400, "what a body does wrong is the client's");
      serve::text_of(error.json());
    }
  });
}
