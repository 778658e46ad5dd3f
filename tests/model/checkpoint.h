#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "scratch.h"
#include "talpa/format/safetensors_writer.h"
#include "talpa/model/weights.h"

namespace talpa::testing {

inline const std::vector<std::string>& golden_cases() {
  static const std::vector<std::string> cases = {
      "llama", "llama_tied", "mixtral", "qwen2_moe", "qwen3_moe", "qwen3_moe_sparse", "olmoe"};
  return cases;
}

inline std::filesystem::path golden_model(const std::string& name) {
  return golden("model/" + name);
}

inline std::vector<float> floats(const Weight& weight) {
  std::vector<float> values(static_cast<std::size_t>(num_elements(weight.shape)));
  weight.read(values.data());
  return values;
}

/// A tensor to be written.
struct Stored {
  std::string name;
  DType dtype;
  Shape shape;
  std::vector<std::byte> bytes;
};

inline std::vector<Stored> stored_tensors(const std::filesystem::path& directory) {
  std::vector<Stored> list;
  const auto store = open_safetensors(directory);
  for (const auto& [name, view] : store->tensors())
    list.push_back({name, view.dtype, view.shape, {view.bytes.begin(), view.bytes.end()}});
  return list;
}

inline void write_checkpoint(const std::filesystem::path& directory, const Json& config,
                             const std::vector<Stored>& tensors) {
  std::filesystem::create_directories(directory);
  write_text(directory / "config.json", config.dump());
  std::vector<SafetensorsWriter::Entry> entries;
  for (const Stored& tensor : tensors) entries.push_back({tensor.name, tensor.dtype, tensor.shape});
  SafetensorsWriter writer(directory / "model.safetensors", std::move(entries));
  for (const Stored& tensor : tensors) writer.write(tensor.name, tensor.bytes);
  writer.finish();
}

/// The golden checkpoint `name` after `edit`, written to `directory`.
inline void write_edited(const std::string& name, const std::filesystem::path& directory,
                         const std::function<void(Json&, std::vector<Stored>&)>& edit) {
  Json config = read_json(golden_model(name) / "config.json");
  std::vector<Stored> tensors = stored_tensors(golden_model(name));
  edit(config, tensors);
  write_checkpoint(directory, config, tensors);
}

/// Provider of a model's own weights.
inline WeightProvider weights_of(const ModelFiles& files) {
  return [&files](const WeightSpec& spec, float* target) { files.at(spec.name).read(target); };
}

}  // namespace talpa::testing
