// CUDA bodies of causal attention: tiles of queries against tiles of keys through shared memory, online softmax,
// O(tokens) memory. The simple path for every architecture; head_dim up to 256 where a block may have 227 KiB of shared
// memory.
//
// Forward: one block per (query tile, head). Backward recomputes the probabilities from lse, twice: one block per
// (query tile, head) sums dq over key tiles, one block per (key tile, kv head) sums dk and dv over heads and query
// tiles. Every sum has one owner and a fixed order.  With p = exp(scale q.k - lse), D = do.o:  dS = p (do.v - D),
//   dq = scale dS k,   dk = dS^T (scale q),   dv = p^T do.
#include "kernels/attention/causal_attention.h"

#include "kernels/cuda/reduce.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

// Queries and keys of a tile: one key per lane, and six tiles of f64 must fit.
template <class A>
constexpr int kSide = sizeof(A) == 8 ? 16 : 32;

template <class A>
constexpr int kScoreStride = kSide<A> + 1;  // one more than a power of two: columns lie on different banks

// [kSide, dim] of T with row stride ld, times factor, to rows of dim + 1 elements; rows at and beyond `end` become
// zero.
template <class T>
__device__ inline void load_rows(const T* source, int64_t ld, int64_t first, int64_t end, int64_t dim, Acc<T> factor,
                                 Acc<T>* out) {
  using A = Acc<T>;
  for (int64_t e = threadIdx.x; e < kSide<A> * dim; e += kBlock) {
    const int64_t r = e / dim, d = e % dim;
    out[r * (dim + 1) + d] = first + r < end ? A(source[(first + r) * ld + d]) * factor : A(0);
  }
}

template <class T>
__device__ inline void store_rows(const Acc<T>* tile, int64_t first, int64_t end, int64_t dim, int64_t ld, T* out) {
  for (int64_t e = threadIdx.x; e < kSide<Acc<T>> * dim; e += kBlock) {
    const int64_t r = e / dim, d = e % dim;
    if (first + r < end) out[(first + r) * ld + d] = T(tile[r * (dim + 1) + d]);
  }
}

template <class A>
__device__ inline A row_dot(const A* a, const A* b, int64_t dim) {
  A sum = 0;
  for (int64_t d = 0; d < dim; ++d) sum += a[d] * b[d];
  return sum;
}

// Query i sees key j.
__device__ inline bool sees(const int32_t* first_key, int64_t tokens, int64_t i, int64_t j) {
  return i < tokens && j <= i && j >= first_key[i];
}

template <class T>
__global__ void __launch_bounds__(kBlock) attention_forward_kernel(CausalAttentionForward<T> args) {
  using A = Acc<T>;
  constexpr int N = kSide<A>, S = kScoreStride<A>;
  const int64_t dim = args.head_dim, head = blockIdx.y, kv_head = head / (args.heads / args.kv_heads);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * N;
  const int64_t end = first + N < args.tokens ? first + N : args.tokens;
  const T* k_source = args.qkv + (args.heads + kv_head) * dim;
  const T* v_source = k_source + args.kv_heads * dim;
  A* q = dynamic_shared<A>();
  A *k = q + N * (dim + 1), *v = k + N * (dim + 1), *o = v + N * (dim + 1), *p = o + N * (dim + 1);
  A *largest = p + N * S, *sum = largest + N, *rescale = sum + N;

  load_rows<T>(args.qkv + head * dim, args.ld, first, end, dim, static_cast<A>(args.scale), q);
  for (int64_t e = threadIdx.x; e < N * (dim + 1); e += kBlock) o[e] = A(0);
  for (int r = static_cast<int>(threadIdx.x); r < N; r += kBlock) largest[r] = minus_infinity<A>(), sum[r] = A(0);
  for (int64_t j0 = args.first_key[first]; j0 < end; j0 += N) {
    __syncthreads();
    load_rows<T>(k_source, args.ld, j0, end, dim, A(1), k);
    load_rows<T>(v_source, args.ld, j0, end, dim, A(1), v);
    __syncthreads();
    for (int e = static_cast<int>(threadIdx.x); e < N * N; e += kBlock) {
      const int r = e / N, c = e % N;
      p[r * S + c] = sees(args.first_key, args.tokens, first + r, j0 + c)
                         ? row_dot(q + r * (dim + 1), k + c * (dim + 1), dim)
                         : minus_infinity<A>();
    }
    __syncthreads();
    for (int r = warp_of(); r < N; r += kRowsPerBlock) {
      const A score = lane_of() < N ? p[r * S + lane_of()] : minus_infinity<A>();
      const A before = largest[r], top = larger(before, warp_max(score));
      const A weight = score == minus_infinity<A>() ? A(0) : exp_of(score - top);
      const A total = warp_sum(weight);
      if (lane_of() < N) p[r * S + lane_of()] = weight;
      __syncwarp();  // all lanes have read largest[r]; shuffles order no memory
      if (lane_of() == 0) {
        largest[r] = top;
        rescale[r] = before == minus_infinity<A>() ? A(0) : exp_of(before - top);
        sum[r] = sum[r] * rescale[r] + total;
      }
    }
    __syncthreads();
    for (int64_t e = threadIdx.x; e < N * dim; e += kBlock) {
      const int64_t r = e / dim, d = e % dim;
      A mixed = o[r * (dim + 1) + d] * rescale[r];
      for (int c = 0; c < N; ++c) mixed += p[r * S + c] * v[c * (dim + 1) + d];
      o[r * (dim + 1) + d] = mixed;
    }
  }
  __syncthreads();
  for (int64_t e = threadIdx.x; e < N * dim; e += kBlock) o[e / dim * (dim + 1) + e % dim] /= sum[e / dim];
  __syncthreads();
  store_rows<T>(o, first, end, dim, args.heads * dim, args.o + head * dim);
  for (int64_t r = threadIdx.x; first + r < end; r += kBlock)
    args.lse[(first + r) * args.heads + head] = largest[r] + log_of(sum[r]);
}

// lse and D = do.o of a tile's queries; a warp per query.
template <class T>
__device__ inline void load_row_terms(const CausalAttentionBackward<T>& args, int64_t head, int64_t first, int64_t end,
                                      Acc<T>* lse, Acc<T>* delta) {
  using A = Acc<T>;
  for (int64_t r = warp_of(); first + r < end && r < kSide<A>; r += kRowsPerBlock) {
    const int64_t place = ((first + r) * args.heads + head) * args.head_dim;
    A dot = 0;
    for (int64_t d = lane_of(); d < args.head_dim; d += kWarp) dot += A(args.grad_o[place + d]) * A(args.o[place + d]);
    dot = warp_sum(dot);
    if (lane_of() == 0) delta[r] = dot, lse[r] = args.lse[(first + r) * args.heads + head];
  }
}

// p and dS of queries i0 .. against keys j0 ..; the tiles hold scaled q, k, v and do.
template <class T>
__device__ inline void probability_tiles(const CausalAttentionBackward<T>& args, int64_t i0, int64_t j0,
                                         const Acc<T>* q, const Acc<T>* k, const Acc<T>* v, const Acc<T>* dout,
                                         const Acc<T>* lse, const Acc<T>* delta, Acc<T>* p, Acc<T>* ds) {
  using A = Acc<T>;
  constexpr int N = kSide<A>, S = kScoreStride<A>;
  const int64_t dim = args.head_dim, stride = dim + 1;
  for (int e = static_cast<int>(threadIdx.x); e < N * N; e += kBlock) {
    const int r = e / N, c = e % N;
    A probability = 0, slope = 0;
    if (sees(args.first_key, args.tokens, i0 + r, j0 + c)) {
      probability = exp_of(row_dot(q + r * stride, k + c * stride, dim) - lse[r]);
      slope = probability * (row_dot(dout + r * stride, v + c * stride, dim) - delta[r]);
    }
    if (p != nullptr) p[r * S + c] = probability;
    ds[r * S + c] = slope;
  }
}

template <class T>
__global__ void __launch_bounds__(kBlock) attention_dq_kernel(CausalAttentionBackward<T> args) {
  using A = Acc<T>;
  constexpr int N = kSide<A>, S = kScoreStride<A>;
  const int64_t dim = args.head_dim, head = blockIdx.y, kv_head = head / (args.heads / args.kv_heads);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * N;
  const int64_t end = first + N < args.tokens ? first + N : args.tokens;
  const T* k_source = args.qkv + (args.heads + kv_head) * dim;
  const T* v_source = k_source + args.kv_heads * dim;
  A* q = dynamic_shared<A>();
  A *k = q + N * (dim + 1), *v = k + N * (dim + 1), *dout = v + N * (dim + 1), *dq = dout + N * (dim + 1);
  A *ds = dq + N * (dim + 1), *lse = ds + N * S, *delta = lse + N;

  load_rows<T>(args.qkv + head * dim, args.ld, first, end, dim, static_cast<A>(args.scale), q);
  load_rows<T>(args.grad_o + head * dim, args.heads * dim, first, end, dim, A(1), dout);
  load_row_terms(args, head, first, end, lse, delta);
  for (int64_t e = threadIdx.x; e < N * (dim + 1); e += kBlock) dq[e] = A(0);
  for (int64_t j0 = args.first_key[first]; j0 < end; j0 += N) {
    __syncthreads();
    load_rows<T>(k_source, args.ld, j0, end, dim, A(1), k);
    load_rows<T>(v_source, args.ld, j0, end, dim, A(1), v);
    __syncthreads();
    probability_tiles(args, first, j0, q, k, v, dout, lse, delta, static_cast<A*>(nullptr), ds);
    __syncthreads();
    for (int64_t e = threadIdx.x; e < N * dim; e += kBlock) {
      const int64_t r = e / dim, d = e % dim;
      A sum = 0;
      for (int c = 0; c < N; ++c) sum += ds[r * S + c] * k[c * (dim + 1) + d];
      dq[r * (dim + 1) + d] += static_cast<A>(args.scale) * sum;
    }
  }
  __syncthreads();
  store_rows<T>(dq, first, end, dim, args.ld, args.dqkv + head * dim);
}

template <class T>
__global__ void __launch_bounds__(kBlock) attention_dkv_kernel(CausalAttentionBackward<T> args) {
  using A = Acc<T>;
  constexpr int N = kSide<A>, S = kScoreStride<A>;
  const int64_t dim = args.head_dim, kv_head = blockIdx.y, group = args.heads / args.kv_heads;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * N;
  const int64_t end = first + N < args.tokens ? first + N : args.tokens;
  const int64_t k_offset = (args.heads + kv_head) * dim, v_offset = k_offset + args.kv_heads * dim;
  A* k = dynamic_shared<A>();
  A *v = k + N * (dim + 1), *dk = v + N * (dim + 1), *dv = dk + N * (dim + 1), *q = dv + N * (dim + 1);
  A *dout = q + N * (dim + 1), *p = dout + N * (dim + 1), *ds = p + N * S, *lse = ds + N * S, *delta = lse + N;

  load_rows<T>(args.qkv + k_offset, args.ld, first, end, dim, A(1), k);
  load_rows<T>(args.qkv + v_offset, args.ld, first, end, dim, A(1), v);
  for (int64_t e = threadIdx.x; e < N * (dim + 1); e += kBlock) dk[e] = dv[e] = A(0);
  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head)
    // first_key never decreases: behind the first tile that no longer sees these keys none does.
    for (int64_t i0 = first; i0 < args.tokens && args.first_key[i0] < end; i0 += N) {
      __syncthreads();
      load_rows<T>(args.qkv + head * dim, args.ld, i0, args.tokens, dim, static_cast<A>(args.scale), q);
      load_rows<T>(args.grad_o + head * dim, args.heads * dim, i0, args.tokens, dim, A(1), dout);
      load_row_terms(args, head, i0, args.tokens, lse, delta);
      __syncthreads();
      probability_tiles(args, i0, first, q, k, v, dout, lse, delta, p, ds);
      __syncthreads();
      for (int64_t e = threadIdx.x; e < N * dim; e += kBlock) {
        const int64_t c = e / dim, d = e % dim;
        A sum_k = 0, sum_v = 0;
        for (int r = 0; r < N; ++r) {
          sum_k += ds[r * S + c] * q[r * (dim + 1) + d];
          sum_v += p[r * S + c] * dout[r * (dim + 1) + d];
        }
        dk[c * (dim + 1) + d] += sum_k;
        dv[c * (dim + 1) + d] += sum_v;
      }
    }
  __syncthreads();
  store_rows<T>(dk, first, end, dim, args.ld, args.dqkv + k_offset);
  store_rows<T>(dv, first, end, dim, args.ld, args.dqkv + v_offset);
}

template <class A>
size_t shared_bytes(int64_t head_dim, int64_t row_tiles, int64_t score_tiles) {
  const int64_t elements =
      row_tiles * kSide<A> * (head_dim + 1) + score_tiles * kSide<A> * kScoreStride<A> + 3 * kSide<A>;
  return static_cast<size_t>(elements) * sizeof(A);
}

void check_heads(int64_t heads, int64_t kv_heads) { SY_KERNEL_CHECK(kv_heads >= 1 && heads % kv_heads == 0); }

}  // namespace

template <class T>
void causal_attention_forward(Cuda ctx, const CausalAttentionForward<T>& args) {
  using A = Acc<T>;
  if (args.tokens == 0 || args.heads == 0) return;
  check_heads(args.heads, args.kv_heads);
  const dim3 grid(grid_for(args.tokens, kSide<A>).x, static_cast<unsigned>(args.heads));
  launch(attention_forward_kernel<T>, grid, kBlock, shared_bytes<A>(args.head_dim, 4, 1), ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class T>
void causal_attention_backward(Cuda ctx, const CausalAttentionBackward<T>& args) {
  using A = Acc<T>;
  if (args.tokens == 0 || args.heads == 0) return;
  check_heads(args.heads, args.kv_heads);
  const unsigned tiles = grid_for(args.tokens, kSide<A>).x;
  launch(attention_dq_kernel<T>, dim3(tiles, static_cast<unsigned>(args.heads)), kBlock,
         shared_bytes<A>(args.head_dim, 5, 1), ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
  launch(attention_dkv_kernel<T>, dim3(tiles, static_cast<unsigned>(args.kv_heads)), kBlock,
         shared_bytes<A>(args.head_dim, 6, 2), ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

#define SY_INSTANTIATE(T)                                                         \
  template void causal_attention_forward(Cuda, const CausalAttentionForward<T>&); \
  template void causal_attention_backward(Cuda, const CausalAttentionBackward<T>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(bf16)
SY_INSTANTIATE(double)

}  // namespace sy::kernels
