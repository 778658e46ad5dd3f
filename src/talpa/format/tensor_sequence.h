#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace talpa {

/// Book-keeping of tensors that are written one after the other, each whole or in pieces: knows
/// whose turn it is and where in the data each begins.
class TensorSequence {
 public:
  struct Item {
    std::string name;
    std::uint64_t begin;  ///< byte in the data
    std::uint64_t bytes;
  };

  /// `file` is for messages. Throws kUsage if a name comes twice.
  TensorSequence(std::string file, std::vector<Item> items);

  const std::vector<Item>& items() const { return items_; }
  /// Accounts for the next `bytes` bytes of tensor `name`, and returns the place in the data
  /// where they belong. Throws kInternal if it is not its turn or they overrun it.
  std::uint64_t advance(const std::string& name, std::uint64_t bytes);
  /// Throws kInternal, naming the tensor, if one is incomplete.
  void check_complete() const;

 private:
  std::string file_;
  std::vector<Item> items_;
  std::size_t current_ = 0;
  std::uint64_t written_ = 0;  // bytes of the current tensor
};

}  // namespace talpa
