#include "talpa/chat/chat_template.h"

#include "talpa/chat/interpreter.h"
#include "talpa/chat/parser.h"
#include "talpa/text/unicode.h"

namespace talpa::chat {

namespace {

Value value_of(const OrderedJson& json, int depth);

Value dict_of(const OrderedJson& json, int depth) {
  Dict dict;
  for (const auto& [key, item] : json.items())
    dict.set(text::valid_utf8(key), value_of(item, depth + 1));
  return dict;
}

Value list_of(const OrderedJson& json, int depth) {
  std::vector<Value> items;
  for (const OrderedJson& item : json) items.push_back(value_of(item, depth + 1));
  return Value::list(std::move(items));
}

/// Text that is not UTF-8 gets replacement characters.
Value value_of(const OrderedJson& json, int depth) {
  if (depth > kMaxValueDepth) refuse("the messages are nested deeper than {}", kMaxValueDepth);
  if (json.is_null()) return nullptr;
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_float()) return json.get<double>();
  if (json.is_number_unsigned() && json.get<std::uint64_t>() > INT64_MAX) return json.get<double>();
  if (json.is_number()) return json.get<std::int64_t>();
  if (json.is_string()) return text::valid_utf8(json.get_ref<const std::string&>());
  if (json.is_array()) return list_of(json, depth);
  if (json.is_object()) return dict_of(json, depth);
  refuse("a value of JSON that templates have no type for");
}

}  // namespace

struct ChatTemplate::Parsed {
  Statements statements;
};

ChatTemplate::ChatTemplate(std::string_view source)
    : parsed_(std::make_unique<const Parsed>(Parsed{parse_template(source)})) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const OrderedJson& messages, const ChatOptions& options) const {
  OrderedJson variables = OrderedJson::object();
  variables["messages"] = messages;
  variables["tools"] = options.tools;
  variables["documents"] = nullptr;
  variables["add_generation_prompt"] = options.add_generation_prompt;
  if (options.bos_token) variables["bos_token"] = *options.bos_token;
  if (options.eos_token) variables["eos_token"] = *options.eos_token;
  for (const auto& [name, value] : options.extra.items()) variables[name] = value;
  return render_variables(variables, options);
}

std::string ChatTemplate::render_variables(const OrderedJson& variables,
                                           const ChatOptions& options) const {
  Runtime runtime(options.max_steps, options.now.value_or(std::chrono::system_clock::now()));
  Interpreter interpreter(runtime);
  for (const auto& [name, value] : variables.items()) interpreter.define(name, value_of(value, 1));
  return interpreter.render(parsed_->statements);
}

std::string render_chat(const std::string& source, const OrderedJson& messages,
                        const ChatOptions& options) {
  return ChatTemplate(source).render(messages, options);
}

}  // namespace talpa::chat
