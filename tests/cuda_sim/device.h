// Simulated CUDA, device side: what nvcc would know by itself, for .cu files compiled by the host compiler.
//
// Included by kernels/cuda/launch.cuh only. Types and runtime declarations come from the toolkit's own headers.
// A __shared__ variable is static: one block runs at a time, so one copy is the block's copy. In the checked build it
// is thread_local as well: the linker then puts all of them together, apart from the host's variables.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "tests/cuda_sim/access_checker.h"
#include "tests/cuda_sim/executor.h"

#undef __shared__
#if defined(SY_CUDA_SIM_CHECKED)
#define __shared__ static thread_local
#else
#define __shared__ static
#endif
#undef __launch_bounds__
#define __launch_bounds__(...)

// Set by the executor before a thread runs or resumes.
extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;
inline constexpr int warpSize = 32;

namespace sy::cuda_sim {

using Site = std::source_location;

enum class Collective : uint8_t { kShuffle, kVote, kMatch, kSync };

// Calling thread waits until every lane of `mask` has called the same collective from the same statement. Returns for
// kShuffle the value of lane `source_lane`, for kVote the mask of lanes whose value is not 0, for kMatch the mask of
// lanes with an equal value, for kSync 0.
uint64_t warp_collective(Collective kind, unsigned mask, uint64_t value, int source_lane, const Site& site);
void block_barrier(const Site& site);
int lane_id();
unsigned char* dynamic_shared();
void count_float_atomic();

template <class V>
V shuffle(unsigned mask, V value, int source_lane, const Site& site) {
  static_assert(sizeof(V) <= 8 && std::is_trivially_copyable_v<V>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(V));
  bits = warp_collective(Collective::kShuffle, mask, bits, source_lane, site);
  std::memcpy(&value, &bits, sizeof(V));
  return value;
}

// Starts a thread's own code. What instrumentation would see here, the copies of arguments, is not the kernel's doing.
template <class... P>
[[gnu::no_sanitize("thread")]] void run_thread(void (*kernel)(P...), const std::type_identity_t<P>&... values) {
  access_checker::enter_kernel();
  kernel(values...);
}

// Threads of a block never run at the same time, so a plain read-modify-write is atomic. Instrumentation would take it
// for plain accesses.
template <class V, class F>
[[gnu::no_sanitize("thread")]] V fetch_modify(V* address, F&& f) {
  access_checker::access(address, sizeof(V), access_checker::Access::kAtomic, __builtin_return_address(0));
  if constexpr (std::is_floating_point_v<V>) count_float_atomic();
  const V old = *address;
  *address = f(old);
  return old;
}

}  // namespace sy::cuda_sim

inline void __syncthreads(sy::cuda_sim::Site site = sy::cuda_sim::Site::current()) {
  sy::cuda_sim::block_barrier(site);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, sy::cuda_sim::Site site = sy::cuda_sim::Site::current()) {
  sy::cuda_sim::warp_collective(sy::cuda_sim::Collective::kSync, mask, 0, 0, site);
}
// Memory is sequentially consistent here.
inline void __threadfence() {}
inline void __threadfence_block() {}

// Shuffles. `width` divides the warp into segments of that many lanes; a source outside the segment returns the own
// value.
template <class V>
V __shfl_sync(unsigned mask, V value, int source, int width = 32,
              sy::cuda_sim::Site site = sy::cuda_sim::Site::current()) {
  const int base = sy::cuda_sim::lane_id() & ~(width - 1);
  return sy::cuda_sim::shuffle(mask, value, base + (source & (width - 1)), site);
}
template <class V>
V __shfl_up_sync(unsigned mask, V value, unsigned delta, int width = 32,
                 sy::cuda_sim::Site site = sy::cuda_sim::Site::current()) {
  const int lane = sy::cuda_sim::lane_id(), source = lane - static_cast<int>(delta);
  return sy::cuda_sim::shuffle(mask, value, source < (lane & ~(width - 1)) ? lane : source, site);
}
template <class V>
V __shfl_down_sync(unsigned mask, V value, unsigned delta, int width = 32,
                   sy::cuda_sim::Site site = sy::cuda_sim::Site::current()) {
  const int lane = sy::cuda_sim::lane_id(), source = lane + static_cast<int>(delta);
  return sy::cuda_sim::shuffle(mask, value, source >= (lane & ~(width - 1)) + width ? lane : source, site);
}
template <class V>
V __shfl_xor_sync(unsigned mask, V value, int lane_mask, int width = 32,
                  sy::cuda_sim::Site site = sy::cuda_sim::Site::current()) {
  const int lane = sy::cuda_sim::lane_id(), source = lane ^ lane_mask;
  return sy::cuda_sim::shuffle(mask, value, source >= (lane & ~(width - 1)) + width ? lane : source, site);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, sy::cuda_sim::Site site = sy::cuda_sim::Site::current()) {
  const uint64_t vote = predicate != 0;
  return static_cast<unsigned>(sy::cuda_sim::warp_collective(sy::cuda_sim::Collective::kVote, mask, vote, 0, site));
}
inline int __any_sync(unsigned mask, int predicate, sy::cuda_sim::Site site = sy::cuda_sim::Site::current()) {
  return __ballot_sync(mask, predicate, site) != 0;
}
inline int __all_sync(unsigned mask, int predicate, sy::cuda_sim::Site site = sy::cuda_sim::Site::current()) {
  return __ballot_sync(mask, predicate, site) == mask;
}
template <class V>
unsigned __match_any_sync(unsigned mask, V value, sy::cuda_sim::Site site = sy::cuda_sim::Site::current()) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(V));
  return static_cast<unsigned>(sy::cuda_sim::warp_collective(sy::cuda_sim::Collective::kMatch, mask, bits, 0, site));
}

// Atomics exist for the types that hardware has.
template <class V>
concept SimAtomic = std::is_same_v<V, int> || std::is_same_v<V, unsigned> || std::is_same_v<V, unsigned long long>;
template <class V>
requires(SimAtomic<V> || std::is_same_v<V, float> || std::is_same_v<V, double>) V
    atomicAdd(V* address, std::type_identity_t<V> value) {
  return sy::cuda_sim::fetch_modify(address, [&](V old) { return old + value; });
}
template <SimAtomic V>
V atomicMax(V* address, std::type_identity_t<V> value) {
  return sy::cuda_sim::fetch_modify(address, [&](V old) { return old > value ? old : value; });
}
template <SimAtomic V>
V atomicMin(V* address, std::type_identity_t<V> value) {
  return sy::cuda_sim::fetch_modify(address, [&](V old) { return old < value ? old : value; });
}
template <SimAtomic V>
V atomicOr(V* address, std::type_identity_t<V> value) {
  return sy::cuda_sim::fetch_modify(address, [&](V old) { return old | value; });
}
template <SimAtomic V>
V atomicExch(V* address, std::type_identity_t<V> value) {
  return sy::cuda_sim::fetch_modify(address, [&](V) { return value; });
}
template <SimAtomic V>
V atomicCAS(V* address, std::type_identity_t<V> expected, std::type_identity_t<V> value) {
  return sy::cuda_sim::fetch_modify(address, [&](V old) { return old == expected ? value : old; });
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
template <class V>
V __ldg(const V* address) {
  return *address;
}
