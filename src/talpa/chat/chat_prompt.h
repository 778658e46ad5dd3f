#pragma once

#include <vector>

#include "talpa/chat/chat_template.h"
#include "talpa/text/tokenizer.h"

namespace talpa::chat {

/// Ids of messages in a template. The special tokens that the template writes are read as such;
/// those that stand in the messages, tools and other variables of the options, keys included, stay
/// text, whatever the template does with the text around.
std::vector<TokenId> chat_prompt(const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                                 const OrderedJson& messages, const ChatOptions& options = {});

}  // namespace talpa::chat
