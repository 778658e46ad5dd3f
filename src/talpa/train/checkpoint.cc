#include "talpa/train/checkpoint.h"

#include <torch/torch.h>

#include <algorithm>

#include "talpa/base/file.h"
#include "talpa/base/log.h"
#include "talpa/format/safetensors_writer.h"
#include "talpa/format/tensor_store.h"

namespace talpa::train {

namespace fs = std::filesystem;

namespace {

constexpr const char* kOptimizerFile = "optimizer.safetensors";
constexpr const char* kEmaFile = "ema.safetensors";
constexpr const char* kTrainerFile = "trainer.json";
constexpr const char* kPrefix = "step-";

using Tensors = std::map<std::string, at::Tensor>;

std::string checkpoint_name(std::int64_t step) { return fmt::format("{}{:08}", kPrefix, step); }

void save_tensors(const fs::path& path, const Tensors& tensors) {
  std::vector<SafetensorsWriter::Entry> entries;
  for (const auto& [name, tensor] : tensors)
    entries.push_back({name, DType::kF32, tensor.sizes().vec()});
  SafetensorsWriter writer(path, entries);
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor flat = tensor.detach().to(at::kCPU, at::kFloat).contiguous();
    writer.write(name, {static_cast<const std::byte*>(flat.const_data_ptr()), flat.nbytes()});
  }
  writer.finish();
}

/// `state` says what share of the file's tensors these are.
void load_tensors(const fs::path& path, const Tensors& tensors, const TrainingState& state,
                  bool partly = false) {
  const torch::NoGradGuard no_grad;
  const auto store = open_safetensors(path);
  for (const auto& [name, tensor] : tensors) {
    const TensorView& view = store->at(name);
    const auto shape = state.replicas == nullptr ? tensor.sizes().vec()
                                                 : state.replicas->whole_shape(name, tensor);
    if (view.shape != shape || view.dtype != DType::kF32)
      fail(ErrorCode::kShape, "{}: {} has shape {}, the recipe's has {}", path.string(), name,
           to_string(view.shape), to_string(shape));
    at::Tensor values = at::empty(shape, at::kFloat);
    to_float(view.dtype, view.bytes.data(), values.data_ptr<float>(), values.numel());
    if (state.replicas != nullptr) values = state.replicas->share_of(name, values);
    at::Tensor(tensor).copy_(values);
  }
  if (!partly && store->tensors().size() != tensors.size())
    fail(ErrorCode::kFormat, "{}: {} tensors, the recipe has {}", path.string(),
         store->tensors().size(), tensors.size());
}

void load_averages(const fs::path& path, const TrainingState& state) {
  Ema& ema = *state.ema;
  if (fs::exists(path)) return load_tensors(path, ema.state(), state);
  log::warn("{} is not there: averages start from the checkpoint's weights", path.string());
  ema.restart();
}

std::vector<fs::path> complete_checkpoints(const fs::path& directory) {
  std::vector<fs::path> found;
  if (!fs::is_directory(directory)) return found;
  for (const auto& entry : fs::directory_iterator(directory))
    if (entry.path().filename().string().starts_with(kPrefix) &&
        fs::exists(entry.path() / kTrainerFile))
      found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

Tensors whole(const TrainingState& state, const Tensors& tensors, bool sharded) {
  return state.replicas == nullptr ? tensors : state.replicas->whole(tensors, sharded);
}

}  // namespace

void save_checkpoint(const fs::path& directory, std::int64_t step, const TrainingState& state,
                     int keep) {
  const Tensors optimizer = whole(state, state.optimizer.state(), state.sharded);
  const Tensors averages =
      state.ema == nullptr ? Tensors{} : whole(state, state.ema->state(), false);
  if (state.replicas != nullptr && !state.replicas->is_first())
    return state.task.save_model({}, DType::kF32);
  fs::create_directories(directory);
  const fs::path target = directory / checkpoint_name(step);
  {
    AtomicDirectory partial(target, /*overwrite=*/true);
    // The model directory is renamed into place by its own writer, so it must not exist yet.
    fs::remove(partial.path());
    state.task.save_model(partial.path(), DType::kF32);
    save_tensors(partial.path() / kOptimizerFile, optimizer);
    if (state.ema != nullptr) save_tensors(partial.path() / kEmaFile, averages);
    const Json trainer{{"step", step},
                       {"optimizer_steps", state.optimizer.num_steps()},
                       {"spike_guard", state.guard.state()}};
    write_text(partial.path() / kTrainerFile, trainer.dump(2) + "\n");
    partial.commit();
  }
  write_text(directory / "latest", checkpoint_name(step) + "\n");
  auto all = complete_checkpoints(directory);
  for (std::size_t i = 0; i + static_cast<std::size_t>(std::max(keep, 1)) < all.size(); ++i) {
    // Without this file it counts no longer, even if the rest stays.
    fs::remove(all[i] / kTrainerFile);
    fs::remove_all(all[i]);
  }
}

std::optional<fs::path> latest_checkpoint(const fs::path& directory) {
  const auto all = complete_checkpoints(directory);
  if (all.empty()) return std::nullopt;
  return all.back();
}

void remove_partial_checkpoints(const fs::path& directory) {
  if (!fs::is_directory(directory)) return;
  std::vector<fs::path> partial;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    const bool temporary = name.starts_with(".") && name.find(".partial-") != std::string::npos;
    if (temporary || (name.starts_with(kPrefix) && !fs::exists(entry.path() / kTrainerFile)))
      partial.push_back(entry.path());
  }
  for (const fs::path& path : partial) fs::remove_all(path);
}

std::int64_t load_checkpoint(const fs::path& checkpoint, const TrainingState& state) {
  const fs::path path = checkpoint / kTrainerFile;
  const Json trainer = read_json(path);
  if (!trainer.is_object() || !trainer.contains("step") || !trainer["step"].is_number_integer() ||
      !trainer.contains("optimizer_steps") || !trainer["optimizer_steps"].is_number_integer())
    fail(ErrorCode::kFormat, "{}: lacks step and optimizer_steps", path.string());
  state.task.load_model(checkpoint);
  load_tensors(checkpoint / kOptimizerFile, state.optimizer.state(), state, state.sharded);
  state.optimizer.set_num_steps(trainer["optimizer_steps"].get<std::int64_t>());
  if (trainer.contains("spike_guard")) state.guard.load(trainer["spike_guard"], path.string());
  if (state.ema != nullptr)
    load_averages(checkpoint / kEmaFile, state);
  else if (fs::exists(checkpoint / kEmaFile))
    log::warn("averages in {} are given up: trainer.ema_decay = 0", checkpoint.string());
  return trainer["step"].get<std::int64_t>();
}

}  // namespace talpa::train
