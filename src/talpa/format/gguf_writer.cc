#include <algorithm>
#include <limits>
#include <unordered_set>

#include "talpa/base/error.h"
#include "talpa/format/gguf.h"
#include "talpa/format/gguf_types.h"
#include "talpa/format/utf8.h"

namespace talpa {

namespace {

using Entry = GgufWriter::Entry;
using Metadata = std::vector<std::pair<std::string, Json>>;
using gguf::ValueType;

std::uint64_t aligned(std::uint64_t size) {
  return (size + gguf::kDefaultAlignment - 1) / gguf::kDefaultAlignment * gguf::kDefaultAlignment;
}

/// Builds the part of the file before the tensors' bytes.
class HeaderBuilder {
 public:
  explicit HeaderBuilder(std::string file) : file_(std::move(file)) {}

  std::string build(const Metadata& metadata, const std::vector<Entry>& entries,
                    const std::vector<TensorSequence::Item>& items) {
    const auto is_ours = [](const auto& pair) { return pair.first == gguf::kAlignmentKey; };
    const auto num_ours = std::count_if(metadata.begin(), metadata.end(), is_ours);
    number(gguf::kMagic);
    number(gguf::kVersion);
    number(static_cast<std::uint64_t>(entries.size()));
    number(static_cast<std::uint64_t>(metadata.size() - static_cast<std::size_t>(num_ours)));
    for (const auto& pair : metadata)
      if (!is_ours(pair)) add_pair(pair.first, pair.second);
    for (std::size_t i = 0; i < entries.size(); ++i) add_tensor(entries[i], items[i].begin);
    bytes_.resize(aligned(bytes_.size()), '\0');
    return std::move(bytes_);
  }

 private:
  template <class T>
  void number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }

  void text(const std::string& value) {
    if (!detail::is_utf8(value))
      fail(ErrorCode::kUsage, "{}: metadata {}: a string is not UTF-8", file_, key_);
    number(static_cast<std::uint64_t>(value.size()));
    bytes_ += value;
  }

  void add_pair(const std::string& key, const Json& value) {
    key_ = key;
    if (!keys_.insert(key).second)
      fail(ErrorCode::kUsage, "{}: metadata {} is to be written twice", file_, key);
    text(key);
    const ValueType type = value.is_array() ? ValueType::kArray : scalar_type(value);
    number(type);
    if (value.is_array())
      add_array(value);
    else
      add_value(type, value);
  }

  [[noreturn]] void fail_type(const Json& value) const {
    fail(ErrorCode::kUnsupported, "{}: metadata {}: GGUF cannot hold {} here", file_, key_,
         value.type_name());
  }

  ValueType scalar_type(const Json& value) const {
    if (value.is_boolean()) return ValueType::kBool;
    if (value.is_string()) return ValueType::kString;
    if (value.is_number_float()) return ValueType::kF32;
    if (!value.is_number_integer()) fail_type(value);
    if (fits<std::uint32_t>(value)) return ValueType::kU32;
    return value.is_number_unsigned() ? ValueType::kU64 : ValueType::kI64;
  }

  template <class T>
  static bool fits(const Json& value) {
    return value.is_number_unsigned() ? std::in_range<T>(value.get<std::uint64_t>())
                                      : std::in_range<T>(value.get<std::int64_t>());
  }

  /// One type for all elements: f32 if any is a floating-point number, else the least integer.
  ValueType element_type(const Json& list) const {
    if (list.empty()) return ValueType::kI32;
    const auto all = [&list](auto test) { return std::all_of(list.begin(), list.end(), test); };
    if (all([](const Json& v) { return v.is_boolean(); })) return ValueType::kBool;
    if (all([](const Json& v) { return v.is_string(); })) return ValueType::kString;
    if (all([](const Json& v) { return v.is_array(); })) return ValueType::kArray;
    if (!all([](const Json& v) { return v.is_number(); })) fail_type(list);
    if (!all([](const Json& v) { return v.is_number_integer(); })) return ValueType::kF32;
    if (all(fits<std::int32_t>)) return ValueType::kI32;
    if (all(fits<std::uint32_t>)) return ValueType::kU32;
    if (all(fits<std::int64_t>)) return ValueType::kI64;
    if (all(fits<std::uint64_t>)) return ValueType::kU64;
    fail_type(list);
  }

  void add_array(const Json& list) {
    const ValueType type = element_type(list);
    number(type);
    number(static_cast<std::uint64_t>(list.size()));
    for (const Json& value : list) {
      if (type == ValueType::kArray)
        add_array(value);
      else
        add_value(type, value);
    }
  }

  void add_value(ValueType type, const Json& value) {
    switch (type) {
      case ValueType::kBool:
        return number(static_cast<std::uint8_t>(value.get<bool>()));
      case ValueType::kString:
        return text(value.get_ref<const std::string&>());
      case ValueType::kF32:
        return number(value.get<float>());
      case ValueType::kI32:
        return number(value.get<std::int32_t>());
      case ValueType::kU32:
        return number(value.get<std::uint32_t>());
      case ValueType::kI64:
        return number(value.get<std::int64_t>());
      case ValueType::kU64:
        return number(value.get<std::uint64_t>());
      default:
        fail_type(value);
    }
  }

  void add_tensor(const Entry& entry, std::uint64_t offset) {
    key_ = "of tensor names";
    text(entry.name);
    number(static_cast<std::uint32_t>(entry.shape.size()));
    for (auto size = entry.shape.rbegin(); size != entry.shape.rend(); ++size)
      number(static_cast<std::uint64_t>(*size));
    number(gguf::tensor_type(entry.dtype)->id);
    number(offset);
  }

  std::string file_;
  std::string key_;
  std::string bytes_;
  std::unordered_set<std::string> keys_;
};

std::vector<TensorSequence::Item> lay_out(const std::string& file,
                                          const std::vector<Entry>& entries) {
  std::vector<TensorSequence::Item> items;
  std::uint64_t begin = 0;
  for (const Entry& entry : entries) {
    if (!is_written(entry.dtype))
      fail(ErrorCode::kUnsupported, "{}: tensor {}: cannot write {}; talpa writes {}", file,
           entry.name, name_of(entry.dtype), written_types());
    if (entry.shape.size() > gguf::kMaxRank)
      fail(ErrorCode::kUnsupported, "{}: tensor {} has shape {}; GGUF holds up to {} dimensions",
           file, entry.name, to_string(entry.shape), gguf::kMaxRank);
    const int block = info_of(entry.dtype).block_size;
    if ((entry.shape.empty() ? 1 : entry.shape.back()) % block != 0)
      fail(ErrorCode::kShape,
           "{}: tensor {} has shape {}: its rows are not whole blocks of {}, "
           "which hold {}",
           file, entry.name, to_string(entry.shape), name_of(entry.dtype), block);
    const auto count = static_cast<std::uint64_t>(num_elements(entry.shape));
    const std::uint64_t bytes = bytes_of(entry.dtype, count);
    items.push_back({entry.name, begin, bytes});
    if (bytes > std::numeric_limits<std::int64_t>::max() - begin)
      fail(ErrorCode::kUsage, "{}: the tensors take more bytes than 63 bits can count", file);
    begin = aligned(begin + bytes);
  }
  return items;
}

}  // namespace

GgufWriter::GgufWriter(const std::filesystem::path& path, const Metadata& metadata,
                       std::vector<Entry> entries)
    : file_(path), sequence_(path.string(), lay_out(path.string(), entries)) {
  const std::string header =
      HeaderBuilder(path.string()).build(metadata, entries, sequence_.items());
  data_begin_ = header.size();
  file_.write(header);
}

void GgufWriter::write(const std::string& name, std::span<const std::byte> bytes) {
  pad_to(data_begin_ + sequence_.advance(name, bytes.size()));
  file_.write(bytes);
}

void GgufWriter::finish() {
  sequence_.check_complete();
  pad_to(aligned(file_.size()));
  file_.commit();
}

void GgufWriter::pad_to(std::uint64_t size) {
  while (file_.size() < size) {
    static constexpr std::byte kZeros[gguf::kDefaultAlignment] = {};
    file_.write(
        std::span(kZeros).first(std::min<std::uint64_t>(sizeof kZeros, size - file_.size())));
  }
}

}  // namespace talpa
