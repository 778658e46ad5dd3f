#pragma once

#include <string>
#include <utility>

#include "talpa/base/error.h"
#include "talpa/nn/decoder.h"

namespace talpa::nn {

/// The parameters whose names begin with a prefix, e.g. "layers.3.attn.". Refers to them.
class Scope {
 public:
  explicit Scope(const Parameters& parameters, std::string prefix = {})
      : parameters_(parameters), prefix_(std::move(prefix)) {}

  Scope in(const std::string& name) const { return Scope(parameters_, prefix_ + name + "."); }

  /// Throws kInternal if there is none.
  const at::Tensor& at(const std::string& name) const {
    const auto found = parameters_.find(prefix_ + name);
    if (found == parameters_.end())
      fail(ErrorCode::kInternal, "parameter {}{} is not in the description", prefix_, name);
    return found->second;
  }
  /// An undefined tensor if there is none.
  at::Tensor find(const std::string& name) const {
    const auto found = parameters_.find(prefix_ + name);
    return found == parameters_.end() ? at::Tensor() : found->second;
  }

 private:
  const Parameters& parameters_;
  std::string prefix_;
};

}  // namespace talpa::nn
