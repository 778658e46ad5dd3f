#pragma once

#include <string>
#include <unordered_map>
#include <utility>

#include "talpa/chat/value.h"

namespace talpa::chat {

/// Names and what they stand for, in front of those of the scope around.
class Scope {
 public:
  explicit Scope(Scope* parent) : parent_(parent) {}

  const Value* find(const std::string& name) const {
    for (const Scope* scope = this; scope; scope = scope->parent_) {
      const auto found = scope->values_.find(name);
      if (found != scope->values_.end()) return &found->second;
    }
    return nullptr;
  }
  void set(const std::string& name, Value value) { values_[name] = std::move(value); }
  void clear() { values_.clear(); }

  /// A macro refers to this scope and to those around it, so that they must outlive their blocks.
  void keep() {
    for (Scope* scope = this; scope && !scope->kept_; scope = scope->parent_) scope->kept_ = true;
  }
  bool kept() const { return kept_; }

 private:
  Scope* parent_;
  std::unordered_map<std::string, Value> values_;
  bool kept_ = false;
};

}  // namespace talpa::chat
