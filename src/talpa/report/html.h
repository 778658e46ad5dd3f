#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace talpa {

/// Text with <, >, & and quotes as entities.
std::string escape_html(std::string_view text);

/// One page that needs no other file: styles inside, figures as SVG, light and dark.
class HtmlPage {
 public:
  explicit HtmlPage(std::string title);

  /// A paragraph of plain text.
  void add_text(std::string_view text);
  void add_heading(std::string_view text);
  /// Markup as it is (Table::html(), Plot::svg()).
  void add_markup(std::string markup);
  /// A figure with a caption below.
  void add_figure(const std::string& svg, std::string_view caption);
  /// Names and values, e.g. of the machine.
  void add_facts(const std::vector<std::pair<std::string, std::string>>& facts);

  std::string html() const;

 private:
  std::string title_;
  std::string body_;
};

}  // namespace talpa
