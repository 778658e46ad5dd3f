#include "talpa/serve/embeddings.h"

#include <bit>
#include <iterator>

#include "talpa/serve/request_json.h"

namespace talpa::serve {

namespace {

constexpr std::size_t kMostInputs = 2048;  ///< as OpenAI

struct EmbeddingBody {
  OrderedJson input;
  std::string encoding_format = "float";
  std::optional<std::int64_t> dimensions;
  bool truncate = false;

  static constexpr auto fields() {
    using C = EmbeddingBody;
    return std::tuple{
        field("input", &C::input, "a string, token ids, or a list of either"),
        field("encoding_format", &C::encoding_format, "float, or base64 of little-endian fp32"),
        field("dimensions", &C::dimensions, "only the model's own"),
        field("truncate", &C::truncate, "cut texts that are too long, else they are refused")};
  }
};

/// Ids of one text, as they came or as the tokenizer makes them.
std::vector<TokenId> tokens_of(const EmbeddingSource& source, const OrderedJson& input,
                               bool truncate) {
  if (input.is_string()) {
    auto text = input.get<std::string>();
    if (truncate && text.size() > source.text.max_bytes) text.resize(source.text.max_bytes);
    source.text.check(text.size());
    return text.empty() ? std::vector<TokenId>() : source.text.tokenizer.encode(text);
  }
  if (!input.is_array()) fail_field("input", "expected a string or a list of token ids");
  std::vector<TokenId> tokens;
  for (const auto& id : input) {
    if (!id.is_number_integer() || id < 0 || id >= source.vocab_size)
      fail_field("input", "expected token ids below {}, got {}", source.vocab_size,
                 text_of(Json(id)).substr(0, 40));
    tokens.push_back(id.get<TokenId>());
  }
  return tokens;
}

/// Cut to the context, or refused. A special token at the end stays there: encoders were trained
/// with it.
void fit(const EmbeddingSource& source, bool truncate, std::vector<TokenId>& tokens) {
  if (tokens.empty()) fail_field("input", "a text is empty");
  const auto most = static_cast<std::size_t>(source.text.context);
  if (tokens.size() <= most) return;
  if (!truncate) {
    ApiError error(400, fmt::format("the context is {} tokens: a text has {}; \"truncate\": true "
                                    "cuts it",
                                    most, tokens.size()));
    error.param = "input";
    error.code = "context_length_exceeded";
    throw error;
  }
  const TokenId last = tokens.back();
  tokens.resize(most);
  if (source.text.tokenizer.is_special(last)) tokens.back() = last;
}

std::vector<std::vector<TokenId>> texts_of(const EmbeddingSource& source,
                                           const EmbeddingBody& body) {
  const OrderedJson& input = body.input;
  std::vector<std::vector<TokenId>> texts;
  const bool list = input.is_array() && !input.empty() && !input[0].is_number();
  if (list) {
    if (input.size() > kMostInputs) fail_field("input", "expected at most {} texts", kMostInputs);
    for (const auto& item : input) texts.push_back(tokens_of(source, item, body.truncate));
  } else {
    texts.push_back(tokens_of(source, input, body.truncate));
  }
  for (auto& tokens : texts) fit(source, body.truncate, tokens);
  return texts;
}

std::string base64(std::string_view bytes) {
  constexpr const char* kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t three = 0;
    for (std::size_t k = 0; k < 3; ++k)
      three = three << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k)
      out += k <= bytes.size() - i ? kDigits[three >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::string numbers_of(const std::vector<float>& vector, bool as_base64) {
  static_assert(std::endian::native == std::endian::little);
  if (as_base64)
    return '"' +
           base64({reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float)}) +
           '"';
  std::string text = "[";
  for (const float x : vector)
    fmt::format_to(std::back_inserter(text), "{}{}", text.size() > 1 ? "," : "", x);
  return text + "]";
}

void check_body(const EmbeddingSource& source, const EmbeddingBody& body) {
  if (body.encoding_format != "float" && body.encoding_format != "base64")
    fail_field("encoding_format", "expected float or base64");
  if (body.dimensions && *body.dimensions != source.dim)
    fail_field("dimensions", "the model's vectors have {} numbers, others are not supported",
               source.dim);
}

}  // namespace

HttpReply answer_embeddings(const EmbeddingSource& source, const HttpRequest& http) {
  const auto body = request_of<EmbeddingBody>(http.body);
  check_body(source, body);
  auto texts = texts_of(source, body);
  std::size_t tokens = 0;
  for (const auto& text : texts) tokens += text.size();
  const auto vectors = source.embed(std::move(texts), http);
  std::string data;
  for (std::size_t i = 0; i < vectors.size(); ++i)
    data +=
        fmt::format("{}{{\"object\":\"embedding\",\"index\":{},\"embedding\":{}}}",
                    i > 0 ? "," : "", i, numbers_of(vectors[i], body.encoding_format == "base64"));
  HttpReply reply{.body =
                      fmt::format("{{\"object\":\"list\",\"data\":[{}],\"model\":{},\"usage\":{}}}",
                                  data, text_of(Json(source.model_name)),
                                  text_of({{"prompt_tokens", tokens}, {"total_tokens", tokens}}))};
  reply.note = [tokens] { return fmt::format(" prompt_tokens={}", tokens); };
  return reply;
}

}  // namespace talpa::serve
