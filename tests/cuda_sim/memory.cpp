#include "tests/cuda_sim/memory.h"

#include <fmt/format.h>
#include <sanitizer/asan_interface.h>  // its macros are empty in a build without ASan

#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <utility>

#include "tests/cuda_sim/access_checker.h"
#include "tests/cuda_sim/executor.h"

namespace sy::cuda_sim {
namespace {

struct Block {
  size_t bytes;
  Space space;
  bool is_usable;  // false until a stream-ordered allocation took place
  bool is_claimed = false, is_resting = false;
};
using Blocks = std::map<unsigned char*, Block>;

constexpr size_t kRestingBytes = size_t{16} << 20;

std::mutex mutex;
Blocks blocks;
std::deque<Blocks::iterator> resting;  // oldest first
size_t resting_bytes = 0;
int64_t device_bytes = 0;

void* add_block(size_t bytes, Space space, bool is_usable) {
  void* memory = nullptr;
  if (posix_memalign(&memory, 512, bytes) != 0) return nullptr;
  std::memset(memory, 0xff, bytes);
  if (!is_usable) ASAN_POISON_MEMORY_REGION(memory, bytes);
  const std::lock_guard lock(mutex);
  blocks[static_cast<unsigned char*>(memory)] = {.bytes = bytes, .space = space, .is_usable = is_usable};
  if (is_usable) access_checker::allocated(memory, bytes, space == Space::kPinned);
  if (space == Space::kDevice) {
    device_bytes += static_cast<int64_t>(bytes);
    ++counters().allocations;
  }
  return memory;
}

// The block that contains address, or none. One past the end belongs to it too: an empty range may stand there.
Blocks::iterator find(const void* address) {
  auto* const p = static_cast<unsigned char*>(const_cast<void*>(address));
  auto it = blocks.upper_bound(p);
  if (it == blocks.begin()) return blocks.end();
  --it;
  return p <= it->first + it->second.bytes ? it : blocks.end();
}

void check_unwritten(const Blocks::iterator& it) {
#if !defined(__SANITIZE_ADDRESS__)  // it has reported the access
  const unsigned char* p = it->first;
  if (p[0] != 0xff || std::memcmp(p, p + 1, it->second.bytes - 1) != 0)
    throw Fault(fmt::format("simulated CUDA: a block of {} bytes was written after it was freed", it->second.bytes));
#else
  (void)it;
#endif
}

}  // namespace

void* allocate(size_t bytes, Space space) { return add_block(bytes, space, true); }
void* promise(size_t bytes) { return add_block(bytes, Space::kDevice, false); }

void begin_use(void* address) {
  const std::lock_guard lock(mutex);
  Block& block = blocks.at(static_cast<unsigned char*>(address));
  ASAN_UNPOISON_MEMORY_REGION(address, block.bytes);
  // What another stream wrote before is lost, as it could be on hardware.
  std::memset(address, 0xff, block.bytes);
  block.is_usable = true;
  access_checker::allocated(address, block.bytes, false);
}

bool claim_free(void* address, Space space) {
  const std::lock_guard lock(mutex);
  const auto it = blocks.find(static_cast<unsigned char*>(address));
  if (it == blocks.end() || it->second.space != space) return false;
  return !std::exchange(it->second.is_claimed, true);
}

void release(void* address) {
  const std::lock_guard lock(mutex);
  const auto it = blocks.find(static_cast<unsigned char*>(address));
  const size_t bytes = it->second.bytes;
  if (it->second.space == Space::kDevice) device_bytes -= static_cast<int64_t>(bytes);
  ASAN_UNPOISON_MEMORY_REGION(address, bytes);
  std::memset(address, 0xff, bytes);
  ASAN_POISON_MEMORY_REGION(address, bytes);
  it->second.is_resting = true;
  access_checker::released(address);
  resting.push_back(it);
  resting_bytes += bytes;
  while (resting_bytes > kRestingBytes) {
    const auto oldest = resting.front();
    check_unwritten(oldest);
    resting.pop_front();
    resting_bytes -= oldest->second.bytes;
    ASAN_UNPOISON_MEMORY_REGION(oldest->first, oldest->second.bytes);
    std::free(oldest->first);
    blocks.erase(oldest);
  }
}

bool is_device(const void* address, size_t bytes) {
  const std::lock_guard lock(mutex);
  const auto it = find(address);
  if (it == blocks.end() || it->second.space != Space::kDevice) return false;
  return static_cast<const unsigned char*>(address) + bytes <= it->first + it->second.bytes;
}

bool is_pageable(const void* address) {
  const std::lock_guard lock(mutex);
  return find(address) == blocks.end();
}

void check_usable(const char* what, const void* address, size_t bytes) {
  const std::lock_guard lock(mutex);
  const auto it = find(address);
  if (it == blocks.end() || (it->second.is_usable && !it->second.is_resting)) return;
  throw Fault(fmt::format("simulated CUDA: {} of {} bytes ran {}", what, bytes,
                          it->second.is_resting ? "after the free of its memory"
                                                : "before the allocation of its memory, on another stream"));
}

void check_freed_memory() {
  const std::lock_guard lock(mutex);
  for (const auto& it : resting) check_unwritten(it);
}

std::vector<std::span<unsigned char>> device_blocks() {
  const std::lock_guard lock(mutex);
  std::vector<std::span<unsigned char>> usable;
  for (const auto& [address, block] : blocks)
    if (block.space == Space::kDevice && block.is_usable && !block.is_resting)
      usable.emplace_back(address, block.bytes);
  return usable;
}

int64_t device_bytes_in_use() {
  const std::lock_guard lock(mutex);
  return device_bytes;
}

}  // namespace sy::cuda_sim
