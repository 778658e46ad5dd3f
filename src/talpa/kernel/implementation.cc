#include "talpa/kernel/implementation.h"

#include <fmt/ranges.h>

#include <cstdlib>

#include "talpa/base/cpu.h"
#include "talpa/base/error.h"

namespace talpa::kernel {

namespace {

bool always() { return true; }
bool has_avx2() { return cpu_features().avx2; }
bool has_avx512() { return cpu_features().avx512; }
bool has_vnni() { return cpu_features().avx512_vnni; }
bool has_avx512_bf16() { return cpu_features().avx512_bf16; }
bool has_amx() { return cpu_features().amx && cpu_features().avx512_vnni; }
bool never() { return false; }

/// Intel's cores multiply pairs of bf16 at half the rate of floats, AMD's at a higher one.
bool multiplies_bf16_pairs_fast() {
  return cpu_features().model.find("Intel") == std::string::npos;
}

template <class List>
std::vector<std::string> names_of(const List& list) {
  std::vector<std::string> names;
  for (const auto& item : list)
    if (item.available()) names.emplace_back(item.name);
  return names;
}

template <class List>
void check_name(const char* operation, const std::string& name, const List& list) {
  const std::vector<std::string> names = names_of(list);
  for (const auto& known : names)
    if (known == name) return;
  fail(ErrorCode::kConfig, "TALPA_IMPL: {} has no implementation \"{}\" on this machine; it has {}",
       operation, name, fmt::join(names, ", "));
}

struct Chosen {
  ImplementationChoice choice;
  const RowFunctions* rows = nullptr;

  explicit Chosen(const ImplementationChoice& wanted) : choice(wanted) {
    for (const auto& item : row_implementations())
      if (rows == nullptr && item.available() && (choice.rows.empty() || choice.rows == item.name))
        rows = item.functions;
  }
};

Chosen& chosen() {
  static Chosen current(parse_implementation_choice(
      std::getenv("TALPA_IMPL") != nullptr ? std::getenv("TALPA_IMPL") : ""));
  return current;
}

}  // namespace

PanelFunction MatmulImplementation::function(DType held) const {
  switch (held) {
    case DType::kF32:
      return functions.f32;
    case DType::kF16:
      return functions.f16;
    case DType::kBF16:
      return functions.bf16;
    case DType::kQ8_0:
      return functions.q8_0;
    case DType::kQ4_0:
      return functions.q4_0;
    case DType::kQ4_1:
      return functions.q4_1;
    default:
      return nullptr;
  }
}

std::span<const MatmulImplementation> matmul_implementations() {
  static const MatmulImplementation list[] = {
      {"amx", has_amx, always, true, panel_functions_amx(), true},
      {"avx512_vnni", has_vnni, always, true, panel_functions_avx512_vnni()},
      {"avx512_bf16", has_avx512_bf16, multiplies_bf16_pairs_fast, true,
       panel_functions_avx512_bf16(), true},
      {"avx512", has_avx512, always, true, panel_functions_avx512()},
      {"avx2", has_avx2, always, true, panel_functions_avx2()},
      {"float_activations", always, never, false, panel_functions_float_activations()},
      {"reference", always, always, true, panel_functions_reference()},
  };
  return list;
}

std::span<const RowImplementation> row_implementations() {
  static const RowImplementation list[] = {
      {"avx2", has_avx2, &row_functions_avx2()},
      {"reference", always, &row_functions_reference()},
  };
  return list;
}

const MatmulImplementation& matmul_implementation(DType held) {
  const std::string& wanted = chosen().choice.matmul;
  for (const auto& item : matmul_implementations())
    if (item.name == wanted && item.function(held) != nullptr) return item;
  for (const auto& item : matmul_implementations())
    if (item.available() && item.preferred() && item.function(held) != nullptr) return item;
  fail(ErrorCode::kInternal, "no kernel for weights of type {}", name_of(held));
}

const RowFunctions& row_functions() { return *chosen().rows; }

std::string implementations_in_use() {
  std::string text = "blocks ";
  text += matmul_implementation(DType::kQ8_0).name;
  text.append(", bf16 ").append(matmul_implementation(DType::kBF16).name);
  text.append(", floats ").append(matmul_implementation(DType::kF32).name);
  for (const auto& item : row_implementations())
    if (item.functions == &row_functions()) text.append(", rows ").append(item.name);
  return text;
}

ImplementationChoice parse_implementation_choice(std::string_view text) {
  ImplementationChoice choice;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    const std::size_t colon = item.find(':');
    const std::string name(item.substr(std::min(item.size(), colon == item.npos ? 0 : colon + 1)));
    if (item.starts_with("matmul:")) {
      check_name("matmul", choice.matmul = name, matmul_implementations());
    } else if (item.starts_with("rows:")) {
      check_name("rows", choice.rows = name, row_implementations());
    } else {
      fail(ErrorCode::kConfig,
           "TALPA_IMPL: expected operation:name with operation matmul or rows, got \"{}\"", item);
    }
  }
  return choice;
}

void choose_implementations(const ImplementationChoice& choice) { chosen() = Chosen(choice); }

}  // namespace talpa::kernel
