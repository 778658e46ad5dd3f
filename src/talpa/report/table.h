#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace talpa {

/// Columns that a UTF-8 text takes on a terminal: combining marks none, wide characters two.
std::size_t display_width(std::string_view text);

/// A table of strings. Columns whose cells look like numbers are aligned right, the others left.
class Table {
 public:
  explicit Table(std::vector<std::string> header);

  /// Throws kInternal if the row has not as many cells as the header.
  void add_row(std::vector<std::string> cells);

  /// For a terminal: header, rule, rows, two blanks between columns.
  std::string text() const;
  /// An HTML <table>, cells escaped.
  std::string html() const;

  const std::vector<std::string>& header() const { return header_; }
  const std::vector<std::vector<std::string>>& rows() const { return rows_; }

 private:
  std::vector<bool> numeric_columns() const;

  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

/// "13.1 MB" of bytes, decimal units, three digits.
std::string format_bytes(double bytes);
/// "3.28 M" of a count, three digits; exact below 10,000.
std::string format_count(double count);

}  // namespace talpa
