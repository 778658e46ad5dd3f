#include "talpa/report/html.h"

#include <fmt/format.h>

namespace talpa {

namespace {

constexpr const char* kStyle = R"(:root {
  color-scheme: light dark;
  --page: #ffffff; --ink: #1b1f24; --muted: #5b6570; --rule: #d9dee4; --stripe: #f6f8fa;
  --series-1: #2f6fb7; --series-2: #c4562b; --series-3: #2e8b57; --series-4: #8a56b0;
  --series-5: #a8871c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --ink: #e4e8ec; --muted: #9aa5b1; --rule: #343b44; --stripe: #1b2026;
    --series-1: #6aa9ee; --series-2: #ee8a60; --series-3: #62c48e; --series-4: #bf93e0;
    --series-5: #d9bb55;
  }
}
body { background: var(--page); color: var(--ink); margin: 0;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p { margin: .4rem 0; max-width: 46rem; }
code { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
figure { margin: 1.6rem 0 0; }
figure svg { width: 100%; height: auto; display: block; }
figcaption { color: var(--muted); font-size: .87rem; margin-top: .4rem; max-width: 46rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
th, td { padding: .38rem .75rem; text-align: left; white-space: nowrap; }
th { color: var(--muted); font-weight: 600; border-bottom: 1px solid var(--rule); }
tbody tr:nth-child(even) { background: var(--stripe); }
.number { text-align: right; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; font-size: .87rem; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
)";

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  return out;
}

HtmlPage::HtmlPage(std::string title) : title_(std::move(title)) {}

void HtmlPage::add_text(std::string_view text) { body_ += "<p>" + escape_html(text) + "</p>\n"; }

void HtmlPage::add_heading(std::string_view text) {
  body_ += "<h2>" + escape_html(text) + "</h2>\n";
}

void HtmlPage::add_markup(std::string markup) {
  body_ += "<div class=\"scroll\">\n" + std::move(markup) + "</div>\n";
}

void HtmlPage::add_figure(const std::string& svg, std::string_view caption) {
  body_ +=
      "<figure>\n" + svg + "<figcaption>" + escape_html(caption) + "</figcaption>\n</figure>\n";
}

void HtmlPage::add_facts(const std::vector<std::pair<std::string, std::string>>& facts) {
  body_ += "<dl>\n";
  for (const auto& [name, value] : facts)
    body_ +=
        fmt::format("<dt>{}</dt><dd><code>{}</code></dd>\n", escape_html(name), escape_html(value));
  body_ += "</dl>\n";
}

std::string HtmlPage::html() const {
  const std::string title = escape_html(title_);
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n<h1>{}</h1>\n{}</main>\n"
      "</body>\n</html>\n",
      title, kStyle, title, body_);
}

}  // namespace talpa
