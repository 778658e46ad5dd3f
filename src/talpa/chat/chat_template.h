#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "talpa/base/config.h"

namespace talpa::chat {

/// JSON whose objects keep the order of their keys, which templates print (tool definitions).
using OrderedJson = nlohmann::ordered_json;

/// What a template sees beside the messages, under the names that transformers gives it.
struct ChatOptions {
  /// A list of tool definitions; null for none.
  OrderedJson tools;
  /// Ask for the beginning of the model's answer behind the messages.
  bool add_generation_prompt = true;
  /// Undefined in the template if absent.
  std::optional<std::string> bos_token;
  std::optional<std::string> eos_token;
  /// More variables (enable_thinking, reasoning_effort, documents, ...); they win over the above.
  OrderedJson extra = OrderedJson::object();
  /// What strftime_now() formats, in local time; absent for the time of the call.
  std::optional<std::chrono::system_clock::time_point> now;
  /// Work a rendering may do: about one a byte that is touched and 64 an expression.
  std::size_t max_steps = std::size_t{1} << 29;
};

/// A chat template: the subset of jinja2 3.1 that the chat_template of Hugging Face models uses,
/// in the environment of transformers' apply_chat_template (trim_blocks, lstrip_blocks, its tojson,
/// raise_exception, strftime_now, loop controls; values cannot be changed but by namespaces).
/// What messages contain is data: it is never read as template syntax.
///
/// Templates are hostile: nesting, the size of values and the work are bounded.
class ChatTemplate {
 public:
  /// Throws kFormat naming line and column for text that is no template, kUnsupported for
  /// statements that chat templates have no use for.
  explicit ChatTemplate(std::string_view source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  /// The prompt for a list of messages. Throws kUsage with the template's own words where it calls
  /// raise_exception, kFormat for what goes wrong otherwise; both name line and column.
  std::string render(const OrderedJson& messages, const ChatOptions& options = {}) const;
  /// The text of a template with these variables, an object, and no others.
  std::string render_variables(const OrderedJson& variables, const ChatOptions& options = {}) const;

 private:
  struct Parsed;
  std::unique_ptr<const Parsed> parsed_;
};

/// ChatTemplate(source).render(messages, options).
std::string render_chat(const std::string& source, const OrderedJson& messages,
                        const ChatOptions& options = {});

}  // namespace talpa::chat
