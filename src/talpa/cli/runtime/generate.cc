#include "talpa/engine/generate.h"

#include <cstdio>

#include "talpa/base/error.h"
#include "talpa/base/log.h"
#include "talpa/chat/chat_prompt.h"
#include "talpa/cli/chat_source.h"
#include "talpa/cli/interrupt.h"
#include "talpa/cli/model_options.h"
#include "talpa/cli/runtime/commands.h"
#include "talpa/cli/sampling_options.h"
#include "talpa/eval/expert_report.h"

namespace talpa::cli {

namespace {

struct GenerateCommandOptions : CommonOptions, ModelOptions {
  std::string prompt;
  std::string file;
  bool chatml = false;
  bool chat = false;
  std::string system;
  bool echo = false;
  GenerateOptions generate;
};

void require_special(const Tokenizer& tokenizer, std::string_view name) {
  const auto id = tokenizer.id_of(name);
  if (!id || !tokenizer.is_special(*id))
    fail(ErrorCode::kUnsupported, "--chatml: the tokenizer has no special token {}", name);
}

void append(std::vector<TokenId>& ids, const std::vector<TokenId>& more) {
  ids.insert(ids.end(), more.begin(), more.end());
}

/// One user message in ChatML. What the user wrote is never read as special tokens.
std::vector<TokenId> chatml_prompt(const Tokenizer& tokenizer, const std::string& text) {
  require_special(tokenizer, "<|im_start|>");
  require_special(tokenizer, "<|im_end|>");
  std::vector<TokenId> ids = tokenizer.encode("<|im_start|>user\n", true, true);
  append(ids, tokenizer.encode(text, false, false));
  append(ids, tokenizer.encode("<|im_end|>\n<|im_start|>assistant\n", false, true));
  return ids;
}

/// The prompt as a user's message in the model's own template.
std::vector<TokenId> templated_prompt(const LoadedModel& loaded, const std::string& system,
                                      const std::string& text) {
  const ChatSource source = chat_source_of(loaded);
  chat::OrderedJson messages = chat::OrderedJson::array();
  if (!system.empty()) messages.push_back({{"role", "system"}, {"content", system}});
  messages.push_back({{"role", "user"}, {"content", text}});
  return chat::chat_prompt(chat::ChatTemplate(source.chat_template), tokenizer_of(loaded), messages,
                           source.options);
}

std::string prompt_of(const GenerateCommandOptions& options) {
  if (!options.file.empty()) return read_input(options.file);
  return options.prompt == "-" ? read_input("-") : options.prompt;
}

const char* reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "?";
}

double rate(std::size_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

Json report(const std::string& prompt, std::size_t prompt_tokens, const Generation& result) {
  return {{"prompt", prompt},
          {"text", result.text},
          {"tokens", result.tokens},
          {"finish_reason", reason_name(result.finish)},
          {"prompt_tokens", prompt_tokens},
          {"generated_tokens", result.tokens.size()},
          {"prompt_seconds", result.prompt_seconds},
          {"decode_seconds", result.decode_seconds},
          {"expert_cache", to_json(result.decode_experts)}};
}

void run(const GenerateCommandOptions& options) {
  const std::string prompt = prompt_of(options);
  GenerateOptions generation = options.generate;
  generation.sampler.validate("sampler");
  const LoadedModel loaded = load_model(options.model, engine_options(options, options));
  const Tokenizer& tokenizer = tokenizer_of(loaded);
  const std::vector<TokenId> ids = options.chat ? templated_prompt(loaded, options.system, prompt)
                                   : options.chatml ? chatml_prompt(tokenizer, prompt)
                                                    : tokenizer.encode(prompt);
  if (ids.empty())
    fail(ErrorCode::kUsage, "the prompt is empty and the tokenizer adds no beginning token");
  warn_beyond_positions(loaded, std::ssize(ids) + generation.max_tokens, "--max-tokens");
  generation.cancelled = &catch_interrupts();
  if (options.echo && !options.json) print_data(prompt);
  const Generation result = generate(loaded, ids, generation, [&](std::string_view text) {
    if (!options.json) print_data(text);
  });
  if (options.json)
    print_json(report(prompt, ids.size(), result));
  else
    print_data("\n");
  log::info("prompt {} tokens, {:.1f} tok/s; generated {} tokens, {:.1f} tok/s ({}){}", ids.size(),
            rate(ids.size(), result.prompt_seconds), result.tokens.size(),
            rate(result.tokens.size(), result.decode_seconds), reason_name(result.finish),
            result.decode_experts ? "; " + describe(*result.decode_experts) : "");
  stop_if_interrupted("interrupted");
}

}  // namespace

void setup_generate(CLI::App& app) {
  auto options = std::make_shared<GenerateCommandOptions>();
  add_model_argument(app, *options);
  auto* prompt = app.add_option("-p,--prompt", options->prompt, "Prompt, - = standard input");
  app.add_option("-f,--file", options->file, "Read the prompt from FILE")
      ->type_name("FILE")
      ->excludes(prompt);
  app.add_option("-n,--max-tokens", options->generate.max_tokens, "Tokens to generate at most")
      ->check(positive_number())
      ->type_name("N");
  app.add_option("--stop", options->generate.stop, "End before this text; may be repeated")
      ->allow_extra_args(false);
  app.add_flag("--ignore-eos", options->generate.ignore_eos, "Go on after an end-of-text token");
  auto* chat = app.add_flag("--chat", options->chat,
                            "Send the prompt as a user's message in the model's chat template");
  app.add_option("--system", options->system, "With --chat: a system message before it")
      ->needs(chat);
  app.add_flag("--chatml", options->chatml, "Send the prompt as a user's message in ChatML")
      ->excludes(chat);
  app.add_flag("--echo", options->echo, "Print the prompt first");
  add_sampling_options(app, options->generate.sampler);
  add_dtype_option(app, *options);
  add_engine_threads_options(app, *options);
  add_json_option(app, *options);
  add_log_options(app, *options);
  on_run(app, options, run);
}

}  // namespace talpa::cli
