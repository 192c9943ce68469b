#include "kernels/attention/cache_append.h"

#include <algorithm>

namespace sy::kernels {

template <class T>
void cache_append(Cpu, const CacheAppend<T>& a) {
  const int64_t q_columns = a.heads * a.head_dim, kv_columns = a.kv_heads * a.head_dim;
  for (int64_t b = 0; b < a.batch; ++b) {
    for (int64_t i = 0; i < a.count; ++i) {
      const T* row = a.qkv + (b * a.count + i) * a.ld;
      const int64_t slot = (b * a.capacity + a.past[b] + i) * kv_columns;
      std::copy_n(row, q_columns, a.q + (b * a.count + i) * q_columns);
      std::copy_n(row + q_columns, kv_columns, a.k_cache + slot);
      std::copy_n(row + q_columns + kv_columns, kv_columns, a.v_cache + slot);
    }
  }
}

template void cache_append(Cpu, const CacheAppend<float>&);
template void cache_append(Cpu, const CacheAppend<bf16>&);
template void cache_append(Cpu, const CacheAppend<double>&);

}  // namespace sy::kernels
