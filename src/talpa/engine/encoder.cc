#include "talpa/engine/encoder.h"

#include <mutex>

#include "talpa/base/error.h"
#include "talpa/engine/embedding.h"
#include "talpa/engine/encoder_forward.h"

namespace talpa {

namespace {

/// Tokens of one step, unless one text has more.
constexpr std::size_t kEncoderStepRows = 512;

}  // namespace

struct Encoder::Impl {
  ThreadPool pool;
  PackedEncoder encoder;
  EncoderForward forward;
  std::mutex mutex;

  Impl(const EncoderFiles& files, const EngineOptions& options)
      : pool(make_thread_pool(options.threads, options.pin)),
        encoder(pack_encoder(files, options.weights, pool)),
        forward(encoder, pool) {}

  void check(const std::vector<TokenId>& text) const;
  std::vector<float> pool_text(const float* hidden, std::size_t tokens) const;
};

void Encoder::Impl::check(const std::vector<TokenId>& text) const {
  if (text.empty()) fail(ErrorCode::kUsage, "a text without tokens has no embedding");
  if (text.size() > static_cast<std::size_t>(encoder.config.max_positions))
    fail(ErrorCode::kUsage, "a text of {} tokens is longer than the encoder's {}", text.size(),
         encoder.config.max_positions);
  for (const TokenId token : text)
    if (token < 0 || token >= encoder.config.vocab_size)
      fail(ErrorCode::kUsage, "token id {} is outside the vocabulary of {}", token,
           encoder.config.vocab_size);
}

std::vector<float> Encoder::Impl::pool_text(const float* hidden, std::size_t tokens) const {
  const auto dim = static_cast<std::size_t>(encoder.config.dim);
  std::vector<double> sum(dim);
  const std::size_t rows = encoder.config.pooling == Pooling::kFirst ? 1 : tokens;
  for (std::size_t i = 0; i < rows * dim; ++i) sum[i % dim] += hidden[i];
  return unit_vector(sum);
}

Encoder::Encoder() = default;
Encoder::~Encoder() = default;

std::shared_ptr<Encoder> Encoder::load(const EncoderFiles& files, const EngineOptions& options) {
  std::shared_ptr<Encoder> encoder(new Encoder);
  encoder->impl_ = std::make_unique<Impl>(files, options);
  return encoder;
}

const EncoderConfig& Encoder::config() const { return impl_->encoder.config; }
std::uint64_t Encoder::weight_bytes() const { return impl_->encoder.bytes(); }

std::size_t Encoder::texts_of_step(std::span<const std::vector<TokenId>> texts) {
  std::size_t count = 0;
  for (std::size_t rows = 0; count < texts.size(); ++count) {
    rows += texts[count].size();
    if (count > 0 && rows > kEncoderStepRows) break;
  }
  return count;
}

std::vector<std::vector<float>> Encoder::embed(std::span<const std::vector<TokenId>> texts) {
  const std::lock_guard lock(impl_->mutex);
  for (const auto& text : texts) impl_->check(text);
  std::vector<std::vector<float>> vectors;
  while (!texts.empty()) {
    const auto step = texts.first(texts_of_step(texts));
    const float* hidden = impl_->forward.run(step);
    for (const auto& text : step) {
      vectors.push_back(impl_->pool_text(hidden, text.size()));
      hidden += text.size() * static_cast<std::size_t>(config().dim);
    }
    texts = texts.subspan(step.size());
  }
  return vectors;
}

LoadedEncoder load_encoder(const std::filesystem::path& path, const EngineOptions& options) {
  LoadedEncoder loaded;
  loaded.files = open_encoder(path);
  const auto tokenizer = path / "tokenizer.json";
  if (!std::filesystem::exists(tokenizer))
    fail(ErrorCode::kNotFound, "{} has no tokenizer.json", path.string());
  loaded.tokenizer = Tokenizer::from_file(tokenizer);
  if (loaded.tokenizer->vocab_size() > loaded.files.config.vocab_size)
    fail(ErrorCode::kFormat, "{}: the tokenizer has {} tokens, the model only {}", path.string(),
         loaded.tokenizer->vocab_size(), loaded.files.config.vocab_size);
  loaded.encoder = Encoder::load(loaded.files, options);
  return loaded;
}

}  // namespace talpa
