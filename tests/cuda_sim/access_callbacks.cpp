// What g++ -fsanitize=thread calls before the loads and stores of the code that it compiles.
//
// Calls that say nothing about a kernel's memory (functions entered and left, virtual table pointers, start of the
// program) are answered by nothing. std::atomic has no place in a kernel: its calls are not defined, so it does not
// link.
#include "tests/cuda_sim/access_checker.h"

namespace checker = sy::cuda_sim::access_checker;

#define SY_READ(name, bytes) \
  void name(const void* p) { checker::access(p, bytes, checker::Access::kRead, __builtin_return_address(0)); }
#define SY_WRITE(name, bytes) \
  void name(const void* p) { checker::access(p, bytes, checker::Access::kWrite, __builtin_return_address(0)); }

extern "C" {

SY_READ(__tsan_read1, 1)
SY_READ(__tsan_read2, 2)
SY_READ(__tsan_read4, 4)
SY_READ(__tsan_read8, 8)
SY_READ(__tsan_read16, 16)
SY_READ(__tsan_unaligned_read2, 2)
SY_READ(__tsan_unaligned_read4, 4)
SY_READ(__tsan_unaligned_read8, 8)
SY_READ(__tsan_unaligned_read16, 16)
SY_WRITE(__tsan_write1, 1)
SY_WRITE(__tsan_write2, 2)
SY_WRITE(__tsan_write4, 4)
SY_WRITE(__tsan_write8, 8)
SY_WRITE(__tsan_write16, 16)
SY_WRITE(__tsan_unaligned_write2, 2)
SY_WRITE(__tsan_unaligned_write4, 4)
SY_WRITE(__tsan_unaligned_write8, 8)
SY_WRITE(__tsan_unaligned_write16, 16)

void __tsan_read_range(const void* p, size_t bytes) {
  checker::access(p, bytes, checker::Access::kRead, __builtin_return_address(0));
}
void __tsan_write_range(const void* p, size_t bytes) {
  checker::access(p, bytes, checker::Access::kWrite, __builtin_return_address(0));
}

int __tsan_atomic32_fetch_add(volatile int* p, int value, int /*memory_order*/) {
  return __atomic_fetch_add(p, value, __ATOMIC_SEQ_CST);
}

void __tsan_init() {}
void __tsan_func_entry(const void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(const void*, const void*) {}

}  // extern "C"
