#include "talpa/text/pipeline.h"

#include "talpa/text/unicode.h"

namespace talpa::text {

Pipeline::Pipeline(PipelineParts parts)
    : parts_(std::move(parts)), special_(static_cast<std::size_t>(vocab_size())) {
  for (const AddedToken& token : parts_.added_tokens) {
    if (token.special) special_[static_cast<std::size_t>(token.id)] = true;
    if (!token.normalized) {
      raw_tokens_.add(token.content, token);
      continue;
    }
    std::string written = token.content;
    if (parts_.normalizer) parts_.normalizer->apply(written);
    normalized_tokens_.add(written, token);
    if (written != token.content) normalized_contents_.emplace(token.id, std::move(written));
  }
}

bool Pipeline::is_special(TokenId id) const {
  return parts_.model.vocabulary->contains(id) && special_[static_cast<std::size_t>(id)];
}

std::vector<TokenId> Pipeline::encode(std::string_view text, bool add_special,
                                      bool parse_special) const {
  std::vector<TokenId> ids;
  if (add_special) ids = parts_.frame.before;
  if (!text.empty()) {
    const std::string valid = valid_utf8(text);
    for (const TokenSpan& span : raw_tokens_.find(valid, parse_special)) {
      if (span.id >= 0) {
        ids.push_back(span.id);
      } else {
        encode_raw({valid.substr(span.begin, span.end - span.begin), span.begin == 0},
                   parse_special, ids);
      }
    }
  }
  if (add_special) ids.insert(ids.end(), parts_.frame.after.begin(), parts_.frame.after.end());
  return ids;
}

void Pipeline::encode_raw(Piece piece, bool parse_special, std::vector<TokenId>& out) const {
  if (parts_.normalizer) parts_.normalizer->apply(piece.text);
  for (const TokenSpan& span : normalized_tokens_.find(piece.text, parse_special)) {
    if (span.id >= 0) {
      out.push_back(span.id);
    } else {
      encode_normalized(
          {piece.text.substr(span.begin, span.end - span.begin), piece.at_start && span.begin == 0},
          out);
    }
  }
}

void Pipeline::encode_normalized(Piece piece, std::vector<TokenId>& out) const {
  if (!parts_.pre_tokenizer) {
    parts_.model.model->tokenize(piece.text, out);
    return;
  }
  std::vector<Piece> pieces;
  parts_.pre_tokenizer->split(std::move(piece), pieces);
  for (const Piece& p : pieces) parts_.model.model->tokenize(p.text, out);
}

std::string Pipeline::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  for (const TokenId id : ids) {
    if (skip_special && is_special(id)) continue;
    const auto normalized = normalized_contents_.find(id);
    tokens.push_back(normalized == normalized_contents_.end() ? token(id) : normalized->second);
  }
  if (tokens.empty()) return {};
  if (parts_.decoder) {
    parts_.decoder->apply(tokens);
  } else {
    for (std::size_t i = 1; i < tokens.size(); ++i) tokens[i].insert(0, 1, ' ');
  }
  std::string text;
  for (const std::string& token : tokens) text += token;
  return text;
}

}  // namespace talpa::text
