#include "tests/cuda_sim/shared_bytes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "tests/cuda_sim/block.h"

namespace sy::cuda_sim {

namespace {
// Static variables of a program lie within 1 GiB of this one.
alignas(128) char static_anchor;
}  // namespace

void SharedBytes::begin_block(unsigned char* data, size_t bytes, uint64_t seed) {
  data_ = data;
  num_bytes_ = bytes;
  // The last byte stays below 228 KiB, as on hardware, where a kilobyte is the system's.
  base_ = 1024 * static_cast<uint32_t>(1 + seed % (1 + (kMaxSharedBytes - std::min(bytes, kMaxSharedBytes)) / 1024));
  clock_ = 0;
  bytes_.clear();
  fences_.assign(kMaxThreadsPerBlock, 0);
}

uint32_t SharedBytes::address_of(const void* pointer) const {
  const auto* p = static_cast<const unsigned char*>(pointer);
  if (data_ != nullptr && p >= data_ && p <= data_ + num_bytes_) return base_ + static_cast<uint32_t>(p - data_);
  const int64_t offset = p - reinterpret_cast<const unsigned char*>(&static_anchor);
  if (std::abs(offset) >= (int64_t{1} << 30)) fault("the shared address of memory that is not shared");
  return 2 * kStaticWindow + static_cast<uint32_t>(offset);
}

unsigned char* SharedBytes::at(uint32_t address, uint32_t count, uint32_t alignment, const char* who) {
  if (address % alignment != 0)
    fault(fmt::format("{} at {:#x}, which is not a multiple of {}", who, address, alignment));
  if (!tracked(address))
    return reinterpret_cast<unsigned char*>(&static_anchor) + static_cast<int32_t>(address - 2 * kStaticWindow);
  if (address < base_ || address - base_ + uint64_t{count} > num_bytes_)
    fault(fmt::format("{} at {:#x} of {} bytes lies outside the block's {} bytes from {:#x} on", who, address, count,
                      num_bytes_, base_));
  return data_ + (address - base_);
}

SharedBytes::Byte* SharedBytes::bytes_at(uint32_t address) {
  if (bytes_.empty()) bytes_.resize(num_bytes_);
  return bytes_.data() + (address - base_);
}

void SharedBytes::refuse_write(uint32_t address, uint32_t count, const char* who) {
  const Byte* bytes = bytes_at(address);
  for (uint32_t i = 0; i < count; ++i) {
    if (bytes[i].readers > 0)
      fault(fmt::format("{} overwrites {:#x}, which an asynchronous unit is still to read", who, address + i));
    if (bytes[i].state == State::kUnderWay)
      fault(fmt::format("{} overwrites {:#x}, to which a copy is under way", who, address + i));
  }
}

void SharedBytes::write(uint32_t address, const void* values, uint32_t count, int thread, Writer writer) {
  unsigned char* to = at(address, count, 1, "a store to shared memory");
  if (tracked(address)) {
    if (writer == Writer::kStore) refuse_write(address, count, "a store");
    Byte* bytes = bytes_at(address);
    ++clock_;
    for (uint32_t i = 0; i < count; ++i) {
      bytes[i].state = State::kWritten;
      bytes[i].writer = writer;
      bytes[i].value = static_cast<const unsigned char*>(values)[i];
      bytes[i].thread = static_cast<uint16_t>(thread);
      bytes[i].generic_write = clock_;
    }
  }
  std::memcpy(to, values, count);
}

void SharedBytes::read(uint32_t address, void* values, uint32_t count) {
  const unsigned char* from = at(address, count, 1, "a load from shared memory");
  if (tracked(address)) {
    const Byte* bytes = bytes_at(address);
    for (uint32_t i = 0; i < count; ++i)
      if (bytes[i].state == State::kUnderWay)
        fault(fmt::format("a load reads {:#x}, to which a copy is under way", address + i));
  }
  std::memcpy(values, from, count);
}

void SharedBytes::proxy_fence(int thread) { fences_[static_cast<size_t>(thread)] = ++clock_; }

void SharedBytes::expect(uint32_t address, uint32_t count, const char* who) {
  if (!tracked(address)) fault(fmt::format("{} needs dynamic shared memory", who));
  unsigned char* to = at(address, count, 1, who);
  refuse_write(address, count, who);
  std::memset(to, 0xff, count);
  std::fill_n(bytes_at(address), count, Byte{.state = State::kUnderWay});
}

void SharedBytes::arrive(uint32_t address, const void* values, uint32_t count) {
  Byte* bytes = bytes_at(address);
  for (uint32_t i = 0; i < count; ++i)
    bytes[i] = {.state = State::kWritten, .value = static_cast<const unsigned char*>(values)[i]};
  std::memcpy(at(address, count, 1, "a copy"), values, count);
}

void SharedBytes::hold(uint32_t address, uint32_t count, int first, int num, const char* who) {
  if (!tracked(address)) fault(fmt::format("{} needs dynamic shared memory", who));
  const unsigned char* data = at(address, count, 1, who);
  Byte* bytes = bytes_at(address);
  const bool poison = std::all_of(data, data + count, [](unsigned char c) { return c == 0xff; });
  for (uint32_t i = 0; i < count; ++i) {
    Byte& b = bytes[i];
    ++b.readers;
    if (b.state == State::kUnderWay)
      fault(fmt::format("{} reads {:#x}, to which a copy is under way", who, address + i));
    if (b.state == State::kUntouched && poison) fault(fmt::format("{} reads {:#x}, which nobody wrote", who, address));
    if (b.state == State::kUntouched || b.value != data[i])
      fault(fmt::format("{} reads {:#x}, which a plain store wrote: use store_shared", who, address + i));
    if (b.generic_write == 0 || fences_[b.thread] > b.generic_write) continue;
    const auto fenced = [&](uint64_t fence) { return fence > b.generic_write; };
    const auto reader = fences_.begin() + first;
    if (b.writer == Writer::kCopy && std::all_of(reader, reader + num, fenced)) continue;
    fault(fmt::format("{} reads {:#x} without a proxy fence after the write of {}", who, address + i,
                      describe_thread(b.thread)));
  }
}

void SharedBytes::release(uint32_t address, uint32_t count) {
  Byte* bytes = bytes_at(address);
  for (uint32_t i = 0; i < count; ++i) --bytes[i].readers;
}

}  // namespace sy::cuda_sim
