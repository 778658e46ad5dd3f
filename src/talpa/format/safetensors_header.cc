#include "talpa/format/safetensors_header.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <unordered_set>

#include "talpa/base/config.h"
#include "talpa/base/error.h"

namespace talpa {

namespace {

constexpr std::pair<const char*, DType> kDTypes[] = {
    {"F64", DType::kF64}, {"F32", DType::kF32},   {"F16", DType::kF16}, {"BF16", DType::kBF16},
    {"I64", DType::kI64}, {"I32", DType::kI32},   {"I16", DType::kI16}, {"I8", DType::kI8},
    {"U8", DType::kU8},   {"BOOL", DType::kBool},
};
constexpr std::size_t kMaxTensorNameBytes = 1024;
constexpr std::size_t kMaxRank = 32;

/// Reads the header as a stream of events: no tree is built for a hostile file, and a key that
/// comes twice is seen.
class HeaderEvents : public nlohmann::json_sax<Json> {
 public:
  explicit HeaderEvents(const std::string& file) : file_(file) {}

  std::vector<SafetensorsEntry> take() { return std::move(entries_); }

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("true or false"); }
  bool number_integer(number_integer_t) override { unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    unexpected("a number that is not a 64-bit integer");
  }
  bool binary(binary_t&) override { unexpected("bytes"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (where_ != Where::kList) unexpected("a number");
    auto& list = key_ == "shape" ? shape_ : offsets_;
    const std::size_t limit = key_ == "shape" ? kMaxRank : 2;
    if (list->size() == limit) bad("{} has more than {} numbers", key_, limit);
    list->push_back(value);
    return true;
  }

  bool string(string_t& value) override {
    if (where_ == Where::kMetadata) return true;
    if (where_ != Where::kTensor || key_ != "dtype") unexpected("a string");
    dtype_ = dtype_of(value);
    return true;
  }

  bool start_object(std::size_t) override {
    if (where_ == Where::kStart) {
      where_ = Where::kRoot;
    } else if (where_ == Where::kRoot) {
      where_ = name_ == "__metadata__" ? Where::kMetadata : Where::kTensor;
      dtype_.reset();
      shape_.reset();
      offsets_.reset();
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool end_object() override {
    if (where_ == Where::kTensor) finish_tensor();
    where_ = where_ == Where::kRoot ? Where::kEnd : Where::kRoot;
    return true;
  }

  bool start_array(std::size_t) override {
    if (where_ != Where::kTensor || key_ == "dtype") unexpected("a list");
    (key_ == "shape" ? shape_ : offsets_).emplace();
    where_ = Where::kList;
    return true;
  }

  bool end_array() override {
    where_ = Where::kTensor;
    return true;
  }

  bool key(string_t& key) override {
    if (where_ == Where::kRoot) return start_tensor(key);
    if (where_ == Where::kMetadata) {
      if (!metadata_keys_.insert(key).second) bad("key {:.100} comes twice", key);
      return true;
    }
    if (key != "dtype" && key != "shape" && key != "data_offsets")
      bad("unknown key {:.100}; expected dtype, shape and data_offsets", key);
    const bool twice = key == "dtype"   ? dtype_.has_value()
                       : key == "shape" ? shape_.has_value()
                                        : offsets_.has_value();
    if (twice) bad("key {} comes twice", key);
    key_ = key;
    return true;
  }

  bool parse_error(std::size_t byte, const std::string&, const Json::exception& error) override {
    fail(ErrorCode::kFormat, "{}: header is not JSON at its byte {}: {:.200}", file_, byte,
         error.what());
  }

 private:
  enum class Where { kStart, kRoot, kMetadata, kTensor, kList, kEnd };

  template <class... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::kFormat, "{}: {}: {}", file_, name_.empty() ? "header" : "tensor " + name_,
         fmt::format(format, std::forward<Args>(args)...));
  }

  [[noreturn]] void unexpected(const char* what) const {
    switch (where_) {
      case Where::kMetadata:
        bad("expected strings as values, got {}", what);
      case Where::kTensor:
        bad("{}: expected {}, got {}", key_,
            key_ == "dtype" ? "a string" : "a list of non-negative integers", what);
      case Where::kList:
        bad("{}: expected non-negative integers, got {}", key_, what);
      case Where::kRoot:
        bad("expected an object with dtype, shape and data_offsets, got {}", what);
      default:
        bad("expected an object, got {}", what);
    }
  }

  bool start_tensor(const std::string& name) {
    if (name.size() > kMaxTensorNameBytes)
      bad("a tensor name has {} bytes, more than {}", name.size(), kMaxTensorNameBytes);
    name_ = name;
    if (!names_.insert(name).second) bad("the name comes twice");
    return true;
  }

  DType dtype_of(const std::string& name) const {
    for (const auto& [known, dtype] : kDTypes)
      if (name == known) return dtype;
    fail(ErrorCode::kUnsupported,
         "{}: tensor {}: dtype {:.40} is none of F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL",
         file_, name_, name);
  }

  void finish_tensor() {
    if (!dtype_ || !shape_ || !offsets_)
      bad("{} is missing", !dtype_ ? "dtype" : !shape_ ? "shape" : "data_offsets");
    if (offsets_->size() != 2) bad("data_offsets has {} numbers, not 2", offsets_->size());
    SafetensorsEntry entry{name_, *dtype_, {}, (*offsets_)[0], (*offsets_)[1]};
    if (entry.end < entry.begin)
      bad("data_offsets [{}, {}] end before they begin", entry.begin, entry.end);
    for (const std::uint64_t size : *shape_) {
      if (!std::in_range<std::int64_t>(size)) bad("shape has a size of {}", size);
      entry.shape.push_back(static_cast<std::int64_t>(size));
    }
    check_size(entry);
    entries_.push_back(std::move(entry));
  }

  void check_size(const SafetensorsEntry& entry) const {
    std::uint64_t bytes = 0;
    try {
      bytes = bytes_of(entry.dtype, static_cast<std::uint64_t>(num_elements(entry.shape)));
    } catch (const Error& error) {
      bad("{}", error.what());
    }
    if (bytes != entry.end - entry.begin)
      bad("{} of shape {} takes {} bytes, but data_offsets [{}, {}] hold {}", name_of(entry.dtype),
          to_string(entry.shape), bytes, entry.begin, entry.end, entry.end - entry.begin);
  }

  const std::string& file_;
  Where where_ = Where::kStart;
  std::string name_;  // of the current tensor
  std::string key_;   // inside it
  std::optional<DType> dtype_;
  std::optional<std::vector<std::uint64_t>> shape_;
  std::optional<std::vector<std::uint64_t>> offsets_;
  std::unordered_set<std::string> names_;
  std::unordered_set<std::string> metadata_keys_;
  std::vector<SafetensorsEntry> entries_;
};

}  // namespace

std::vector<SafetensorsEntry> parse_safetensors_header(std::string_view json,
                                                       const std::string& file) {
  if (json.empty() || json.front() != '{')
    fail(ErrorCode::kFormat, "{}: the header must begin with {{", file);
  HeaderEvents events(file);
  Json::sax_parse(json, &events);
  return events.take();
}

void check_safetensors_ranges(std::vector<SafetensorsEntry>& entries, std::uint64_t data_bytes,
                              const std::string& file) {
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  std::uint64_t covered = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.end > data_bytes)
      fail(ErrorCode::kFormat,
           "{}: tensor {} ends at byte {} of the data, which has {}; the file "
           "may be cut short",
           file, entry.name, entry.end, data_bytes);
    if (entry.begin < covered)
      fail(ErrorCode::kFormat,
           "{}: tensor {} begins at byte {} and overlaps the one that ends at {}", file, entry.name,
           entry.begin, covered);
    if (entry.begin > covered)
      fail(ErrorCode::kFormat, "{}: bytes {} to {} before tensor {} belong to no tensor", file,
           covered, entry.begin, entry.name);
    covered = entry.end;
  }
  if (covered != data_bytes)
    fail(ErrorCode::kFormat, "{}: the last {} bytes belong to no tensor", file,
         data_bytes - covered);
}

const char* safetensors_name(DType dtype) {
  for (const auto& [name, known] : kDTypes)
    if (known == dtype) return name;
  return nullptr;
}

}  // namespace talpa
