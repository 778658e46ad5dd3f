#include "talpa/format/hf_directory.h"

#include "talpa/base/error.h"

namespace talpa {

namespace {

Json read_object(const std::filesystem::path& path) {
  Json json = read_json(path);
  if (!json.is_object())
    fail(ErrorCode::kFormat, "{}: expected a JSON object, got {}", path.string(), json.type_name());
  return json;
}

}  // namespace

HfDirectory open_hf_directory(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path))
    fail(ErrorCode::kNotFound, "{} does not exist", path.string());
  if (!std::filesystem::is_directory(path))
    fail(ErrorCode::kNotFound, "{} is not a directory; a model directory holds config.json",
         path.string());
  if (!is_hf_directory(path))
    fail(ErrorCode::kNotFound, "{} has no config.json, so it is not a model directory",
         path.string());
  HfDirectory directory{path, read_object(path / "config.json"), std::nullopt};
  const std::filesystem::path generation = path / "generation_config.json";
  if (std::filesystem::exists(generation)) directory.generation_config = read_object(generation);
  return directory;
}

bool is_hf_directory(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path / "config.json", ignored);
}

}  // namespace talpa
