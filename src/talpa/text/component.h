#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "talpa/base/config.h"
#include "talpa/text/regex.h"

namespace talpa::text {

/// One component of a tokenizer file, read strictly: a key of the wrong type throws kFormat, a
/// key that nobody asked for throws kUnsupported when done() is called.
class Component {
 public:
  /// `where` is its place, e.g. "tokenizer.json: pre_tokenizer". Throws kFormat unless an object.
  Component(const Json& json, std::string where);

  /// The key "type"; throws kFormat if absent.
  const std::string& type();
  const std::string& where() const { return where_; }

  /// The value of a key, marked as read; null if absent or null.
  const Json* find(const char* key);
  /// As find, but throws kFormat if there is none.
  const Json& at(const char* key);

  std::string string(const char* key);
  std::string string(const char* key, std::string absent);
  bool boolean(const char* key);
  bool boolean(const char* key, bool absent);
  /// An integer of 0 to 2^31-1.
  int integer(const char* key);
  int integer(const char* key, int absent);
  /// A string of exactly one character.
  char32_t character(const char* key);
  const Json& array(const char* key);
  /// {"String": s} or {"Regex": r}.
  Regex pattern(const char* key);

  /// Reads a key that changes nothing here (offsets, training).
  void ignore(const char* key) { find(key); }
  /// Throws kUnsupported naming the first key that was not read.
  void done() const;

  [[noreturn]] void fail_unknown(std::string_view kind, std::string_view name) const;
  [[noreturn]] void fail_format(const std::string& what) const;

 private:
  const Json& json_;
  std::string where_;
  std::set<std::string> read_;
};

}  // namespace talpa::text
