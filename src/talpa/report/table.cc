#include "talpa/report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "talpa/base/error.h"
#include "talpa/report/html.h"

namespace talpa {

namespace {

struct Range {
  char32_t first, last;
};

// Unicode 15: marks that join the character before, and East Asian wide characters.
constexpr Range kZeroWidth[] = {
    {0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},  {0x610, 0x61a}, {0x64b, 0x65f},
    {0x93c, 0x93c},   {0x94d, 0x94d},   {0xe31, 0xe31},  {0xe34, 0xe3a}, {0x200b, 0x200f},
    {0x20d0, 0x20f0}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}};
constexpr Range kWide[] = {
    {0x1100, 0x115f}, {0x2e80, 0x303e},   {0x3041, 0x33ff},   {0x3400, 0x4dbf},  {0x4e00, 0x9fff},
    {0xa000, 0xa4cf}, {0xac00, 0xd7a3},   {0xf900, 0xfaff},   {0xfe30, 0xfe6f},  {0xff00, 0xff60},
    {0xffe0, 0xffe6}, {0x1f300, 0x1f64f}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}};

template <std::size_t N>
bool lies_in(const Range (&ranges)[N], char32_t c) {
  return std::any_of(std::begin(ranges), std::end(ranges),
                     [c](const Range& r) { return c >= r.first && c <= r.last; });
}

/// Decodes one character and moves on; a broken byte counts as one character.
char32_t take_character(std::string_view& text) {
  const auto lead = static_cast<unsigned char>(text.front());
  const std::size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (lead < 0xc0 || length > text.size()) {
    text.remove_prefix(1);
    return lead < 0x80 ? lead : 0xfffd;
  }
  char32_t c = lead & (0xff >> (length + 1));
  for (std::size_t i = 1; i < length; ++i)
    c = c << 6 | (static_cast<unsigned char>(text[i]) & 0x3f);
  text.remove_prefix(length);
  return c;
}

bool looks_numeric(const std::string& cell) {
  if (cell.empty() || cell == "-") return true;
  const bool sign = cell[0] == '-' || cell[0] == '+';
  return cell.size() > static_cast<std::size_t>(sign) &&
         std::isdigit(static_cast<unsigned char>(cell[sign ? 1 : 0])) != 0;
}

std::string with_unit(double value, const char* const (&units)[5], const char* separator) {
  std::size_t unit = 0;
  for (; unit + 1 < std::size(units) && value >= 999.5; ++unit) value /= 1000;
  const int digits = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}{}", value, digits, separator, units[unit]);
}

}  // namespace

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    const char32_t c = take_character(text);
    if (!lies_in(kZeroWidth, c)) width += lies_in(kWide, c) ? 2 : 1;
  }
  return width;
}

Table::Table(std::vector<std::string> header) : header_(std::move(header)) {}

void Table::add_row(std::vector<std::string> cells) {
  TALPA_CHECK(cells.size() == header_.size());
  rows_.push_back(std::move(cells));
}

std::vector<bool> Table::numeric_columns() const {
  std::vector<bool> numeric(header_.size(), !rows_.empty());
  for (const auto& row : rows_)
    for (std::size_t c = 0; c < row.size(); ++c)
      if (!looks_numeric(row[c])) numeric[c] = false;
  return numeric;
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (const std::string& name : header_) widths.push_back(display_width(name));
  for (const auto& row : rows_)
    for (std::size_t c = 0; c < row.size(); ++c)
      widths[c] = std::max(widths[c], display_width(row[c]));
  const std::vector<bool> numeric = numeric_columns();
  auto line = [&](const std::vector<std::string>& cells) {
    std::string out;
    for (std::size_t c = 0; c < cells.size(); ++c) {
      const std::string padding(widths[c] - display_width(cells[c]), ' ');
      out += (c > 0 ? "  " : "") + (numeric[c] ? padding + cells[c] : cells[c] + padding);
    }
    out.erase(out.find_last_not_of(' ') + 1);
    return out + "\n";
  };
  std::string out = line(header_);
  std::size_t total = 2 * (widths.size() - 1);
  for (const std::size_t width : widths) total += width;
  out += std::string(total, '-') + "\n";
  for (const auto& row : rows_) out += line(row);
  return out;
}

std::string Table::html() const {
  const std::vector<bool> numeric = numeric_columns();
  auto line = [&](const std::vector<std::string>& cells, const char* tag) {
    std::string out = "<tr>";
    for (std::size_t c = 0; c < cells.size(); ++c)
      out += fmt::format("<{}{}>{}</{}>", tag, numeric[c] ? " class=\"number\"" : "",
                         escape_html(cells[c]), tag);
    return out + "</tr>\n";
  };
  std::string out = "<table>\n<thead>" + line(header_, "th") + "</thead>\n<tbody>\n";
  for (const auto& row : rows_) out += line(row, "td");
  return out + "</tbody>\n</table>\n";
}

std::string format_bytes(double bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  return with_unit(bytes, kUnits, " ");
}

std::string format_count(double count) {
  static constexpr const char* kUnits[] = {"", "k", "M", "G", "T"};
  if (count < 10000) return fmt::format("{:.0f}", count);
  return with_unit(count, kUnits, " ");
}

}  // namespace talpa
