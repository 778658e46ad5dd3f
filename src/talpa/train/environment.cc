#include "talpa/train/environment.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <torch/version.h>

#include "talpa/base/cpu.h"
#include "talpa/base/threads.h"

namespace talpa::train {

Json environment() {
  return {{"compiler", __VERSION__},
          {"libtorch", TORCH_VERSION},
          {"libtorch_build", at::show_config()},
          {"cpu", cpu_features().model},
          {"cpu_features", cpu_feature_names()},
          {"cores", available_cores()}};
}

}  // namespace talpa::train
