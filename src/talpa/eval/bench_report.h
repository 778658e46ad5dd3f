#pragma once

#include <optional>
#include <string>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/eval/layer_bench.h"
#include "talpa/eval/machine_load.h"
#include "talpa/eval/model_bench.h"
#include "talpa/report/table.h"

namespace talpa {

/// Everything that one run measured.
struct BenchReport {
  MachineLimits limits;
  std::optional<ThreadLimits> meanwhile;  ///< between the rounds of what was timed
  std::optional<MachineLoad> load;
  int num_experts = 0;  ///< of the layers, to name the group of all
  std::vector<LayerSpeed> layers;
  std::vector<ModelSpeed> models;
};

/// "dense", or "k=4 r=768 gate,up" with " shared" where gate and up share a latent.
std::string describe_experts(const LatentConfig& latent, int num_experts);

/// Fills in what follows from the limits: those between the rounds, where they were measured.
void judge(BenchReport& report);

Table limits_table(const BenchReport& report);
/// Time, rates and share of the limit of every layer.
Table layer_table(const std::vector<LayerSpeed>& layers, int num_experts);
/// Latent experts against dense ones; no rows if there are none.
Table gain_table(const std::vector<LayerSpeed>& layers, int num_experts);
Table model_table(const std::vector<ModelSpeed>& models);
/// What loading took; no rows for random weights.
Table load_table(const std::vector<ModelSpeed>& models);
/// Says how much of the machine others took while it was not idle; else empty.
std::string load_note(const std::optional<MachineLoad>& load);

/// All tables, headed by the machine's instruction sets and the kernels in use.
std::string to_text(const BenchReport& report);
Json to_json(const BenchReport& report);

}  // namespace talpa
