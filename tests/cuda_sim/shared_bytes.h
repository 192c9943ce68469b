// The block's dynamic shared memory as the asynchronous units see it: 32-bit addresses, and per byte who may read it.
//
// Addresses. The dynamic part stands at an address that is a multiple of 1024 and drawn from the seed, so that a
// swizzle computed relative to a buffer is wrong. A static __shared__ variable has an address above kStaticWindow; it
// can hold an mbarrier, but neither copies nor matrix products reach it.
//
// Faults. The units (bulk copies, matrix products) may not read a byte
//   - that nobody wrote, or whose copy is still under way,
//   - that a tracked generic write touched without a proxy fence: fence.proxy.async by the writing thread after its
//     write; for cp.async also by every reading thread, once the copy is done.
// Nobody may write a byte that a unit is still to read. Tracked writes are those of store_shared, stmatrix and
// cp.async; a store through a plain pointer is not seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sy::cuda_sim {

class SharedBytes {
 public:
  static constexpr uint32_t kStaticWindow = 0x40000000;
  enum class Writer : uint8_t { kStore, kCopy };

  void begin_block(unsigned char* data, size_t bytes, uint64_t seed);

  uint32_t address_of(const void* pointer) const;
  // Faults unless all `count` bytes lie in shared memory and, where an alignment is given, the address has it.
  unsigned char* at(uint32_t address, uint32_t count, uint32_t alignment, const char* who);

  // Generic accesses of `thread`.
  void write(uint32_t address, const void* values, uint32_t count, int thread, Writer writer);
  void read(uint32_t address, void* values, uint32_t count);
  void proxy_fence(int thread);

  // A copy of a unit: from expect() to arrive() the bytes are nobody's.
  void expect(uint32_t address, uint32_t count, const char* who);
  void arrive(uint32_t address, const void* values, uint32_t count);
  // Threads [first, first + num) issue a read of a unit: checked now, and until release() nobody may write there.
  void hold(uint32_t address, uint32_t count, int first, int num, const char* who);
  void release(uint32_t address, uint32_t count);
  const unsigned char* held(uint32_t address) const { return data_ + (address - base_); }

 private:
  enum class State : uint8_t { kUntouched, kUnderWay, kWritten };
  struct Byte {
    State state = State::kUntouched;
    Writer writer = Writer::kStore;
    unsigned char value = 0;  // of the last tracked write
    uint16_t thread = 0;
    uint16_t readers = 0;        // units that are still to read it
    uint64_t generic_write = 0;  // when, 0: not since a unit wrote it
  };

  bool tracked(uint32_t address) const { return address < kStaticWindow; }
  void refuse_write(uint32_t address, uint32_t count, const char* who);
  Byte* bytes_at(uint32_t address);

  unsigned char* data_ = nullptr;
  size_t num_bytes_ = 0;
  uint32_t base_ = 0;
  uint64_t clock_ = 0;
  std::vector<Byte> bytes_;  // made on first use: most kernels have no units
  std::vector<uint64_t> fences_;
};

}  // namespace sy::cuda_sim
