#pragma once

#include "talpa/cli/commands.h"

namespace talpa::cli {

void setup_bench(CLI::App& app);
void setup_chat(CLI::App& app);
void setup_compare(CLI::App& app);
void setup_completion(CLI::App& app);
void setup_doctor(CLI::App& app);
void setup_embed(CLI::App& app);
void setup_eval(CLI::App& app);
void setup_generate(CLI::App& app);
void setup_inspect(CLI::App& app);
void setup_launch(CLI::App& app);
void setup_man(CLI::App& app);
void setup_plot(CLI::App& app);
void setup_runs(CLI::App& app);
void setup_serve(CLI::App& app);
void setup_tokenize(CLI::App& app);
void setup_tokenizer(CLI::App& app);

}  // namespace talpa::cli
