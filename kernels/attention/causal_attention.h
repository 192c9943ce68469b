// Causal grouped-query attention with document masking, in O(tokens) memory (no tokens x tokens tensor).
//
// qkv [tokens, ld] holds per row `heads` q vectors, then `kv_heads` k vectors, then `kv_heads` v vectors of head_dim
// elements (ld >= (heads + 2 kv_heads) head_dim). Query token i of head h attends to the keys j of kv head
// h / (heads / kv_heads) with  first_key[i] <= j <= i:  sequences, documents and windows (window_keys.h) are all
// expressed by first_key [tokens] i32, which never decreases.   s = scale * q.k,  p = softmax_j s,  o = sum_j p v,  lse
// = log sum_j exp s. o [tokens, heads*head_dim] in T; lse [tokens, heads] in Acc<T> (natural log). Softmax and sums in
// Acc<T>. Backward sets the q, k and v parts of dqkv [tokens, ld], given do and o; columns beyond them stay as they
// are. Deterministic: fixed block order. The Cpu bodies tile queries by absolute token index: a document that starts at
// a multiple of 32 tokens gets the same bits wherever it stands and whatever surrounds it, close ones otherwise.
// max_span: a host-known upper bound of i - first_key[i] + 1 (the sequence length, with a window less), of which a
// query sees half on average.
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

template <class T>
struct CausalAttentionForward {
  const T* qkv = nullptr;
  const int32_t* first_key = nullptr;
  T* o = nullptr;
  Acc<T>* lse = nullptr;
  int64_t tokens = 0, heads = 0, kv_heads = 0, head_dim = 0, ld = 0, max_span = 0;
  double scale = 1.0;

  // Two products over (max_span + 1) / 2 keys per query on average.
  Work work() const {
    return {.flops = product_flops(tokens, max_span + 1, heads * head_dim),
            .bytes = bytes_of<T>(tokens * (2 * heads + 2 * kv_heads) * head_dim),
            .factor_bytes = sizeof(T)};
  }
};

template <class T>
struct CausalAttentionBackward {
  const T* grad_o = nullptr;
  const T* qkv = nullptr;
  const T* o = nullptr;
  const Acc<T>* lse = nullptr;
  const int32_t* first_key = nullptr;
  T* dqkv = nullptr;
  int64_t tokens = 0, heads = 0, kv_heads = 0, head_dim = 0, ld = 0, max_span = 0;
  double scale = 1.0;

  // Five products: scores again, their gradient, and those of q, k and v.
  Work work() const {
    return {.flops = 2.5 * product_flops(tokens, max_span + 1, heads * head_dim),
            .bytes = bytes_of<T>(tokens * (4 * heads + 4 * kv_heads) * head_dim),
            .factor_bytes = sizeof(T)};
  }
};

// Attention of new tokens over a cache, for generation. For each of `batch` rows: query_count new tokens, whose q lie
// in q [batch*query_count, heads*head_dim]; cached k and v [batch, capacity, kv_heads*head_dim]; new token i of row b
// stands at position p = past[b] + i and sees cached positions max(0, p - window + 1)..p, all from 0 on where window is
// 0 (the caller has already appended the new k and v).
template <class T>
struct CachedAttention {
  const T* q = nullptr;
  const T* k = nullptr;
  const T* v = nullptr;
  const int32_t* past = nullptr;
  T* o = nullptr;
  int64_t batch = 0, query_count = 0, capacity = 0, heads = 0, kv_heads = 0, head_dim = 0;
  double scale = 1.0;
  int64_t window = 0;

  Work work() const {
    return {.flops = 2 * product_flops(batch * query_count, capacity, heads * head_dim),
            .bytes = bytes_of<T, T>(batch * (query_count * heads + capacity * kv_heads) * head_dim),
            .factor_bytes = sizeof(T)};
  }
};

template <class T>
void causal_attention_forward(Cpu, const CausalAttentionForward<T>& args);
template <class T>
void causal_attention_forward(Cuda, const CausalAttentionForward<T>& args);
template <class T>
void causal_attention_backward(Cpu, const CausalAttentionBackward<T>& args);
template <class T>
void causal_attention_backward(Cuda, const CausalAttentionBackward<T>& args);
template <class T>
void cached_attention(Cpu, const CachedAttention<T>& args);
template <class T>
void cached_attention(Cuda, const CachedAttention<T>& args);

}  // namespace sy::kernels
