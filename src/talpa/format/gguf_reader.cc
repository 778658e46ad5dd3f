#include <algorithm>
#include <bit>
#include <fstream>
#include <tuple>

#include "talpa/base/error.h"
#include "talpa/format/gguf.h"
#include "talpa/format/gguf_cursor.h"
#include "talpa/format/gguf_types.h"
#include "talpa/format/utf8.h"

namespace talpa {

namespace {

using gguf::ValueType;

constexpr std::uint64_t kMinPairBytes = 8 + 4 + 1;        // key length, type, value
constexpr std::uint64_t kMinTensorBytes = 8 + 4 + 4 + 8;  // name length, rank, type, offset
constexpr std::uint64_t kMaxNameBytes = 1024;
constexpr std::uint64_t kMaxAlignment = 1u << 20;
/// Of all arrays together: a value in memory is larger than in the file.
constexpr std::uint64_t kMaxArrayElements = 1u << 24;
constexpr int kMaxArrayDepth = 4;

std::uint64_t least_bytes(ValueType type) {
  switch (type) {
    case ValueType::kU8:
    case ValueType::kI8:
    case ValueType::kBool:
      return 1;
    case ValueType::kU16:
    case ValueType::kI16:
      return 2;
    case ValueType::kU32:
    case ValueType::kI32:
    case ValueType::kF32:
      return 4;
    case ValueType::kArray:
      return 12;
    default:
      return 8;
  }
}

}  // namespace

/// Reads a file from front to back: header, metadata, list of tensors.
class GgufReader {
 public:
  explicit GgufReader(GgufFile& file)
      : file_(file), cursor_(file.files_.back().bytes(), file.path_.string()) {}

  void read() {
    read_magic();
    const std::uint64_t num_tensors = cursor_.count(kMinTensorBytes, "tensors");
    const std::uint64_t num_pairs = cursor_.count(kMinPairBytes, "metadata");
    for (std::uint64_t i = 0; i < num_pairs; ++i) read_pair();
    read_alignment();
    std::vector<Extent> extents;
    for (std::uint64_t i = 0; i < num_tensors; ++i) extents.push_back(read_tensor());
    place_tensors(extents);
  }

 private:
  struct Extent {
    TensorView* view;
    std::uint64_t offset;
    std::uint64_t bytes;
  };

  template <class... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::kFormat, "{}: byte {}: {}", cursor_.file(), cursor_.position(),
         fmt::format(format, std::forward<Args>(args)...));
  }

  void read_magic() {
    if (cursor_.number<std::uint32_t>("magic number") != gguf::kMagic)
      fail(ErrorCode::kFormat, "{}: not a GGUF file: it does not begin with GGUF", cursor_.file());
    const auto version = cursor_.number<std::uint32_t>("version");
    if (version >= 1u << 16)
      fail(ErrorCode::kUnsupported,
           "{}: a big-endian GGUF file (or version {}); talpa reads "
           "little-endian ones",
           cursor_.file(), version);
    if (version < 2 || version > gguf::kVersion)
      fail(ErrorCode::kUnsupported, "{}: GGUF version {}; talpa reads 2 and 3", cursor_.file(),
           version);
  }

  std::string read_name(const char* what) {
    const std::string_view name = cursor_.string(what);
    if (name.size() > kMaxNameBytes)
      bad("a {} has {} bytes, more than {}", what, name.size(), kMaxNameBytes);
    if (!detail::is_utf8(name)) bad("a {} is not UTF-8", what);
    return std::string(name);
  }

  void read_pair() {
    key_ = read_name("metadata key");
    Json value = read_value(read_type(), 0);
    if (!file_.metadata_.emplace(key_, std::move(value)).second)
      bad("metadata key {} comes twice", key_);
  }

  ValueType read_type() {
    const auto type = cursor_.number<std::uint32_t>("value type");
    if (type >= gguf::kNumValueTypes) bad("metadata {}: unknown value type {}", key_, type);
    return static_cast<ValueType>(type);
  }

  Json read_value(ValueType type, int depth) {
    const char* what = "metadata value";
    switch (type) {
      case ValueType::kU8:
        return cursor_.number<std::uint8_t>(what);
      case ValueType::kI8:
        return cursor_.number<std::int8_t>(what);
      case ValueType::kU16:
        return cursor_.number<std::uint16_t>(what);
      case ValueType::kI16:
        return cursor_.number<std::int16_t>(what);
      case ValueType::kU32:
        return cursor_.number<std::uint32_t>(what);
      case ValueType::kI32:
        return cursor_.number<std::int32_t>(what);
      case ValueType::kF32:
        return cursor_.number<float>(what);
      case ValueType::kBool:
        return read_bool();
      case ValueType::kString:
        return read_string();
      case ValueType::kArray:
        return read_array(depth);
      case ValueType::kU64:
        return cursor_.number<std::uint64_t>(what);
      case ValueType::kI64:
        return cursor_.number<std::int64_t>(what);
      case ValueType::kF64:
        return cursor_.number<double>(what);
    }
    bad("metadata {}: unknown value type", key_);
  }

  Json read_bool() {
    const auto value = cursor_.number<std::uint8_t>("metadata value");
    if (value > 1) bad("metadata {}: {} is neither true nor false", key_, value);
    return value == 1;
  }

  Json read_string() {
    const std::string_view text = cursor_.string("metadata string");
    if (!detail::is_utf8(text)) bad("metadata {}: a string is not UTF-8", key_);
    return text;
  }

  Json read_array(int depth) {
    if (depth >= kMaxArrayDepth)
      bad("metadata {}: arrays nested deeper than {}", key_, kMaxArrayDepth);
    const ValueType type = read_type();
    const std::uint64_t count = cursor_.count(least_bytes(type), "array elements");
    if (count > kMaxArrayElements - num_array_elements_)
      bad("metadata {}: more than {} array elements in one file", key_, kMaxArrayElements);
    num_array_elements_ += count;
    Json::array_t list;
    list.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) list.push_back(read_value(type, depth + 1));
    return list;
  }

  void read_alignment() {
    if (!file_.find_metadata(gguf::kAlignmentKey)) return;
    alignment_ = file_.metadata_as<std::uint64_t>(gguf::kAlignmentKey);
    if (!std::has_single_bit(alignment_) || alignment_ > kMaxAlignment)
      fail(ErrorCode::kFormat, "{}: {} = {} is not a power of two up to {}", cursor_.file(),
           gguf::kAlignmentKey, alignment_, kMaxAlignment);
  }

  Extent read_tensor() {
    TensorView view;
    view.name = read_name("tensor name");
    name_ = view.name;
    view.shape = read_shape();
    view.dtype = read_dtype();
    const auto offset = cursor_.number<std::uint64_t>("tensor offset");
    if (offset % alignment_ != 0)
      bad("tensor {}: offset {} is not a multiple of the alignment {}", name_, offset, alignment_);
    const std::uint64_t bytes = bytes_of_tensor(view);
    const auto [at, is_new] = file_.tensors_.emplace(name_, std::move(view));
    if (!is_new) bad("tensor {} comes twice", name_);
    return {&at->second, offset, bytes};
  }

  Shape read_shape() {
    const auto rank = cursor_.number<std::uint32_t>("tensor rank");
    if (rank > gguf::kMaxRank)
      bad("tensor {}: {} dimensions, more than {}", name_, rank, gguf::kMaxRank);
    Shape shape(rank);
    for (std::uint32_t i = 0; i < rank; ++i) {
      const auto size = cursor_.number<std::uint64_t>("tensor dimension");
      if (!std::in_range<std::int64_t>(size)) bad("tensor {}: dimension {}", name_, size);
      shape[rank - 1 - i] = static_cast<std::int64_t>(size);
    }
    return shape;
  }

  DType read_dtype() {
    const auto id = cursor_.number<std::uint32_t>("tensor type");
    const gguf::TensorType* type = gguf::tensor_type(id);
    if (!type || !type->dtype)
      fail(ErrorCode::kUnsupported,
           "{}: tensor {} has type {}, which talpa does not read; it reads F64, F32, F16, BF16, "
           "I8 to I64, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K and its own Q3_0, Q2_0",
           cursor_.file(), name_, type ? type->name : fmt::format("number {}", id));
    return *type->dtype;
  }

  std::uint64_t bytes_of_tensor(const TensorView& view) const {
    const int block = info_of(view.dtype).block_size;
    const std::int64_t row = view.shape.empty() ? 1 : view.shape.back();
    if (row % block != 0)
      bad("tensor {}: rows of {} are not whole blocks of {}, which hold {}", name_, row,
          name_of(view.dtype), block);
    try {
      return bytes_of(view.dtype, static_cast<std::uint64_t>(num_elements(view.shape)));
    } catch (const Error& error) {
      bad("tensor {}: {}", name_, error.what());
    }
  }

  void place_tensors(std::vector<Extent>& extents) {
    if (extents.empty()) return;
    const std::uint64_t begin = (cursor_.position() + alignment_ - 1) / alignment_ * alignment_;
    const std::span<const std::byte> all = file_.files_.back().bytes();
    const std::uint64_t size = begin < all.size() ? all.size() - begin : 0;
    std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
      return std::tie(a.offset, a.bytes) < std::tie(b.offset, b.bytes);
    });
    std::uint64_t taken = 0;
    for (const Extent& extent : extents) {
      const std::string& name = extent.view->name;
      if (extent.offset > size || extent.bytes > size - extent.offset)
        fail(ErrorCode::kFormat,
             "{}: tensor {}: {} bytes at offset {} exceed the {} bytes of data; "
             "the file may be cut short",
             cursor_.file(), name, extent.bytes, extent.offset, size);
      if (extent.offset < taken)
        fail(ErrorCode::kFormat, "{}: tensor {} at offset {} overlaps the one that ends at {}",
             cursor_.file(), name, extent.offset, taken);
      taken = extent.offset + extent.bytes;
      if (extent.bytes > 0) extent.view->bytes = all.subspan(begin + extent.offset, extent.bytes);
    }
  }

  GgufFile& file_;
  gguf::Cursor cursor_;
  std::uint64_t alignment_ = gguf::kDefaultAlignment;
  std::uint64_t num_array_elements_ = 0;
  std::string key_;   // being read, for messages
  std::string name_;  // likewise, of a tensor
};

std::shared_ptr<GgufFile> GgufFile::open(const std::filesystem::path& path) {
  auto file = std::make_shared<GgufFile>();
  file->path_ = path;
  file->files_.emplace_back(path);
  GgufReader(*file).read();
  return file;
}

const Json* GgufFile::find_metadata(const std::string& key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

void GgufFile::fail_metadata(const std::string& key, const char* expected) const {
  const Json* json = find_metadata(key);
  if (!json)
    fail(ErrorCode::kFormat, "{}: metadata {} is missing; expected {}", path_.string(), key,
         expected);
  std::string shown = json->is_array() ? "an array" : json->dump();
  fail(ErrorCode::kFormat, "{}: metadata {}: expected {}, got {:.60}", path_.string(), key,
       expected, shown);
}

bool is_gguf(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return false;
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  return std::string_view(magic, sizeof magic) == "GGUF";
}

}  // namespace talpa
