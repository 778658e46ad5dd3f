#include "talpa/model/model_folder.h"

#include <set>
#include <string>

#include "talpa/base/error.h"

namespace talpa {

namespace fs = std::filesystem;

namespace {

bool is_of_model(const std::string& name) {
  static const std::set<std::string> kNames = {"config.json",         "generation_config.json",
                                               "conversion.json",     "carving.json",
                                               "trainer.json",        "special_tokens_map.json",
                                               "added_tokens.json",   "vocab.json",
                                               "vocab.txt",           "merges.txt",
                                               "chat_template.jinja", "chat_template.json"};
  return kNames.contains(name) || name.starts_with("tokenizer") || name.ends_with(".safetensors") ||
         name.ends_with(".safetensors.index.json");
}

}  // namespace

void check_replaceable_model(const fs::path& path) {
  if (!fs::exists(path)) return;
  if (!fs::is_directory(path))
    fail(ErrorCode::kUsage, "{} is a file, not a folder; choose another output", path.string());
  for (const auto& entry : fs::directory_iterator(path)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_directory() || !is_of_model(name))
      fail(ErrorCode::kUsage, "{} holds {}, which is no model's; choose another folder",
           path.string(), name);
  }
}

}  // namespace talpa
