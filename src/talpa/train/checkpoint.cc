#include "talpa/train/checkpoint.h"

#include <torch/torch.h>

#include <algorithm>

#include "talpa/base/file.h"
#include "talpa/format/safetensors_writer.h"
#include "talpa/format/tensor_store.h"

namespace talpa::train {

namespace fs = std::filesystem;

namespace {

constexpr const char* kOptimizerFile = "optimizer.safetensors";
constexpr const char* kTrainerFile = "trainer.json";

std::string checkpoint_name(std::int64_t step) { return fmt::format("step-{:08}", step); }

void save_optimizer(const fs::path& path, const Optimizer& optimizer) {
  const auto state = optimizer.state();
  std::vector<SafetensorsWriter::Entry> entries;
  for (const auto& [name, tensor] : state) {
    entries.push_back({name, DType::kF32, tensor.sizes().vec()});
  }
  SafetensorsWriter writer(path, entries);
  for (const auto& [name, tensor] : state) {
    const at::Tensor flat = tensor.contiguous();
    writer.write(name, {static_cast<const std::byte*>(flat.const_data_ptr()), flat.nbytes()});
  }
  writer.finish();
}

void load_optimizer(const fs::path& path, Optimizer& optimizer) {
  const auto store = open_safetensors(path);
  const auto state = optimizer.state();
  for (const auto& [name, tensor] : state) {
    const TensorView& view = store->at(name);
    if (view.shape != tensor.sizes().vec() || view.dtype != DType::kF32)
      fail(ErrorCode::kShape, "{}: {} has shape {}, the recipe's has {}", path.string(), name,
           to_string(view.shape), to_string(tensor.sizes().vec()));
    to_float(view.dtype, view.bytes.data(), tensor.data_ptr<float>(), tensor.numel());
  }
  if (store->tensors().size() != state.size())
    fail(ErrorCode::kFormat, "{}: {} tensors, the recipe has {}", path.string(),
         store->tensors().size(), state.size());
}

std::vector<fs::path> complete_checkpoints(const fs::path& directory) {
  std::vector<fs::path> found;
  if (!fs::is_directory(directory)) return found;
  for (const auto& entry : fs::directory_iterator(directory))
    if (entry.path().filename().string().starts_with("step-") &&
        fs::exists(entry.path() / kTrainerFile))
      found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

void save_checkpoint(const fs::path& directory, std::int64_t step, Task& task,
                     const Optimizer& optimizer, int keep) {
  fs::create_directories(directory);
  const fs::path target = directory / checkpoint_name(step);
  {
    AtomicDirectory partial(target, /*overwrite=*/true);
    // The model directory is renamed into place by its own writer, so it must not exist yet.
    fs::remove(partial.path());
    task.save_model(partial.path(), DType::kF32);
    save_optimizer(partial.path() / kOptimizerFile, optimizer);
    write_text(partial.path() / kTrainerFile,
               Json{{"step", step}, {"optimizer_steps", optimizer.num_steps()}}.dump(2) + "\n");
    partial.commit();
  }
  write_text(directory / "latest", checkpoint_name(step) + "\n");
  auto all = complete_checkpoints(directory);
  for (std::size_t i = 0; i + static_cast<std::size_t>(std::max(keep, 1)) < all.size(); ++i)
    fs::remove_all(all[i]);
}

std::optional<fs::path> latest_checkpoint(const fs::path& directory) {
  const auto all = complete_checkpoints(directory);
  if (all.empty()) return std::nullopt;
  return all.back();
}

std::int64_t load_checkpoint(const fs::path& checkpoint, Task& task, Optimizer& optimizer) {
  const Json trainer = read_json(checkpoint / kTrainerFile);
  if (!trainer.is_object() || !trainer.contains("step") || !trainer["step"].is_number_integer() ||
      !trainer.contains("optimizer_steps") || !trainer["optimizer_steps"].is_number_integer())
    fail(ErrorCode::kFormat, "{}: lacks step and optimizer_steps",
         (checkpoint / kTrainerFile).string());
  task.load_model(checkpoint);
  load_optimizer(checkpoint / kOptimizerFile, optimizer);
  optimizer.set_num_steps(trainer["optimizer_steps"].get<std::int64_t>());
  return trainer["step"].get<std::int64_t>();
}

}  // namespace talpa::train
