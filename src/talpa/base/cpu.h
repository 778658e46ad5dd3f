#pragma once

#include <string>
#include <vector>

namespace talpa {

/// Instruction sets of this CPU that talpa's kernels care about and the system has enabled.
struct CpuFeatures {
  bool avx2 = false;    ///< with FMA and F16C
  bool avx512 = false;  ///< F, BW, VL, DQ
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool amx = false;   ///< tiles, bf16 and int8, and the kernel grants them
  std::string model;  ///< name the CPU gives itself
};

/// Detected once.
const CpuFeatures& cpu_features();
/// Names of the sets present, e.g. {"avx2", "avx512"}.
std::vector<std::string> cpu_feature_names();

}  // namespace talpa
