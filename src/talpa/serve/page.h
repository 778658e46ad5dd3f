#pragma once

#include <string_view>

namespace talpa::serve {

/// The page at "/": page.html of this folder, put into the program when it is built.
std::string_view chat_page();

}  // namespace talpa::serve
