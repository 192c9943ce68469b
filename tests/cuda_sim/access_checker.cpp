// The checks of an access, and their reports. See access_checker.h.
#include "tests/cuda_sim/access_checker.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <vector>

#include "tests/cuda_sim/access_regions.h"
#include "tests/cuda_sim/device.h"
#include "tests/cuda_sim/executor.h"
#include "tests/cuda_sim/symbols.h"

extern "C" {
// Tells where this host thread's thread_local variables are; a __shared__ variable is one of them (device.h).
thread_local char sy_thread_variables_anchor = 0;
// The linker's names for the ends of the section of threadIdx, blockIdx, blockDim and gridDim.
extern const char __start_sy_built_in[], __stop_sy_built_in[];
}

namespace sy::cuda_sim::access_checker {
namespace {

uintptr_t as_number(const void* p) { return reinterpret_cast<uintptr_t>(p); }

class Checker {
 public:
  void begin_launch(const void* kernel);
  void end_launch();
  void begin_block(uintptr_t dynamic_shared, size_t bytes);
  void access(uintptr_t address, size_t bytes, Access kind, uintptr_t return_address);

  std::mutex mutex;  // held during a launch; else by who changes regions
  Regions regions;
  AccessClock clock;
  uintptr_t stack = 0;
  size_t stack_bytes = 0;

 private:
  bool reads_unwritten(const Region& region, const Cell* cells, size_t offset, size_t bytes) const;
  [[noreturn]] void report_race(const Region& region, size_t offset, size_t bytes, Access kind, uintptr_t site,
                                const AccessSet& other, const char* other_verb) const;
  [[noreturn]] void report_outside(uintptr_t address, size_t bytes, Access kind, uintptr_t return_address);
  std::string place(const Region& region, size_t offset) const;
  std::string act(size_t bytes, Access kind) const;
  std::string kernel() const { return " (kernel " + function_at(kernel_) + ")"; }

  std::vector<uint16_t> variable_of_byte_;  // of the block of thread variables; 0 none
  const uintptr_t image_base_ = image_base();
  const uintptr_t built_in_ = as_number(__start_sy_built_in);
  const size_t built_in_bytes_ = static_cast<size_t>(__stop_sy_built_in - __start_sy_built_in);
  uintptr_t kernel_ = 0;
  uintptr_t shared_variables_ = 0, dynamic_shared_ = 0;
  int64_t bytes_read_ = 0, bytes_written_ = 0;
};

Checker& checker() {
  static Checker* const instance = new Checker;  // the runtime may free memory after static objects are gone
  return *instance;
}

// Whether this host thread runs code of a kernel: everything else that is instrumented is host code.
thread_local bool in_kernel = false;

void Checker::begin_launch(const void* kernel) {
  kernel_ = as_number(kernel);
  const std::vector<ThreadVariable>& variables = thread_variables();
  const auto anchor = std::find_if(variables.begin(), variables.end(),
                                   [](const ThreadVariable& v) { return v.name == "sy_thread_variables_anchor"; });
  if (anchor == variables.end()) throw Fault("simulated CUDA: the checked build needs the program's symbol table");
  const size_t bytes = variables.back().offset + variables.back().bytes;
  if (variable_of_byte_.empty()) {
    variable_of_byte_.assign(bytes, 0);
    for (size_t v = 0; v < variables.size(); ++v)
      std::fill_n(variable_of_byte_.begin() + static_cast<ptrdiff_t>(variables[v].offset), variables[v].bytes,
                  static_cast<uint16_t>(v + 1));
  }
  const uintptr_t begin = as_number(&sy_thread_variables_anchor) - anchor->offset;
  if (begin != shared_variables_) {  // another host thread's copies
    if (shared_variables_ != 0) regions.remove(shared_variables_);
    regions.add(begin, bytes, RegionKind::kSharedVariables);
    shared_variables_ = begin;
  }
  clock.begin_launch();
}

void Checker::end_launch() {
  in_kernel = false;
  if (dynamic_shared_ != 0) regions.remove(dynamic_shared_);
  dynamic_shared_ = 0;
  counters().device_bytes_read += bytes_read_;
  counters().device_bytes_written += bytes_written_;
  bytes_read_ = bytes_written_ = 0;
}

void Checker::begin_block(uintptr_t dynamic_shared, size_t bytes) {
  clock.begin_block();
  if (bytes > 0 && dynamic_shared_ == 0) {
    regions.add(dynamic_shared, bytes, RegionKind::kDynamicShared);
    dynamic_shared_ = dynamic_shared;
  }
}

void Checker::access(uintptr_t address, size_t bytes, Access kind, uintptr_t return_address) {
  if (address - stack < stack_bytes || address - built_in_ < built_in_bytes_ || bytes == 0) return;
  Region* const region = regions.find(address);
  if (region == nullptr || !region->contains(address + bytes - 1)) {
    if (kind == Access::kRead && is_constant(address, bytes)) return;
    report_outside(address, bytes, kind, return_address);
  }
  const size_t offset = address - region->begin;
  if (region->kind == RegionKind::kSharedVariables) {
    const uint16_t variable = variable_of_byte_[offset];
    if (variable == 0 || variable != variable_of_byte_[offset + bytes - 1])
      report_outside(address, bytes, kind, return_address);
  }
  if (region->kind == RegionKind::kDevice) {
    if (kind != Access::kWrite) bytes_read_ += static_cast<int64_t>(bytes);
    if (kind != Access::kRead) bytes_written_ += static_cast<int64_t>(bytes);
  }
  Cell* const cells = region->cells_of(offset, bytes);
  const size_t cell_bytes = size_t{1} << region->cell_log2, num_cells = bytes >> region->cell_log2;
  AccessSet Cell::*const own = kind == Access::kRead    ? &Cell::reads
                               : kind == Access::kWrite ? &Cell::writes
                                                        : &Cell::atomics;
  if (std::all_of(cells, cells + num_cells, [&](const Cell& cell) { return clock.contains(cell.*own); })) return;
  if (kind != Access::kWrite && reads_unwritten(*region, cells, offset, bytes))
    stop_block(fmt::format("read of what nobody wrote: {} {} at {}{}", act(bytes, kind), place(*region, offset),
                           statement_before(return_address), kernel()));
  const uint32_t start = clock.start_of(region->is_shared());
  for (size_t c = 0; c < num_cells; ++c) {
    const auto against = [&](const AccessSet& other, const char* verb) {
      if (clock.is_concurrent(other, start))
        report_race(*region, offset + c * cell_bytes, bytes, kind, return_address, other, verb);
    };
    against(cells[c].writes, "wrote");
    if (kind != Access::kRead) against(cells[c].reads, "read");
    if (kind != Access::kAtomic) against(cells[c].atomics, "changed");
    clock.add(cells[c].*own, start, static_cast<uint32_t>(return_address - image_base_));
  }
  if (kind != Access::kRead && !region->is_shared()) std::memset(&region->is_written[offset], 1, bytes);
}

// A wide access may copy a struct, whose padding nobody writes; padding never fills 8 bytes.
bool Checker::reads_unwritten(const Region& region, const Cell* cells, size_t offset, size_t bytes) const {
  const uint32_t start = clock.start_of(true);
  const size_t step = region.is_shared() ? size_t{1} << region.cell_log2 : 1;
  const auto is_written = [&](size_t o) {
    if (!region.is_shared()) return region.is_written[offset + o] != 0;
    const Cell& cell = cells[o >> region.cell_log2];
    return cell.writes.last >= start || cell.atomics.last >= start;
  };
  for (size_t piece = 0; piece < bytes; piece += 8) {
    const size_t end = std::min(bytes, piece + 8);
    size_t num_written = 0;
    for (size_t o = piece; o < end; o += step) num_written += is_written(o) ? step : 0;
    if (bytes > 8 ? num_written == 0 : num_written < end - piece) return true;
  }
  return false;
}

std::string index_text(const uint3& i) { return fmt::format("({},{},{})", i.x, i.y, i.z); }

std::string Checker::act(size_t bytes, Access kind) const {
  const char* verb = kind == Access::kRead ? "reads" : kind == Access::kWrite ? "writes" : "changes atomically";
  return fmt::format("thread {} of block {} {} {} bytes of", index_text(threadIdx), index_text(blockIdx), verb, bytes);
}

std::string Checker::place(const Region& region, size_t offset) const {
  switch (region.kind) {
    case RegionKind::kSharedVariables: {
      const ThreadVariable& variable = thread_variables()[variable_of_byte_[offset] - 1u];
      return fmt::format("shared {} + {}", variable.name, offset - variable.offset);
    }
    case RegionKind::kDynamicShared:
      return fmt::format("dynamic shared memory ({} bytes) + {}", region.bytes, offset);
    case RegionKind::kPinned:
      return fmt::format("a pinned allocation of {} bytes + {}", region.bytes, offset);
    default:
      return fmt::format("a device allocation of {} bytes + {}", region.bytes, offset);
  }
}

void Checker::report_race(const Region& region, size_t offset, size_t bytes, Access kind, uintptr_t site,
                          const AccessSet& other, const char* other_verb) const {
  std::string who = "a thread of another warp";
  if (clock.of_earlier_block(other)) {
    who = "another block";
  } else if (const unsigned lanes = clock.unordered_lanes(other); !other.several_warps && lanes != 0) {
    who = fmt::format("thread {} of the block", other.warp * 32 + __builtin_ctz(lanes));
  }
  stop_block(fmt::format("race: {} {} at {}; {} {} it at {}, and no barrier orders the two{}", act(bytes, kind),
                         place(region, offset), statement_before(site), who, other_verb,
                         statement_before(image_base_ + other.site), kernel()));
}

void Checker::report_outside(uintptr_t address, size_t bytes, Access kind, uintptr_t return_address) {
  constexpr size_t kNearBytes = 65536;
  std::string nearest = "memory far from it";
  if (const Region* const region = regions.last_before(address); region != nullptr) {
    const size_t offset = address - region->begin;
    const bool is_near = offset < region->bytes + kNearBytes;
    if (is_near) nearest = region->kind == RegionKind::kSharedVariables ? "no shared variable" : place(*region, offset);
  }
  stop_block(fmt::format("access outside the kernel's memory: {} {} at {}{}", act(bytes, kind), nearest,
                         statement_before(return_address), kernel()));
}

void use_stack(int thread, const void* stack, size_t stack_bytes) {
  Checker& c = checker();
  c.stack = as_number(stack);
  c.stack_bytes = stack_bytes;
  c.clock.enter_thread(thread);
}

}  // namespace

void allocated(const void* address, size_t bytes, bool is_pinned) {
  Checker& c = checker();
  const std::lock_guard lock(c.mutex);
  c.regions.add(as_number(address), bytes, is_pinned ? RegionKind::kPinned : RegionKind::kDevice);
  if (is_pinned) std::memset(c.regions.find(as_number(address))->is_written.get(), 1, bytes);
}

void released(const void* address) {
  const std::lock_guard lock(checker().mutex);
  checker().regions.remove(as_number(address));
}

void written(const void* address, size_t bytes) {
  const std::lock_guard lock(checker().mutex);
  Region* const region = checker().regions.find(as_number(address));
  if (region != nullptr) std::memset(&region->is_written[as_number(address) - region->begin], 1, bytes);
}

void copied(const void* to, const void* from, size_t bytes) {
  Checker& c = checker();
  const std::lock_guard lock(c.mutex);
  Region* const target = c.regions.find(as_number(to));
  if (target == nullptr) return;
  uint8_t* const is_written = &target->is_written[as_number(to) - target->begin];
  const Region* const source = c.regions.find(as_number(from));
  if (source == nullptr) std::memset(is_written, 1, bytes);
  else std::memmove(is_written, &source->is_written[as_number(from) - source->begin], bytes);
}

void begin_launch(const void* kernel) {
  std::unique_lock lock(checker().mutex);
  checker().begin_launch(kernel);
  lock.release();  // end_launch() unlocks
}
void end_launch() {
  checker().end_launch();
  checker().mutex.unlock();
}
void begin_block(const void* dynamic_shared, size_t bytes) { checker().begin_block(as_number(dynamic_shared), bytes); }

void start_thread(int thread, const void* stack, size_t stack_bytes) {
  in_kernel = false;
  use_stack(thread, stack, stack_bytes);
}
void enter_kernel() { in_kernel = true; }
void resume_thread(int thread, const void* stack, size_t stack_bytes) {
  use_stack(thread, stack, stack_bytes);
  in_kernel = true;
}
void block_barrier() { checker().clock.block_barrier(); }
void warp_barrier(int warp, unsigned mask) { checker().clock.warp_barrier(warp, mask); }

void access(const void* address, size_t bytes, Access kind, const void* return_address) {
  if (in_kernel) checker().access(as_number(address), bytes, kind, as_number(return_address));
}

}  // namespace sy::cuda_sim::access_checker
