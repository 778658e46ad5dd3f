#include "talpa/base/file.h"
#include "talpa/text/component.h"
#include "talpa/text/pipeline.h"

namespace talpa {

using text::AddedToken;
using text::Component;
using text::PipelineParts;
using text::Vocabulary;

namespace {

AddedToken read_added_token(const Json& json, const std::string& where) {
  Component c(json, where);
  AddedToken token;
  token.id = c.integer("id");
  token.content = c.string("content");
  token.single_word = c.boolean("single_word", false);
  token.lstrip = c.boolean("lstrip", false);
  token.rstrip = c.boolean("rstrip", false);
  token.special = c.boolean("special", false);
  token.normalized = c.boolean("normalized", !token.special);
  c.done();
  return token;
}

std::vector<AddedToken> read_added_tokens(Component& root, Vocabulary& vocabulary) {
  std::vector<AddedToken> tokens;
  if (!root.find("added_tokens")) return tokens;
  for (const Json& json : root.array("added_tokens")) {
    const std::string where = fmt::format("{}.added_tokens[{}]", root.where(), tokens.size());
    AddedToken token = read_added_token(json, where);
    const auto known = vocabulary.find(token.content);
    if (known && *known != token.id)
      fail(ErrorCode::kFormat, "{}: \"{}\" has id {}, but {} in the model's vocabulary", where,
           token.content, token.id, *known);
    if (!known) vocabulary.add(token.content, token.id, where);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace

std::shared_ptr<const Tokenizer> Tokenizer::from_json(const Json& json, const std::string& source) {
  Component root(json, source);
  // Truncation and padding belong to whoever makes batches.
  for (const char* key : {"version", "truncation", "padding"}) root.ignore(key);
  PipelineParts parts;
  const auto where = [&](const char* key) { return fmt::format("{}: {}", source, key); };
  parts.model = text::make_model(root.at("model"), where("model"));
  parts.added_tokens = read_added_tokens(root, *parts.model.vocabulary);
  if (const Json* part = root.find("normalizer"))
    parts.normalizer = text::make_normalizer(*part, where("normalizer"));
  if (const Json* part = root.find("pre_tokenizer"))
    parts.pre_tokenizer = text::make_pre_tokenizer(*part, where("pre_tokenizer"));
  if (const Json* part = root.find("post_processor")) {
    parts.frame = text::make_frame(*part, where("post_processor"));
    for (const auto* side : {&parts.frame.before, &parts.frame.after})
      for (const TokenId id : *side)
        if (!parts.model.vocabulary->contains(id))
          fail(ErrorCode::kFormat, "{}: id {} is not in the vocabulary", where("post_processor"),
               id);
  }
  if (const Json* part = root.find("decoder"))
    parts.decoder = text::make_decoder(*part, where("decoder"));
  root.done();
  return std::make_shared<text::Pipeline>(std::move(parts));
}

std::shared_ptr<const Tokenizer> Tokenizer::from_file(const std::filesystem::path& path) {
  return from_json(read_json(path), path.string());
}

}  // namespace talpa
