#include "talpa/format/safetensors_index.h"

#include <unordered_set>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/base/error.h"
#include "talpa/base/file.h"

namespace talpa {

namespace {

constexpr std::uint64_t kMaxIndexBytes = 100'000'000;
constexpr int kMaxDepth = 32;

/// Parses JSON in which no object names a key twice (the parser would keep the last).
Json parse_unique_keys(const std::string& text, const std::string& file) {
  std::vector<std::unordered_set<std::string>> keys;
  auto check = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kMaxDepth)
      fail(ErrorCode::kFormat, "{}: JSON nested deeper than {} levels", file, kMaxDepth);
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys.back().insert(key).second)
        fail(ErrorCode::kFormat, "{}: key {:.200} comes twice", file, key);
    }
    return true;
  };
  try {
    return Json::parse(text, check);
  } catch (const Json::parse_error& error) {
    fail(ErrorCode::kFormat, "{}: not JSON at byte {}: {:.200}", file, error.byte, error.what());
  } catch (const Json::out_of_range& error) {  // a number beyond double
    fail(ErrorCode::kFormat, "{}: not JSON: {:.200}", file, error.what());
  }
}

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
}

}  // namespace

std::map<std::string, std::string> read_safetensors_index(const std::filesystem::path& path) {
  const std::string file = path.string();
  const Json index = parse_unique_keys(read_text(path, kMaxIndexBytes), file);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    fail(ErrorCode::kFormat, "{}: expected an object with an object weight_map", file);
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, shard] : index["weight_map"].items()) {
    if (!shard.is_string())
      fail(ErrorCode::kFormat, "{}: weight_map: {:.200}: expected a file name, got {}", file,
           tensor, shard.type_name());
    const auto& name = shard.get_ref<const std::string&>();
    if (!is_plain_file_name(name))
      fail(ErrorCode::kFormat,
           "{}: weight_map: {:.200}: {:.200} is not the name of a file beside "
           "the index",
           file, tensor, name);
    shards.emplace(tensor, name);
  }
  return shards;
}

}  // namespace talpa
