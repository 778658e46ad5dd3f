#include <fmt/format.h>

#include <algorithm>

#include "talpa/base/error.h"
#include "talpa/base/file.h"
#include "talpa/base/log.h"
#include "talpa/chat/chat_prompt.h"
#include "talpa/cli/chat_source.h"
#include "talpa/cli/interrupt.h"
#include "talpa/cli/line_reader.h"
#include "talpa/cli/model_options.h"
#include "talpa/cli/runtime/commands.h"
#include "talpa/cli/sampling_options.h"
#include "talpa/engine/generate.h"

namespace talpa::cli {

namespace {

struct ChatCommandOptions : CommonOptions, ModelOptions {
  std::string system;
  std::string chat_template;
  int context = 0;
  int max_tokens = 0;
  SamplerOptions sampler;
};

constexpr int kLargestContext = 8192;
/// Tokens that an answer must have room for.
constexpr int kShortestAnswer = 8;

constexpr const char* kHelp = R"(/reset        forget the conversation
/system TEXT  what the model is told before it; /system alone takes it away
/save FILE    write the conversation as JSON messages
/load FILE    go on from such a file
/exit         leave, as Ctrl-D does
"""           begins and ends a message of several lines; a line that ends in \ goes on too
//            begins a message with a slash
Ctrl-C stops an answer.
)";

constexpr std::string_view kFence = "\"\"\"";

using chat::OrderedJson;

/// What was said, and the model that says the next thing.
class Conversation {
 public:
  Conversation(const LoadedModel& loaded, const ChatCommandOptions& options)
      : loaded_(loaded),
        options_(options),
        source_(chat_source_of(loaded, options.chat_template)),
        template_(source_.chat_template),
        capacity_(options.context > 0 ? options.context : own_context(loaded)),
        kept_(*loaded.model, capacity_),
        system_(options.system) {
    warn_beyond_positions(loaded, capacity_, "--ctx-size");
  }

  void reset() { messages_ = OrderedJson::array(); }
  void set_system(const std::string& text) { system_ = text; }

  /// Bytes that are no UTF-8, which a message may have, become replacement characters.
  void save(const std::string& path) const {
    write_text(path, all().dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
  }

  void load(const std::string& path) {
    const Json file = Json::parse(read_text(path, 1 << 26), nullptr, false);
    if (!file.is_array()) fail(ErrorCode::kFormat, "{} is not a JSON array of messages", path);
    OrderedJson messages = OrderedJson::array();
    std::string system;
    for (std::size_t i = 0; i < file.size(); ++i) {
      const Json& item = file[i];
      const auto text = [&](const char* key) {
        if (!item.is_object() || !item.contains(key) || !item.at(key).is_string())
          fail(ErrorCode::kFormat, "{}: message {} has no text \"{}\"", path, i, key);
        return item.at(key).get<std::string>();
      };
      if (i == 0 && text("role") == "system")
        system = text("content");
      else
        messages.push_back({{"role", text("role")}, {"content", text("content")}});
    }
    messages_ = std::move(messages);
    system_ = std::move(system);
  }

  /// Says `text`, prints the answer as it comes and keeps both; keeps nothing if it throws.
  void say(const std::string& text) {
    messages_.push_back({{"role", "user"}, {"content", text}});
    try {
      answer();
    } catch (...) {
      messages_.erase(messages_.size() - 1);
      throw;
    }
  }

 private:
  static int own_context(const LoadedModel& loaded) {
    const int longest = loaded.files.config.max_positions;
    return longest > 0 ? std::min(longest, kLargestContext) : kLargestContext;
  }

  OrderedJson all() const {
    OrderedJson messages = OrderedJson::array();
    if (!system_.empty()) messages.push_back({{"role", "system"}, {"content", system_}});
    for (const OrderedJson& message : messages_) messages.push_back(message);
    return messages;
  }

  void answer() {
    const std::vector<TokenId> prompt =
        chat::chat_prompt(template_, tokenizer_of(loaded_), all(), source_.options);
    const int room = capacity_ - static_cast<int>(prompt.size());
    if (room < kShortestAnswer)
      fail(ErrorCode::kUsage,
           "the conversation takes {} of {} tokens: /reset forgets it, --ctx-size makes room",
           prompt.size(), capacity_);
    GenerateOptions generation;
    generation.sampler = options_.sampler;
    generation.max_tokens = options_.max_tokens > 0 ? std::min(options_.max_tokens, room) : room;
    take_interrupt();
    generation.cancelled = &catch_interrupts();
    const Generation result = generate(
        loaded_, prompt, generation, [](std::string_view text) { print_data(text); }, &kept_);
    print_data("\n");
    if (!LineReader::is_terminal()) stop_if_interrupted("interrupted");
    if (result.text.empty() && result.finish == FinishReason::kCancelled) {
      messages_.erase(messages_.size() - 1);
      return;
    }
    messages_.push_back({{"role", "assistant"}, {"content", result.text}});
    tell(prompt.size(), result, generation.max_tokens == room);
  }

  static void tell(std::size_t prompt, const Generation& result, bool full) {
    if (result.finish == FinishReason::kLength)
      log::warn(full ? "the answer ends where the context is full: /reset forgets what was said"
                     : "the answer ends at --max-tokens");
    const auto rate = [](std::size_t tokens, double seconds) {
      return static_cast<double>(tokens) / std::max(seconds, 1e-9);
    };
    const std::size_t read = prompt - static_cast<std::size_t>(result.kept_tokens);
    log::debug("prompt {} tokens, {} of them kept, {:.1f} tok/s; generated {}, {:.1f} tok/s",
               prompt, result.kept_tokens, rate(read, result.prompt_seconds), result.tokens.size(),
               rate(result.tokens.size(), result.decode_seconds));
  }

  const LoadedModel& loaded_;
  const ChatCommandOptions& options_;
  ChatSource source_;
  chat::ChatTemplate template_;
  int capacity_;
  KeptContext kept_;
  std::string system_;
  OrderedJson messages_ = OrderedJson::array();
};

/// Reads messages and commands until the input ends.
class ChatSession {
 public:
  explicit ChatSession(Conversation& conversation)
      : conversation_(conversation), interactive_(LineReader::is_terminal()) {}

  void run() {
    if (interactive_) print_data("/help lists what else there is to say; Ctrl-D leaves.\n");
    std::string message;
    while (next_message(message)) {
      if (message.find_first_not_of(" \t\n") == message.npos) continue;
      try {
        if (!act(message)) return;
      } catch (const Error& error) {
        if (!interactive_) throw;
        log::error("{}", error.what());
      }
    }
    if (interactive_) print_data("\n");
  }

 private:
  /// False at the end, or at Ctrl-C on an empty line.
  bool next_message(std::string& message) {
    std::string line;
    if (!next_line("> ", line)) return false;
    if (line.starts_with(kFence)) return read_block(line.substr(kFence.size()), message);
    message = line;
    is_command_ = message.starts_with('/') && !message.starts_with("//");
    if (message.starts_with("//")) message.erase(0, 1);
    while (!is_command_ && (message.ends_with('\\') || (interactive_ && reader_.has_more()))) {
      if (message.ends_with('\\')) message.pop_back();
      if (!next_line(". ", line)) break;
      message += "\n" + line;
    }
    return true;
  }

  /// The lines up to the fence; what stands beside the fences counts too.
  bool read_block(std::string text, std::string& message) {
    is_command_ = false;
    bool first = text.empty();
    for (std::string line; !text.ends_with(kFence); first = false) {
      if (!next_line(". ", line)) {
        if (interactive_) return false;
        fail(ErrorCode::kUsage, "the input ends in a message that {} begins and nothing ends",
             kFence);
      }
      if (!first) text += '\n';
      text += line;
    }
    text.resize(text.size() - kFence.size());
    if (text.ends_with('\n')) text.pop_back();
    message = std::move(text);
    return true;
  }

  bool next_line(const char* prompt, std::string& line) {
    if (interactive_) print_data(prompt);
    take_interrupt();
    const LineReader::Outcome outcome = reader_.next(line);
    if (outcome == LineReader::Outcome::kInterrupted && !interactive_)
      fail(ErrorCode::kInterrupted, "interrupted");
    return outcome == LineReader::Outcome::kLine;
  }

  /// Carries out a command or says a message; false to leave.
  bool act(const std::string& message) {
    if (!is_command_) {
      conversation_.say(message);
      return true;
    }
    const std::size_t space = std::min(message.find(' '), message.size());
    const std::string name = message.substr(0, space);
    const std::size_t first = message.find_first_not_of(' ', space);
    const std::string rest = first == message.npos ? "" : message.substr(first);
    const auto file = [&] {
      if (rest.empty()) fail(ErrorCode::kUsage, "{} needs a file", name);
      return rest;
    };
    if (name == "/exit" || name == "/quit" || name == "/bye") return false;
    if (name == "/reset")
      conversation_.reset();
    else if (name == "/system")
      conversation_.set_system(rest);
    else if (name == "/save")
      conversation_.save(file());
    else if (name == "/load")
      conversation_.load(file());
    else if (name == "/help")
      print_data(kHelp);
    else
      fail(ErrorCode::kUsage, "no command {}: /help lists them, // begins a message with a slash",
           name);
    return true;
  }

  Conversation& conversation_;
  LineReader reader_;
  bool interactive_;
  bool is_command_ = false;
};

void run(const ChatCommandOptions& options) {
  options.sampler.validate("sampler");
  const LoadedModel loaded = load_model(options.model, engine_options(options, options));
  Conversation conversation(loaded, options);
  ChatSession(conversation).run();
}

}  // namespace

void setup_chat(CLI::App& app) {
  auto options = std::make_shared<ChatCommandOptions>();
  add_model_argument(app, *options);
  app.add_option("--system", options->system, "What the model is told before the conversation");
  app.add_option("--chat-template", options->chat_template,
                 "A chat template (Jinja) in place of the model's own")
      ->type_name("FILE");
  app.add_option("--ctx-size", options->context,
                 "Tokens of the conversation (default: the model's, at most 8192)")
      ->check(positive_number())
      ->type_name("N");
  app.add_option("-n,--max-tokens", options->max_tokens,
                 "Tokens of an answer at most (default: what fits)")
      ->check(positive_number())
      ->type_name("N");
  add_sampling_options(app, options->sampler);
  add_dtype_option(app, *options);
  add_engine_threads_options(app, *options);
  add_log_options(app, *options);
  on_run(app, options, run);
}

}  // namespace talpa::cli
