#include <algorithm>

#include "talpa/text/tokenizer.h"
#include "talpa/text/unicode.h"

namespace talpa {

namespace {

/// How many bytes at the end begin a character that is not whole yet.
std::size_t size_of_cut_character(std::string_view bytes) {
  for (std::size_t size = 1; size <= 3 && size <= bytes.size(); ++size) {
    const std::string_view tail = bytes.substr(bytes.size() - size);
    if (text::utf8_step(tail).truncated) return size;
    if ((static_cast<unsigned char>(tail[0]) & 0xc0) != 0x80) return 0;
  }
  return 0;
}

}  // namespace

std::string DecodeStream::push(TokenId id) {
  if (skip_special_ && tokenizer_->is_special(id)) return {};
  window_.push_back(id);
  const std::string text = tokenizer_->decode(window_, skip_special_);
  const std::size_t cut = size_of_cut_character(text);
  std::string fresh = behind_told(text);
  if (fresh.size() <= cut) return {};
  fresh.resize(fresh.size() - cut);
  // What was told before the last piece no longer matters; the last piece is the context of the
  // next, because the first token of a text may decode differently.
  window_.erase(window_.begin(), window_.begin() + static_cast<std::ptrdiff_t>(told_tokens_));
  told_tokens_ = window_.size();
  told_ = tokenizer_->decode(window_, skip_special_);
  told_.resize(told_.size() - std::min(cut, told_.size()));  // the cut character is not told
  return text::valid_utf8(fresh);
}

std::string DecodeStream::behind_told(const std::string& text) const {
  if (text.starts_with(told_)) return text.substr(told_.size());
  // What has been told would read differently now and cannot be unsaid.
  return tokenizer_->decode(std::span(window_).subspan(told_tokens_), skip_special_);
}

std::string DecodeStream::finish() {
  const std::string rest = behind_told(tokenizer_->decode(window_, skip_special_));
  window_.clear();
  told_.clear();
  told_tokens_ = 0;
  return text::valid_utf8(rest);
}

}  // namespace talpa
