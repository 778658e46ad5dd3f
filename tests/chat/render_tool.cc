// Templates rendered for live_test.py. Lines of JSON in: {"template", "variables", "now"}; lines of
// JSON out: {"text"} or {"error"}.
#include <iostream>

#include "talpa/chat/chat_template.h"

namespace {

talpa::Json rendered(const std::string& line) {
  const auto request = talpa::chat::OrderedJson::parse(line);
  talpa::chat::ChatOptions options;
  options.now = std::chrono::system_clock::from_time_t(request.at("now").get<std::time_t>());
  try {
    const talpa::chat::ChatTemplate chat_template(request.at("template").get<std::string>());
    return {{"text", chat_template.render_variables(request.at("variables"), options)}};
  } catch (const talpa::Error& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) std::cout << rendered(line) << '\n';
  return 0;
}
