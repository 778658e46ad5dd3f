#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "talpa/format/dtype.h"
#include "talpa/kernel/amx/tiles.h"
#include "talpa/kernel/panel_task.h"

namespace talpa::testing {

/// The tiles of one thread in plain C++, after the operation sections of Intel's manual (SDM
/// volume 2, LDTILECFG to TILEZERO; volume 1, chapter 18). What would be a fault throws.
class TileMachine {
 public:
  static TileMachine& of_this_thread() {
    thread_local TileMachine machine;
    return machine;
  }

  void configure(const void* operand) {
    kernel::TileConfig config;
    std::memcpy(&config, operand, sizeof(config));
    require(config.palette == 1 && config.start_row == 0, "palette 1, first row 0");
    for (const std::uint8_t byte : config.reserved) require(byte == 0, "reserved bytes zero");
    for (int t = 0; t < 16; ++t) {
      const int rows = config.rows[t], bytes = config.row_bytes[t];
      require(rows <= 16 && bytes <= 64 && (rows == 0) == (bytes == 0), "a tile's size");
      require(t < 8 || rows == 0, "eight tiles");
    }
    config_ = config;
    configured_ = true;
    data_ = {};
  }
  void release() {
    configured_ = false;
    data_ = {};
  }
  bool configured() const { return configured_; }
  /// Products of tiles so far.
  int products() const { return products_; }

  void zero(int t) {
    use(t);
    data_[t] = {};
  }
  void load(int t, const std::byte* from, std::int64_t stride) {
    zero(t);
    for (int r = 0; r < config_.rows[t]; ++r)
      std::memcpy(data_[t].data() + r * 64, from + r * stride, config_.row_bytes[t]);
  }
  void store(int t, std::byte* to, std::int64_t stride) {
    use(t);
    for (int r = 0; r < config_.rows[t]; ++r)
      std::memcpy(to + r * stride, data_[t].data() + r * 64, config_.row_bytes[t]);
  }

  /// TDPBF16PS: even and odd products in two chains of fused multiply-adds, then added to C.
  void dot_bf16(int c, int a, int b) {
    check_product(c, a, b);
    for (int m = 0; m < config_.rows[c]; ++m)
      for (int n = 0; n < config_.row_bytes[c] / 4; ++n) {
        float chain[2] = {};
        for (int k = 0; k < config_.rows[b]; ++k)
          for (int i = 0; i < 2; ++i)
            chain[i] = flushed(std::fma(bf16(a, m, 2 * k + i), bf16(b, k, 2 * n + i), chain[i]));
        const float sum = flushed(chain[0] + chain[1]);
        put(c, m, n, flushed(flushed(get<float>(c, m, n)) + sum));
      }
  }
  /// TDPBSSD.
  void dot_int8(int c, int a, int b) {
    check_product(c, a, b);
    for (int m = 0; m < config_.rows[c]; ++m)
      for (int n = 0; n < config_.row_bytes[c] / 4; ++n) {
        auto sum = get<std::uint32_t>(c, m, n);  // wraps around
        for (int k = 0; k < config_.rows[b]; ++k)
          for (int i = 0; i < 4; ++i)
            sum += static_cast<std::uint32_t>(get<std::int8_t>(a, m, 4 * k + i) *
                                              get<std::int8_t>(b, k, 4 * n + i));
        put(c, m, n, sum);
      }
  }

 private:
  static void require(bool condition, const char* expected) {
    if (!condition) throw std::logic_error(std::string("AMX fault: expected ") + expected);
  }
  void use(int t) const {
    require(configured_, "a loaded configuration");
    require(t >= 0 && t < 8 && config_.rows[t] > 0, "a configured tile");
  }
  void check_product(int c, int a, int b) {
    use(c), use(a), use(b);
    require(c != a && c != b && a != b, "three different tiles");
    require(config_.rows[c] == config_.rows[a], "as many sums as rows of activations");
    require(config_.row_bytes[c] == config_.row_bytes[b], "as many sums as columns of weights");
    require(config_.row_bytes[a] == 4 * config_.rows[b], "matching inner sizes");
    require(config_.row_bytes[c] % 4 == 0, "whole sums");
    ++products_;
  }

  template <class T>
  T get(int t, int row, int index) const {
    T value;
    std::memcpy(&value, data_[t].data() + row * 64 + index * static_cast<int>(sizeof(T)),
                sizeof(T));
    return value;
  }
  template <class T>
  void put(int t, int row, int index, T value) {
    std::memcpy(data_[t].data() + row * 64 + index * static_cast<int>(sizeof(T)), &value,
                sizeof(T));
  }
  float bf16(int t, int row, int index) const {
    return flushed(bf16_to_float(get<std::uint16_t>(t, row, index)));
  }
  static float flushed(float v) {
    return std::fpclassify(v) == FP_SUBNORMAL ? std::copysign(0.0f, v) : v;
  }

  kernel::TileConfig config_;
  bool configured_ = false;
  int products_ = 0;
  std::array<std::array<std::byte, 16 * 64>, 8> data_{};
};

/// The policy of the AMX kernels in plain C++.
struct EmulatedAmx {
  static TileMachine& machine() { return TileMachine::of_this_thread(); }
  static void configure(const kernel::TileConfig& config) { machine().configure(&config); }
  static void release() { machine().release(); }
  template <int T>
  static void zero() {
    machine().zero(T);
  }
  template <int T>
  static void load(const void* rows, std::int64_t stride) {
    machine().load(T, static_cast<const std::byte*>(rows), stride);
  }
  template <int T>
  static void store(void* rows, std::int64_t stride) {
    machine().store(T, static_cast<std::byte*>(rows), stride);
  }
  template <int C, int A, int B>
  static void dot_bf16() {
    machine().dot_bf16(C, A, B);
  }
  template <int C, int A, int B>
  static void dot_int8() {
    machine().dot_int8(C, A, B);
  }

  using F = std::array<float, 16>;

  static F set(float v) {
    F all;
    all.fill(v);
    return all;
  }
  static F load_f16(const std::byte* p) {
    return each([&](int i) {
      std::uint16_t half;
      std::memcpy(&half, p + 2 * i, 2);
      return f16_to_float(half);
    });
  }
  static F from_int(const std::int32_t* p) {
    return each([&](int i) { return static_cast<float>(p[i]); });
  }
  static F mul(const F& a, const F& b) {
    return each([&](int i) { return a[i] * b[i]; });
  }
  static F fma(const F& a, const F& b, const F& c) {
    return each([&](int i) { return std::fma(a[i], b[i], c[i]); });
  }
  static void write(float* p, const F& v) { std::memcpy(p, v.data(), sizeof(v)); }
  static kernel::PanelFunctions few_rows() { return kernel::panel_functions_reference(); }
  static void expand(const std::byte* quants, int offset, std::byte* weights) {
    for (int i = 0; i < 256; ++i) {
      const int both = std::to_integer<int>(quants[i]);
      weights[i] = static_cast<std::byte>((both & 15) - offset);
      weights[i + 256] = static_cast<std::byte>((both >> 4) - offset);
    }
  }

 private:
  template <class Value>
  static F each(const Value& value) {
    F all;
    for (int i = 0; i < 16; ++i) all[i] = value(i);
    return all;
  }
};

}  // namespace talpa::testing
