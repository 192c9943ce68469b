// CPU bodies of causal attention: tiles of queries against blocks of keys, online softmax, O(tokens) scratch.
//
// Scores are held transposed, S^T [keys, queries], so that queries are vector lanes: maxima and sums over keys need no
// horizontal step, and each product of the algorithm is a tile_product on blocks as they lie:
//   S^T = K Q^T    O^T += V^T P^T    dP^T = V dO^T    dV += P^T dO    dK += dS^T Q    dQ^T += K^T dS^T
// Rows are widened to Acc<T> and padded with zeros to whole tiles when they enter scratch. q is scaled there, too.
// Forward splits over (chunk of queries, kv head). Backward splits over (independent span, kv head): one thread sums dk
// and dv over query tiles and then heads in order.
#include "kernels/attention/causal_attention.h"

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/gemm_tile.h"
#include "kernels/cpu/parallel.h"

namespace sy::kernels {

namespace {

constexpr int64_t kKeyBlock = 64;
constexpr int64_t kQueryChunk = 128;
constexpr int kRows = cpu::kVectorBytes == 64 ? 8 : 4;  // rows of a tile: a divisor of 8, to which keys are padded

template <class A>
constexpr int64_t kQueries = cpu::kTileColumns<A>;  // queries of a tile

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// rows x dim from T with stride ld, times factor, to [padded_rows, padded_dim] with zeros around.
template <class T>
void widen_rows(const T* source, int64_t ld, int64_t rows, int64_t dim, Acc<T> factor, Acc<T>* out, int64_t padded_rows,
                int64_t padded_dim) {
  using A = Acc<T>;
  for (int64_t r = 0; r < rows; ++r) {
    A* row = out + r * padded_dim;
    cpu::for_vectors<A>(
        dim, [&](int64_t i, int64_t n) { cpu::store_n(row + i, cpu::load_n(source + r * ld + i, n) * factor, n); });
    std::fill(row + dim, row + padded_dim, A(0));
  }
  std::fill(out + rows * padded_dim, out + padded_rows * padded_dim, A(0));
}

template <class T>
void narrow_rows(const Acc<T>* source, int64_t stride, int64_t rows, int64_t dim, Acc<T> factor, T* out, int64_t ld) {
  for (int64_t r = 0; r < rows; ++r)
    cpu::for_vectors<Acc<T>>(dim, [&](int64_t i, int64_t n) {
      cpu::store_n(out + r * ld + i, cpu::load_n(source + r * stride + i, n) * factor, n);
    });
}

// out[rows8, queries] = rows[rows8, dim] * columns[dim, queries].
template <class A>
void score_block(const A* rows, int64_t count, int64_t dim, int64_t padded_dim, const A* columns, A* out) {
  constexpr int64_t kQ = kQueries<A>;
  for (int64_t i = 0; i < count; i += kRows)
    cpu::tile_product<kRows, A>(dim, rows + i * padded_dim, padded_dim, 1, columns, kQ, out + i * kQ, kQ, false);
}

// out^T[padded_dim, queries] += rows[count, padded_dim]^T * weights[count, queries].
template <class A>
void mix_block(const A* rows, int64_t count, int64_t padded_dim, const A* weights, A* out) {
  constexpr int64_t kQ = kQueries<A>;
  for (int64_t d = 0; d < padded_dim; d += kRows)
    cpu::tile_product<kRows, A>(count, rows + d, 1, padded_dim, weights, kQ, out + d * kQ, kQ, true);
}

// out[rows8, padded_dim] += weights[rows8, queries] * rows[queries, padded_dim].
template <class A>
void scatter_block(const A* weights, int64_t count, int64_t queries, const A* rows, int64_t padded_dim, A* out) {
  constexpr int64_t kQ = kQueries<A>;
  for (int64_t d = 0; d < padded_dim; d += kQ)
    for (int64_t i = 0; i < count; i += kRows)
      cpu::tile_product<kRows, A>(queries, weights + i * kQ, kQ, 1, rows + d, padded_dim, out + i * padded_dim + d,
                                  padded_dim, true);
}

// Which keys the queries of a tile see; key numbers count from the start of a block.
template <class A>
struct TileMask {
  int64_t begin = 0, end = 0;        // keys of the whole tile: [begin, end)
  int64_t all_from = 0, all_to = 0;  // keys that every query of a full tile sees: [all_from, all_to]
  A first[kQueries<A>], last[kQueries<A>];

  TileMask(const int32_t* first_key, int64_t query, int64_t count) {
    begin = first_key[query];
    end = query + count;
    all_from = first_key[query + count - 1];
    all_to = count == kQueries<A> ? query : -1;
    for (int64_t i = 0; i < kQueries<A>; ++i) {
      // Relative to `begin`, so that f32 holds them exactly where it matters.
      first[i] = static_cast<A>(i < count ? first_key[query + i] - begin : 0);
      last[i] = static_cast<A>(i < count ? query + i - begin : -1);
    }
  }
  bool open(int64_t key, int64_t count) const { return key >= all_from && key + count - 1 <= all_to; }

  // Lane mask of one key for vector v of the tile.
  auto sees(int64_t key, int v) const {
    const cpu::Vec<A> number = cpu::broadcast(static_cast<A>(key - begin));
    return (number >= cpu::load(first + v * cpu::kLanes<A>)) & (number <= cpu::load(last + v * cpu::kLanes<A>));
  }
};

template <class A>
A* take(A*& cursor, int64_t count) {
  A* block = cursor;
  cursor += round_up(count, 64);
  return block;
}

// One tile of queries of one head: o^T and the softmax statistics over all its keys.
template <class A>
struct ForwardTile {
  static constexpr int64_t kQ = kQueries<A>;
  static constexpr int kL = cpu::kLanes<A>;
  A *rows, *q_t, *scores, *o_t;
  A top[kQ], total[kQ];

  void run(const A* keys, const A* values, int64_t key_begin, const TileMask<A>& mask, int64_t dim,
           int64_t padded_dim) {
    constexpr A kLowest = -std::numeric_limits<A>::infinity();
    std::fill(o_t, o_t + padded_dim * kQ, A(0));
    std::fill(top, top + kQ, kLowest);
    std::fill(total, total + kQ, A(0));
    for (int64_t key = mask.begin; key < mask.end; key += kKeyBlock) {
      const int64_t count = std::min(kKeyBlock, mask.end - key);
      score_block(keys + (key - key_begin) * padded_dim, count, dim, padded_dim, q_t, scores);
      for (int v = 0; v < 2; ++v) soften(v, key, count, mask, key == mask.begin ? 0 : padded_dim);
      mix_block(values + (key - key_begin) * padded_dim, count, padded_dim, scores, o_t);
    }
  }

 private:
  // Scores of vector v to exponentials; rescales the earlier sums to the new maximum.
  void soften(int v, int64_t key, int64_t count, const TileMask<A>& mask, int64_t rescale_rows) {
    const cpu::Vec<A> lowest = cpu::broadcast(-std::numeric_limits<A>::infinity());
    A* block = scores + v * kL;
    const bool open = mask.open(key, count);
    const cpu::Vec<A> old_top = cpu::load(top + v * kL);
    cpu::Vec<A> best = old_top;
    for (int64_t j = 0; j < count; ++j) {
      cpu::Vec<A> s = cpu::load(block + j * kQ);
      if (!open) {
        s = mask.sees(key + j, v) ? s : lowest;
        cpu::store(block + j * kQ, s);
      }
      best = s > best ? s : best;
    }
    // A query that has seen no key yet keeps -inf: subtract 0 instead, its exponentials are 0.
    const cpu::Vec<A> base = best == lowest ? cpu::Vec<A>{} : best;
    const cpu::Vec<A> correction = cpu::exp_vec(old_top - base);
    cpu::Vec<A> sum = cpu::load(total + v * kL) * correction;
    for (int64_t j = 0; j < count; ++j) {
      const cpu::Vec<A> p = cpu::exp_vec(cpu::load(block + j * kQ) - base);
      cpu::store(block + j * kQ, p);
      sum += p;
    }
    for (int64_t d = 0; d < rescale_rows; ++d)
      cpu::store(o_t + d * kQ + v * kL, cpu::load(o_t + d * kQ + v * kL) * correction);
    cpu::store(top + v * kL, best);
    cpu::store(total + v * kL, sum);
  }
};

// Independent spans: no query at or after a start sees a key before it.
std::vector<int64_t> span_starts(const int32_t* first_key, int64_t tokens) {
  std::vector<int64_t> starts;
  for (int64_t i = 0; i < tokens; ++i)
    if (i == 0 || first_key[i] == i) starts.push_back(i);
  starts.push_back(tokens);
  return starts;
}

// One span and one kv head of the backward pass.
template <class T>
void backward_span(const CausalAttentionBackward<T>& args, int64_t begin, int64_t end, int64_t kv,
                   cpu::Scratch& scratch) {
  using A = Acc<T>;
  constexpr int64_t kQ = kQueries<A>;
  constexpr int kL = cpu::kLanes<A>;
  const int64_t dim = args.head_dim, padded_dim = round_up(dim, kQ), group = args.heads / args.kv_heads;
  const int64_t keys = end - begin, padded_keys = round_up(keys, 8) + 8;
  A* cursor = scratch.reserve<A>(4 * round_up(padded_keys * padded_dim, 64) + 6 * (padded_dim + 8) * (kQ + 64) +
                                 2 * kKeyBlock * kQ + 1024);
  A* k_rows = take(cursor, padded_keys * padded_dim);
  A* v_rows = take(cursor, padded_keys * padded_dim);
  A* dk = take(cursor, padded_keys * padded_dim);
  A* dv = take(cursor, padded_keys * padded_dim);
  A* q_rows = take(cursor, kQ * padded_dim);
  A* go_rows = take(cursor, kQ * padded_dim);
  A* q_t = take(cursor, padded_dim * kQ + 64);
  A* go_t = take(cursor, padded_dim * kQ + 64);
  A* dq_t = take(cursor, padded_dim * kQ);
  A* dq_rows = take(cursor, padded_dim * kQ + 64);
  A* weights = take(cursor, kKeyBlock * kQ);
  A* dscores = take(cursor, kKeyBlock * kQ);
  const T* k_source = args.qkv + begin * args.ld + (args.heads + kv) * dim;
  const T* v_source = k_source + args.kv_heads * dim;
  widen_rows(k_source, args.ld, keys, dim, A(1), k_rows, padded_keys, padded_dim);
  widen_rows(v_source, args.ld, keys, dim, A(1), v_rows, padded_keys, padded_dim);
  std::fill(dk, dk + padded_keys * padded_dim, A(0));
  std::fill(dv, dv + padded_keys * padded_dim, A(0));

  for (int64_t query = begin; query < end; query += kQ) {
    const int64_t count = std::min(kQ, end - query);
    const TileMask<A> mask(args.first_key, query, count);
    for (int64_t head = kv * group; head < (kv + 1) * group; ++head) {
      const T* go = args.grad_o + (query * args.heads + head) * dim;
      const T* o = args.o + (query * args.heads + head) * dim;
      widen_rows(args.qkv + query * args.ld + head * dim, args.ld, count, dim, static_cast<A>(args.scale), q_rows, kQ,
                 padded_dim);
      widen_rows(go, args.heads * dim, count, dim, A(1), go_rows, kQ, padded_dim);
      cpu::pack_transposed(q_rows, padded_dim, kQ, dim, static_cast<int>(kQ), q_t);
      cpu::pack_transposed(go_rows, padded_dim, kQ, dim, static_cast<int>(kQ), go_t);
      A lse[kQ] = {}, delta[kQ] = {};  // delta = sum over dim of do * o
      for (int64_t i = 0; i < count; ++i) {
        lse[i] = args.lse[(query + i) * args.heads + head];
        cpu::Vec<A> dots{};
        cpu::for_vectors<A>(dim, [&](int64_t d, int64_t n) {
          dots += cpu::load_n(go_rows + i * padded_dim + d, n) * cpu::load_n(o + i * args.heads * dim + d, n);
        });
        delta[i] = cpu::sum_lanes<A>(dots);
      }
      std::fill(dq_t, dq_t + padded_dim * kQ, A(0));
      for (int64_t key = mask.begin; key < mask.end; key += kKeyBlock) {
        const int64_t block_keys = std::min(kKeyBlock, mask.end - key), whole = round_up(block_keys, kRows);
        const int64_t offset = (key - begin) * padded_dim;
        score_block(k_rows + offset, block_keys, dim, padded_dim, q_t, weights);
        score_block(v_rows + offset, block_keys, dim, padded_dim, go_t, dscores);
        const bool open = mask.open(key, whole);
        for (int v = 0; v < 2; ++v) {
          const cpu::Vec<A> lse_v = cpu::load(lse + v * kL), delta_v = cpu::load(delta + v * kL);
          for (int64_t j = 0; j < whole; ++j) {
            A* weight = weights + j * kQ + v * kL;
            A* dscore = dscores + j * kQ + v * kL;
            cpu::Vec<A> p = cpu::exp_vec(cpu::load(weight) - lse_v);
            cpu::Vec<A> ds = p * (cpu::load(dscore) - delta_v);
            if (!open) {
              const auto sees = mask.sees(key + j, v);
              p = sees ? p : cpu::Vec<A>{};
              ds = sees ? ds : cpu::Vec<A>{};
            }
            cpu::store(weight, p);
            cpu::store(dscore, ds);
          }
        }
        scatter_block(weights, block_keys, count, go_rows, padded_dim, dv + offset);
        scatter_block(dscores, block_keys, count, q_rows, padded_dim, dk + offset);
        mix_block(k_rows + offset, block_keys, padded_dim, dscores, dq_t);
      }
      cpu::pack_transposed(dq_t, kQ, padded_dim, kQ, static_cast<int>(padded_dim), dq_rows);
      narrow_rows<T>(dq_rows, padded_dim, count, dim, static_cast<A>(args.scale),
                     args.dqkv + query * args.ld + head * dim, args.ld);
    }
  }
  T* dk_out = args.dqkv + begin * args.ld + (args.heads + kv) * dim;
  narrow_rows<T>(dk, padded_dim, keys, dim, A(1), dk_out, args.ld);
  narrow_rows<T>(dv, padded_dim, keys, dim, A(1), dk_out + args.kv_heads * dim, args.ld);
}

}  // namespace

template <class T>
void causal_attention_forward(Cpu, const CausalAttentionForward<T>& args) {
  using A = Acc<T>;
  constexpr int64_t kQ = kQueries<A>;
  const int64_t dim = args.head_dim, padded_dim = round_up(dim, kQ), group = args.heads / args.kv_heads;
  const int64_t chunks = (args.tokens + kQueryChunk - 1) / kQueryChunk;
#pragma omp parallel for schedule(dynamic, 1) if (args.tokens > 32)
  for (int64_t task = 0; task < chunks * args.kv_heads; ++task) {
    static thread_local cpu::Scratch scratch;
    const int64_t begin = task / args.kv_heads * kQueryChunk, kv = task % args.kv_heads;
    const int64_t end = std::min(args.tokens, begin + kQueryChunk);
    const int64_t key_begin = args.first_key[begin];
    const int64_t keys = end - key_begin, padded_keys = round_up(keys, 8) + 8;
    A* cursor = scratch.reserve<A>(2 * round_up(padded_keys * padded_dim, 64) + 3 * (padded_dim + 8) * (kQ + 64) +
                                   kKeyBlock * kQ + 1024);
    A* k_rows = take(cursor, padded_keys * padded_dim);
    A* v_rows = take(cursor, padded_keys * padded_dim);
    ForwardTile<A> tile;
    tile.rows = take(cursor, padded_dim * kQ + 64);
    tile.q_t = take(cursor, padded_dim * kQ + 64);
    tile.o_t = take(cursor, padded_dim * kQ);
    tile.scores = take(cursor, kKeyBlock * kQ);
    const T* k_source = args.qkv + key_begin * args.ld + (args.heads + kv) * dim;
    widen_rows(k_source, args.ld, keys, dim, A(1), k_rows, padded_keys, padded_dim);
    widen_rows(k_source + args.kv_heads * dim, args.ld, keys, dim, A(1), v_rows, padded_keys, padded_dim);
    for (int64_t query = begin; query < end; query += kQ) {
      const int64_t count = std::min(kQ, end - query);
      const TileMask<A> mask(args.first_key, query, count);
      for (int64_t head = kv * group; head < (kv + 1) * group; ++head) {
        widen_rows(args.qkv + query * args.ld + head * dim, args.ld, count, dim, static_cast<A>(args.scale), tile.rows,
                   kQ, padded_dim);
        cpu::pack_transposed(tile.rows, padded_dim, kQ, dim, static_cast<int>(kQ), tile.q_t);
        tile.run(k_rows, v_rows, key_begin, mask, dim, padded_dim);
        cpu::pack_transposed(tile.o_t, kQ, padded_dim, kQ, static_cast<int>(padded_dim), tile.rows);
        for (int64_t i = 0; i < count; ++i) {
          T* out = args.o + ((query + i) * args.heads + head) * dim;
          narrow_rows<T>(tile.rows + i * padded_dim, padded_dim, 1, dim, A(1) / tile.total[i], out, dim);
          args.lse[(query + i) * args.heads + head] = tile.top[i] + std::log(tile.total[i]);
        }
      }
    }
  }
}

template <class T>
void causal_attention_backward(Cpu, const CausalAttentionBackward<T>& args) {
  const std::vector<int64_t> starts = span_starts(args.first_key, args.tokens);
  const int64_t tasks = (static_cast<int64_t>(starts.size()) - 1) * args.kv_heads;
#pragma omp parallel for schedule(dynamic, 1) if (args.tokens > 32)
  for (int64_t task = 0; task < tasks; ++task) {
    static thread_local cpu::Scratch scratch;
    const size_t span = static_cast<size_t>(task / args.kv_heads);
    backward_span(args, starts[span], starts[span + 1], task % args.kv_heads, scratch);
  }
}

#define SY_INSTANTIATE(T)                                                        \
  template void causal_attention_forward(Cpu, const CausalAttentionForward<T>&); \
  template void causal_attention_backward(Cpu, const CausalAttentionBackward<T>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(bf16)
SY_INSTANTIATE(double)
#undef SY_INSTANTIATE

}  // namespace sy::kernels
