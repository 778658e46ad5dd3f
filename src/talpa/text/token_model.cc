#include "talpa/text/token_model.h"

namespace talpa::text {

ModelParts make_model(const Json& json, const std::string& where) {
  Component component(json, where);
  // Files of old versions carry no type for BPE.
  const bool untyped = !component.find("type") && component.find("merges");
  const std::string type = untyped ? "BPE" : component.type();
  ModelParts parts;
  if (type == "BPE") {
    parts = make_bpe(component);
  } else if (type == "WordPiece") {
    parts = make_word_piece(component);
  } else if (type == "Unigram") {
    parts = make_unigram(component);
  } else {
    component.fail_unknown("model", type);
  }
  component.done();
  return parts;
}

std::shared_ptr<Vocabulary> read_vocabulary(Component& component, const char* key) {
  const Json& json = component.at(key);
  if (!json.is_object()) component.fail_format(fmt::format("\"{}\" is not an object", key));
  auto vocabulary = std::make_shared<Vocabulary>();
  const std::string where = fmt::format("{}.{}", component.where(), key);
  for (const auto& [token, id] : json.items()) {
    if (!id.is_number_integer() || id > kMaxVocabulary)
      fail(ErrorCode::kFormat, "{}: the id of \"{}\" is not a small integer", where, token);
    vocabulary->add(token, id.get<std::int64_t>(), where);
  }
  return vocabulary;
}

}  // namespace talpa::text
