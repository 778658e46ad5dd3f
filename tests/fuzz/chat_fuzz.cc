// Input: a template, a zero byte, what the user says.
#include "fuzz.h"
#include "talpa/chat/chat_template.h"
#include "talpa/text/unicode.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return talpa::fuzz::run(data, size, [](std::string_view input) {
    const auto zero = input.find('\0');
    const std::string text(zero == std::string_view::npos ? "Hi {{ x }}" : input.substr(zero + 1));
    talpa::chat::ChatOptions options;
    options.max_steps = std::size_t{1} << 22;
    options.bos_token = "<s>";
    options.tools = talpa::chat::OrderedJson::parse(
        R"([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])");
    const talpa::chat::OrderedJson messages = {{{"role", "system"}, {"content", text}},
                                               {{"role", "user"}, {"content", text}},
                                               {{"role", "assistant"}, {"content", nullptr}}};
    const talpa::chat::ChatTemplate chat_template(input.substr(0, zero));
    talpa::fuzz::require(talpa::text::is_valid_utf8(chat_template.render(messages, options)),
                         "what a template prints is UTF-8");
  });
}
