#include "talpa/text/post_processor.h"

#include "talpa/text/component.h"

namespace talpa::text {

namespace {

TokenId read_id(const Json& json, const std::string& where) {
  if (!json.is_number_integer() || json < 0 || json >= kMaxVocabulary)
    fail(ErrorCode::kFormat, "{}: expected a token id, got {}", where,
         json.dump(-1, ' ', true).substr(0, 60));
  return json.get<TokenId>();
}

/// ["[CLS]", 101]
TokenId read_pair(Component& c, const char* key) {
  const Json& pair = c.array(key);
  if (pair.size() != 2) c.fail_format(fmt::format("\"{}\" is not [token, id]", key));
  return read_id(pair[1], fmt::format("{}.{}", c.where(), key));
}

Frame make_bert(Component& c) {
  const TokenId sep = read_pair(c, "sep");
  const TokenId cls = read_pair(c, "cls");
  c.ignore("trim_offsets");
  c.ignore("add_prefix_space");
  return {{cls}, {sep}};
}

std::vector<TokenId> ids_of_special(const Json& specials, const std::string& name,
                                    const std::string& where) {
  const auto entry = specials.find(name);
  if (entry == specials.end())
    fail(ErrorCode::kFormat, "{}: special token \"{}\" has no entry", where, name);
  Component special(*entry, fmt::format("{}.special_tokens.{}", where, name));
  std::vector<TokenId> ids;
  for (const Json& id : special.array("ids")) ids.push_back(read_id(id, special.where()));
  return ids;
}

Frame make_template(Component& c) {
  const Json& specials = c.at("special_tokens");
  if (!specials.is_object()) c.fail_format("\"special_tokens\" is not an object");
  c.ignore("pair");
  Frame frame;
  int sequences = 0;
  for (const Json& item : c.array("single")) {
    Component piece(item, c.where() + ".single");
    if (piece.find("Sequence")) {
      ++sequences;
    } else {
      Component special(piece.at("SpecialToken"), c.where() + ".single.SpecialToken");
      auto& side = sequences ? frame.after : frame.before;
      for (const TokenId id : ids_of_special(specials, special.string("id"), c.where()))
        side.push_back(id);
    }
    piece.done();
  }
  if (sequences != 1)
    fail(ErrorCode::kUnsupported, "{}: the template of one text holds {} texts", c.where(),
         sequences);
  return frame;
}

/// Each processor works on what the one before it made.
Frame make_sequence(Component& c) {
  Frame all;
  std::size_t i = 0;
  for (const Json& part : c.array("processors")) {
    const Frame frame = make_frame(part, fmt::format("{}.processors[{}]", c.where(), i++));
    all.before.insert(all.before.begin(), frame.before.begin(), frame.before.end());
    all.after.insert(all.after.end(), frame.after.begin(), frame.after.end());
  }
  return all;
}

Frame make(Component& c) {
  const std::string type = c.type();
  if (type == "TemplateProcessing") return make_template(c);
  if (type == "BertProcessing" || type == "RobertaProcessing") return make_bert(c);
  if (type == "ByteLevel") {
    for (const char* key : {"add_prefix_space", "trim_offsets", "use_regex"}) c.ignore(key);
    return {};
  }
  if (type == "Sequence") return make_sequence(c);
  c.fail_unknown("post-processor", type);
}

}  // namespace

Frame make_frame(const Json& json, const std::string& where) {
  Component component(json, where);
  Frame frame = make(component);
  component.done();
  return frame;
}

}  // namespace talpa::text
