#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "talpa/format/dtype.h"
#include "talpa/kernel/panel_task.h"

namespace talpa::kernel {

/// One way to do an operation: the first of its list that is supported wins, the plain reference
/// comes last. `TALPA_IMPL=matmul:avx2,rows:reference` names another; a name that is unknown or
/// not supported here throws kConfig with those that are.
struct MatmulImplementation {
  const char* name;
  bool (*available)();         ///< this machine has its instructions
  bool (*preferred)();         ///< taken without being asked for
  bool quantised_activations;  ///< block formats take int8 activations (else float ones)
  PanelFunctions functions;
  bool bf16_activations = false;  ///< bf16 weights take activations rounded to bf16

  /// Null where it cannot do the type.
  PanelFunction function(DType held) const;
};
struct RowImplementation {
  const char* name;
  bool (*available)();
  const RowFunctions* functions;
};

/// Products, best first: amx (bf16, blocks), avx512_vnni (blocks), avx512_bf16 (bf16), avx512
/// (floats; preferred where 512-bit multiply-adds run at full width), avx2, float_activations
/// (block formats with float activations; only when asked for), reference.
std::span<const MatmulImplementation> matmul_implementations();
std::span<const RowImplementation> row_implementations();

/// The chosen ones.
const MatmulImplementation& matmul_implementation(DType held);
const RowFunctions& row_functions();

/// "blocks avx512_vnni, bf16 avx512_bf16, floats avx2, rows avx2": what runs here, for `doctor` and
/// reports.
std::string implementations_in_use();

/// Parses "operation:name,..."; exposed for tests. Throws kConfig.
struct ImplementationChoice {
  std::string matmul, rows;  ///< empty = best
};
ImplementationChoice parse_implementation_choice(std::string_view text);
/// Overrides TALPA_IMPL from now on (not thread-safe with running kernels).
void choose_implementations(const ImplementationChoice& choice);

}  // namespace talpa::kernel
