#pragma once

#include <signal.h>
#include <ucontext.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "kernel/amx_emulation.h"

namespace talpa::testing {

/// While it lives, AMX instructions that the processor does not know are decoded and run on the
/// thread's TileMachine: the kernels as compiled, operands and all, on a machine without AMX.
class AmxTrap {
 public:
  AmxTrap() {
    struct sigaction action = {};
    action.sa_sigaction = [](int, siginfo_t*, void* context) noexcept {
      step(*static_cast<ucontext_t*>(context));
    };
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGILL, &action, &before_);
  }
  ~AmxTrap() { sigaction(SIGILL, &before_, nullptr); }
  AmxTrap(const AmxTrap&) = delete;
  AmxTrap& operator=(const AmxTrap&) = delete;

 private:
  /// An instruction with a three-byte VEX prefix of map 0F38, as all of AMX have.
  struct Instruction {
    const std::uint8_t* at;
    greg_t* registers;

    int prefix() const { return at[2] & 3; }  ///< none, 66, F3, F2
    int opcode() const { return at[3]; }
    int mode() const { return at[4] >> 6; }
    int reg() const { return at[4] >> 3 & 7; }
    int rm() const { return at[4] & 7; }
    int third() const { return ~at[2] >> 3 & 15; }
    bool is_amx() const {
      return at[0] == 0xc4 && (at[1] & 0x1f) == 2 && (at[2] & 0x84) == 0 &&
             (opcode() == 0x49 || opcode() == 0x4b || opcode() == 0x5c || opcode() == 0x5e);
    }
    bool has_index_byte() const { return mode() != 3 && rm() == 4; }
    bool relative() const { return mode() == 0 && rm() == 5; }
    bool no_base() const { return mode() == 0 && has_index_byte() && (at[5] & 7) == 5; }
    int displacement_bytes() const {
      return mode() == 1 ? 1 : mode() == 2 || relative() || no_base() ? 4 : 0;
    }
    int length() const { return 5 + (has_index_byte() ? 1 : 0) + displacement_bytes(); }

    std::int64_t displacement() const {
      const std::uint8_t* bytes = at + length() - displacement_bytes();
      if (displacement_bytes() == 1) return static_cast<std::int8_t>(*bytes);
      std::int32_t value = 0;
      if (displacement_bytes() == 4) std::memcpy(&value, bytes, 4);
      return value;
    }
    std::int64_t value(int number) const {
      static constexpr int kOrder[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                       REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                       REG_R12, REG_R13, REG_R14, REG_R15};
      return registers[kOrder[number]];
    }
    std::byte* base() const {
      const int high = at[1] & 0x20 ? 0 : 8;
      std::int64_t address = displacement();
      if (relative())
        address += reinterpret_cast<std::int64_t>(at) + length();
      else if (!no_base())
        address += value(high + (has_index_byte() ? at[5] & 7 : rm()));
      return reinterpret_cast<std::byte*>(address);
    }
    /// The index register, scaled: 0 where there is none.
    std::int64_t index() const {
      if (!has_index_byte()) return 0;
      const int number = (at[5] >> 3 & 7) + (at[1] & 0x40 ? 0 : 8);
      return number == 4 ? 0 : value(number) << (at[5] >> 6);
    }
  };

  static void step(ucontext_t& context) {
    greg_t* registers = context.uc_mcontext.gregs;
    const Instruction i{reinterpret_cast<const std::uint8_t*>(registers[REG_RIP]), registers};
    if (!i.is_amx() || !run(i, TileMachine::of_this_thread()))
      throw std::logic_error("an illegal instruction that is none of AMX's");
    registers[REG_RIP] += i.length();
  }

  static bool run(const Instruction& i, TileMachine& tiles) {
    constexpr int kNone = 0, k66 = 1, kF3 = 2, kF2 = 3;
    const int kind = i.opcode() << 4 | i.prefix() << 1 | (i.mode() == 3 ? 1 : 0);
    const auto is = [&](int opcode, int prefix, bool in_registers) {
      return kind == (opcode << 4 | prefix << 1 | (in_registers ? 1 : 0));
    };
    if (is(0x49, kNone, false)) return tiles.configure(i.base() + i.index()), true;
    if (is(0x49, kNone, true)) return tiles.release(), true;
    if (is(0x49, kF2, true)) return tiles.zero(i.reg()), true;
    if (is(0x4b, kF2, false) || is(0x4b, k66, false))
      return tiles.load(i.reg(), i.base(), i.index()), true;
    if (is(0x4b, kF3, false)) return tiles.store(i.reg(), i.base(), i.index()), true;
    if (is(0x5c, kF3, true)) return tiles.dot_bf16(i.reg(), i.rm(), i.third()), true;
    if (is(0x5e, kF2, true)) return tiles.dot_int8(i.reg(), i.rm(), i.third()), true;
    return false;
  }

  struct sigaction before_ = {};
};

}  // namespace talpa::testing
