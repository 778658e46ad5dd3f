#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include <utility>

namespace talpa::nn {

/// A value without gradients that an autograd function keeps for its backward; one a function.
template <class T>
struct SavedValue : torch::CustomClassHolder {
  explicit SavedValue(T kept) : value(std::move(kept)) {}

  static void save(torch::autograd::AutogradContext* context, const T& value) {
    context->saved_data["value"] =
        c10::IValue::make_capsule(c10::make_intrusive<SavedValue>(value));
  }
  /// Lives as long as the context.
  static const T& saved(torch::autograd::AutogradContext* context) {
    return static_cast<const SavedValue&>(*context->saved_data["value"].toCapsule()).value;
  }

  T value;
};

}  // namespace talpa::nn
