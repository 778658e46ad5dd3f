#include "talpa/format/tensor_sequence.h"

#include <unordered_set>

#include "talpa/base/error.h"

namespace talpa {

TensorSequence::TensorSequence(std::string file, std::vector<Item> items)
    : file_(std::move(file)), items_(std::move(items)) {
  std::unordered_set<std::string> names;
  for (const Item& item : items_)
    if (!names.insert(item.name).second)
      fail(ErrorCode::kUsage, "{}: tensor {} is to be written twice", file_, item.name);
}

std::uint64_t TensorSequence::advance(const std::string& name, std::uint64_t bytes) {
  while (current_ < items_.size() && written_ == items_[current_].bytes &&
         items_[current_].name != name) {
    ++current_;
    written_ = 0;
  }
  if (current_ == items_.size())
    fail(ErrorCode::kInternal, "{}: tensor {} comes after the last", file_, name);
  const Item& item = items_[current_];
  if (item.name != name)
    fail(ErrorCode::kInternal, "{}: expected {} more bytes of tensor {}, got tensor {}", file_,
         item.bytes - written_, item.name, name);
  if (bytes > item.bytes - written_)
    fail(ErrorCode::kInternal, "{}: tensor {} has {} bytes, {} were written and {} more came",
         file_, name, item.bytes, written_, bytes);
  const std::uint64_t place = item.begin + written_;
  written_ += bytes;
  return place;
}

void TensorSequence::check_complete() const {
  for (std::size_t i = current_; i < items_.size(); ++i) {
    const std::uint64_t written = i == current_ ? written_ : 0;
    if (written != items_[i].bytes)
      fail(ErrorCode::kInternal, "{}: tensor {} has {} bytes, only {} were written", file_,
           items_[i].name, items_[i].bytes, written);
  }
}

}  // namespace talpa
