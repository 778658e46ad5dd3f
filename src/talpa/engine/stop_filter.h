#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace talpa {

/// Lets text through up to the first stop string, holding back what may still become one.
class StopFilter {
 public:
  /// Throws kConfig for an empty stop string.
  explicit StopFilter(std::vector<std::string> stop);

  /// Takes text, returns what is certain.
  std::string push(std::string_view text);
  /// What was held back, at the end of the text.
  std::string finish();
  /// True once a stop string has come; what follows is dropped.
  bool stopped() const { return stopped_; }

 private:
  std::size_t held_back() const;

  std::vector<std::string> stop_;
  std::string pending_;
  bool stopped_ = false;
};

}  // namespace talpa
