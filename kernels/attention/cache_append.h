// Appends the k and v parts of fused qkv rows to a key-value cache, and takes the q part out.
//
// qkv [batch*count, ld], new token i of row b at cache position past[b] + i:
//   k_cache[b, past[b]+i, :] = k part,  v_cache likewise ([batch, capacity, kv_heads*head_dim]),  q[b*count+i, :] = q
//   part.
// The caller guarantees past[b] + count <= capacity.
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

template <class T>
struct CacheAppend {
  const T* qkv = nullptr;
  const int32_t* past = nullptr;
  T* q = nullptr;
  T* k_cache = nullptr;
  T* v_cache = nullptr;
  int64_t batch = 0, count = 0, capacity = 0, heads = 0, kv_heads = 0, head_dim = 0, ld = 0;

  Work work() const { return {.bytes = bytes_of<T, T>(batch * count * (heads + 2 * kv_heads) * head_dim)}; }
};

template <class T>
void cache_append(Cpu, const CacheAppend<T>& args);
template <class T>
void cache_append(Cuda, const CacheAppend<T>& args);

}  // namespace sy::kernels
