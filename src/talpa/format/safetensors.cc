#include <set>

#include "talpa/base/error.h"
#include "talpa/base/log.h"
#include "talpa/format/safetensors_header.h"
#include "talpa/format/safetensors_index.h"
#include "talpa/format/tensor_store.h"

namespace talpa {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLengthBytes = 8;
constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

std::uint64_t header_length(std::span<const std::byte> bytes, const std::string& file) {
  if (bytes.size() < kLengthBytes)
    fail(ErrorCode::kFormat, "{}: {} bytes are too few for a safetensors file", file, bytes.size());
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i)
    length |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  if (length > kMaxSafetensorsHeader)
    fail(ErrorCode::kFormat, "{}: the header claims {} bytes, more than {}; not safetensors?", file,
         length, kMaxSafetensorsHeader);
  if (length > bytes.size() - kLengthBytes)
    fail(ErrorCode::kFormat,
         "{}: the header claims {} bytes, but only {} follow; the file may be "
         "cut short",
         file, length, bytes.size() - kLengthBytes);
  return length;
}

class SafetensorsStore : public TensorStore {
 public:
  explicit SafetensorsStore(const fs::path& path) { path_ = path; }

  void open_file(const fs::path& path) {
    for (TensorView& view : map_file(path)) {
      std::string name = view.name;
      tensors_.emplace(std::move(name), std::move(view));
    }
  }

  void open_index(const fs::path& path) {
    const std::map<std::string, std::string> shard_of = read_safetensors_index(path);
    std::set<std::string> shards;
    for (const auto& [tensor, shard] : shard_of) shards.insert(shard);
    for (const std::string& shard : shards) open_shard(path, shard, shard_of);
    for (const auto& [tensor, shard] : shard_of)
      if (!find(tensor))
        fail(ErrorCode::kFormat, "{}: tensor {:.200} is listed for {}, which does not hold it",
             path.string(), tensor, shard);
  }

 private:
  void open_shard(const fs::path& index, const std::string& shard,
                  const std::map<std::string, std::string>& shard_of) {
    const fs::path path = index.parent_path() / shard;
    if (!fs::exists(path))
      fail(ErrorCode::kNotFound, "{}: shard {} is missing; fetch it and put it beside the index",
           index.string(), shard);
    for (TensorView& view : map_file(path)) {
      const auto listed = shard_of.find(view.name);
      if (listed == shard_of.end())
        fail(ErrorCode::kFormat, "{}: tensor {} is not listed in {}", path.string(), view.name,
             index.string());
      if (find(view.name))
        fail(ErrorCode::kFormat, "{}: tensor {} is in two shards, here and in another",
             path.string(), view.name);
      if (listed->second != shard)
        fail(ErrorCode::kFormat, "{}: tensor {} is listed for {} in {}", path.string(), view.name,
             listed->second, index.string());
      std::string name = view.name;
      tensors_.emplace(std::move(name), std::move(view));
    }
  }

  std::vector<TensorView> map_file(const fs::path& path) {
    files_.emplace_back(path);
    const std::span<const std::byte> bytes = files_.back().bytes();
    const std::string file = path.string();
    const std::uint64_t length = header_length(bytes, file);
    const std::string_view json(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
    const std::span<const std::byte> data = bytes.subspan(kLengthBytes + length);
    std::vector<SafetensorsEntry> entries = parse_safetensors_header(json, file);
    check_safetensors_ranges(entries, data.size(), file);
    std::vector<TensorView> views;
    for (SafetensorsEntry& entry : entries)
      views.push_back({std::move(entry.name), entry.dtype, std::move(entry.shape),
                       data.subspan(entry.begin, entry.end - entry.begin)});
    return views;
  }
};

[[noreturn]] void fail_no_weights(const fs::path& directory) {
  const bool pickled = fs::exists(directory / "pytorch_model.bin") ||
                       fs::exists(directory / "pytorch_model.bin.index.json");
  fail(ErrorCode::kNotFound, "{} holds neither {} nor {}{}", directory.string(), kSingleFile,
       kIndexFile, pickled ? "; save its pytorch_model.bin as safetensors first" : "");
}

}  // namespace

std::shared_ptr<TensorStore> open_safetensors(const fs::path& path) {
  auto store = std::make_shared<SafetensorsStore>(path);
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    if (path.extension() == ".json")
      store->open_index(path);
    else
      store->open_file(path);
    return store;
  }
  const bool single = fs::exists(path / kSingleFile, ignored);
  const bool index = fs::exists(path / kIndexFile, ignored);
  if (!single && !index) fail_no_weights(path);
  if (single && index)
    log::warn("{} holds both {} and {}; the first is read", path.string(), kSingleFile, kIndexFile);
  if (single)
    store->open_file(path / kSingleFile);
  else
    store->open_index(path / kIndexFile);
  return store;
}

}  // namespace talpa
