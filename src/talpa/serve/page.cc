#include "talpa/serve/page.h"

namespace talpa::embedded {
extern const std::string_view page_text;
}

namespace talpa::serve {

std::string_view chat_page() { return embedded::page_text; }

}  // namespace talpa::serve
