// CUDA bodies of attention against their CPU bodies: sequences, packed documents, grouped heads, ragged tiles.
#include "kernels/attention/causal_attention.h"

#include "kernels/attention/cache_append.h"
#include "kernels/attention/window_keys.h"
#include "tests/kernels/cuda_check.h"
#include "tests/kernels/moe/numeric_check.h"

namespace sy {
namespace {

using namespace sy::test;

template <class T>
class AttentionCuda : public testing::Test {};
using ElementTypes = testing::Types<float, bf16, double>;
TYPED_TEST_SUITE(AttentionCuda, ElementTypes);

struct Shape {
  int64_t tokens, heads, kv_heads, dim, pad;
  std::vector<int64_t> documents;  // first token of each
};
const std::vector<Shape> kShapes = {
    {0, 2, 1, 4, 0, {}},
    {1, 1, 1, 1, 0, {0}},
    {16, 2, 2, 8, 0, {0}},
    {70, 4, 2, 12, 5, {0}},
    {70, 3, 1, 8, 0, {0, 1, 40}},
    {100, 2, 1, 20, 3, {0, 33, 64, 65, 99}},
    {33, 2, 2, 64, 0, {0, 16, 32}},
};

std::vector<int32_t> first_keys(const Shape& shape) {
  std::vector<int32_t> first(shape.tokens);
  for (const int64_t start : shape.documents)
    for (int64_t i = start; i < shape.tokens; ++i) first[i] = static_cast<int32_t>(start);
  return first;
}

// Backward sums differences of products; its terms are larger than its results.
template <class T>
double gradient_tolerance() {
  return 4 * cuda_tolerance<T>();
}

TYPED_TEST(AttentionCuda, ForwardAndBackwardEqualTheCpu) {
  using T = TypeParam;
  using A = Acc<T>;
  for (const Shape& s : kShapes) {
    SCOPED_TRACE(testing::Message() << s.tokens << " tokens in " << s.documents.size() << " documents, " << s.heads
                                    << " heads of " << s.dim);
    const int64_t used = (s.heads + 2 * s.kv_heads) * s.dim, ld = used + s.pad;
    const std::vector<T> qkv = random_normal<T>(s.tokens * ld, 1),
                         grad_o = random_normal<T>(s.tokens * s.heads * s.dim, 2);
    const std::vector<int32_t> first = first_keys(s);
    std::vector<char> in_row(s.tokens * ld);
    for (int64_t i = 0; i < s.tokens * ld; ++i) in_row[i] = i % ld < used;
    const double scale = 1 / std::sqrt(static_cast<double>(s.dim));
    expect_cuda_equals_cpu([&](auto& side, auto backend) {
      const T* source = side.in(qkv);
      const int32_t* first_key = side.in(first);
      T* o = side.template out<T>(s.tokens * s.heads * s.dim, cuda_tolerance<T>());
      A* lse = side.template out<A>(s.tokens * s.heads, cuda_tolerance<A>());
      kernels::causal_attention_forward<T>(backend, {.qkv = source,
                                                     .first_key = first_key,
                                                     .o = o,
                                                     .lse = lse,
                                                     .tokens = s.tokens,
                                                     .heads = s.heads,
                                                     .kv_heads = s.kv_heads,
                                                     .head_dim = s.dim,
                                                     .ld = ld,
                                                     .max_span = s.tokens,
                                                     .scale = scale});
      kernels::causal_attention_backward<T>(
          backend, {.grad_o = side.in(grad_o),
                    .qkv = source,
                    .o = o,
                    .lse = lse,
                    .first_key = first_key,
                    .dqkv = side.template out<T>(s.tokens * ld, gradient_tolerance<T>(), in_row),
                    .tokens = s.tokens,
                    .heads = s.heads,
                    .kv_heads = s.kv_heads,
                    .head_dim = s.dim,
                    .ld = ld,
                    .max_span = s.tokens,
                    .scale = scale});
    });
  }
}

TYPED_TEST(AttentionCuda, AppendingToTheCacheEqualsTheCpu) {
  using T = TypeParam;
  struct Case {
    int64_t batch, count, capacity, heads, kv_heads, dim, pad;
  };
  for (const Case& c : {Case{0, 1, 8, 2, 1, 4, 0}, Case{1, 1, 1, 1, 1, 1, 0}, Case{3, 5, 9, 4, 2, 12, 7}}) {
    const int64_t ld = (c.heads + 2 * c.kv_heads) * c.dim + c.pad, cached = c.batch * c.capacity * c.kv_heads * c.dim;
    const std::vector<T> qkv = random_normal<T>(c.batch * c.count * ld, 1);
    const std::vector<int32_t> past = random_integers(c.batch, 0, static_cast<int32_t>(c.capacity - c.count), 2);
    expect_cuda_equals_cpu([&](auto& side, auto backend) {
      kernels::cache_append<T>(backend, {.qkv = side.in(qkv),
                                         .past = side.in(past),
                                         .q = side.template out<T>(c.batch * c.count * c.heads * c.dim, kExact),
                                         .k_cache = side.template out<T>(cached, kExact),
                                         .v_cache = side.template out<T>(cached, kExact),
                                         .batch = c.batch,
                                         .count = c.count,
                                         .capacity = c.capacity,
                                         .heads = c.heads,
                                         .kv_heads = c.kv_heads,
                                         .head_dim = c.dim,
                                         .ld = ld});
    });
  }
}

TYPED_TEST(AttentionCuda, CachedAttentionEqualsTheCpu) {
  using T = TypeParam;
  struct Case {
    int64_t batch, queries, capacity, heads, kv_heads, dim, window;
  };
  for (const Case& c :
       {Case{0, 1, 8, 2, 1, 4, 0}, Case{1, 1, 1, 1, 1, 1, 0}, Case{3, 2, 40, 4, 2, 12, 0}, Case{2, 1, 600, 2, 1, 20, 0},
        Case{3, 2, 40, 4, 2, 12, 7}, Case{2, 1, 600, 2, 1, 20, 290}, Case{1, 1, 1, 1, 1, 1, 9}}) {
    SCOPED_TRACE(testing::Message() << c.batch << " rows of capacity " << c.capacity << ", window " << c.window);
    const std::vector<T> q = random_normal<T>(c.batch * c.queries * c.heads * c.dim, 1);
    std::vector<T> k = random_normal<T>(c.batch * c.capacity * c.kv_heads * c.dim, 2), v = k;
    const std::vector<int32_t> past = random_integers(c.batch, static_cast<int32_t>(c.capacity - c.queries) / 2,
                                                      static_cast<int32_t>(c.capacity - c.queries), 3);
    // What lies behind the filled part of the cache is never read.
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t i = (past[b] + c.queries) * c.kv_heads * c.dim; i < c.capacity * c.kv_heads * c.dim; ++i)
        k[b * c.capacity * c.kv_heads * c.dim + i] = v[b * c.capacity * c.kv_heads * c.dim + i] =
            T(static_cast<Acc<T>>(kNaN));
    expect_cuda_equals_cpu([&](auto& side, auto backend) {
      kernels::cached_attention<T>(
          backend, {.q = side.in(q),
                    .k = side.in(k),
                    .v = side.in(v),
                    .past = side.in(past),
                    .o = side.template out<T>(c.batch * c.queries * c.heads * c.dim, cuda_tolerance<T>()),
                    .batch = c.batch,
                    .query_count = c.queries,
                    .capacity = c.capacity,
                    .heads = c.heads,
                    .kv_heads = c.kv_heads,
                    .head_dim = c.dim,
                    .scale = 0.3,
                    .window = c.window});
    });
  }
}

TEST(WindowKeysCuda, EqualTheCpu) {
  for (const int64_t window : {1, 7, 1000})
    for (const Shape& s : kShapes) {
      const std::vector<int32_t> first = first_keys(s);
      expect_cuda_equals_cpu([&](auto& side, auto backend) {
        kernels::window_keys(backend, {.first_key = side.in(first),
                                       .windowed = side.template out<int32_t>(s.tokens, kExact),
                                       .tokens = s.tokens,
                                       .window = window});
      });
    }
}

}  // namespace
}  // namespace sy
