#include <filesystem>

#include "talpa/base/file.h"
#include "talpa/base/log.h"
#include "talpa/base/output_path.h"
#include "talpa/base/progress.h"
#include "talpa/cli/interrupt.h"
#include "talpa/cli/options.h"
#include "talpa/cli/runtime/commands.h"
#include "talpa/eval/corpus.h"
#include "talpa/text/bpe_trainer.h"

namespace talpa::cli {

namespace {

struct TokenizerTrainOptions : CommonOptions {
  std::vector<std::string> files;
  std::string out;
  BpeTrainerConfig config;
  bool force = false;
};

void run(const TokenizerTrainOptions& options) {
  const std::filesystem::path out(options.out);
  for (const std::string& file : options.files) check_not_input(out, file);
  if (std::filesystem::exists(out) && !options.force)
    fail(ErrorCode::kUsage, "{} exists already; use --force to replace it", out.string());
  options.config.validate("tokenizer");
  BpeTrainer trainer(options.config);
  std::uint64_t bytes = 0;
  for (const std::string& file : options.files)
    for (const TextDocument& document : read_documents(file)) {
      trainer.add(document.text);
      bytes += document.text.size();
    }
  if (bytes == 0) fail(ErrorCode::kFormat, "{}: there is no text in it", options.files.front());
  catch_interrupts();
  Progress progress("merges", options.config.vocab_size);
  const Json tokenizer = trainer.train([&](std::int64_t done, std::int64_t) {
    progress.update(done);
    stop_if_interrupted("interrupted; nothing was written");
  });
  progress.finish();
  write_text(out, tokenizer.dump(1) + "\n");
  const std::size_t tokens = tokenizer.at("model").at("vocab").size();
  if (options.json) return print_json({{"out", options.out}, {"tokens", tokens}, {"bytes", bytes}});
  log::info("{}: vocabulary of {} from {} bytes of text", options.out, tokens, bytes);
}

}  // namespace

void setup_tokenizer(CLI::App& app) {
  auto options = std::make_shared<TokenizerTrainOptions>();
  app.require_subcommand(1);
  CLI::App& train = *app.add_subcommand("train", "Learn a byte-level BPE from text");
  train.add_option("FILES", options->files, "Text files, or JSONL with a field text")
      ->type_name("FILE")
      ->required();
  train.add_option("-o,--out", options->out, "Where to write tokenizer.json")
      ->type_name("FILE")
      ->required();
  train.add_option("--vocab-size", options->config.vocab_size, "Tokens, special ones included")
      ->type_name("N");
  train.add_option("--min-frequency", options->config.min_frequency, "Rarer pairs are not merged")
      ->type_name("N");
  train.add_option("--special", options->config.special_tokens, "Special tokens, first ids")
      ->allow_extra_args(false)
      ->type_name("TOKEN");
  train.add_flag("--force", options->force, "Replace an existing file");
  add_json_option(train, *options);
  add_log_options(train, *options);
  on_run(train, options, run);
}

}  // namespace talpa::cli
