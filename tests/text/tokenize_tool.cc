// Reads one JSON string a line from stdin and prints {"ids": [...], "text": "..."} for each: its
// ids in the tokenizer named on the command line (tokenizer.json or GGUF), and those decoded.
#include <fmt/format.h>

#include <cstdio>
#include <iostream>
#include <string>

#include "talpa/format/gguf.h"
#include "talpa/text/tokenizer.h"

namespace {

std::shared_ptr<const talpa::Tokenizer> open_tokenizer(const std::string& path) {
  if (talpa::is_gguf(path)) return talpa::Tokenizer::from_gguf(*talpa::GgufFile::open(path));
  return talpa::Tokenizer::from_file(path);
}

int run(const std::string& path, bool add_special) {
  const auto tokenizer = open_tokenizer(path);
  std::string line;
  while (std::getline(std::cin, line)) {
    const auto text = talpa::parse_json(line, "stdin").get<std::string>();
    const auto ids = tokenizer->encode(text, add_special);
    talpa::Utf8Buffer buffer;
    std::string decoded = buffer.push(tokenizer->decode(ids, false));
    decoded += buffer.finish();
    fmt::print("{}\n", talpa::Json{{"ids", ids}, {"text", decoded}}.dump());
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const bool plain = argc == 3 && std::string_view(argv[2]) == "--no-special";
  if (argc != 2 && !plain) {
    fmt::print(stderr, "usage: tokenize_tool TOKENIZER [--no-special] < strings.jsonl\n");
    return 2;
  }
  try {
    return run(argv[1], !plain);
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return 1;
  }
}
