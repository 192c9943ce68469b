// Causal attention, forward and backward, against f64 loops over every (query, key) pair: sequence and document masks,
// sliding windows, GQA, ragged sizes. cached_attention against the same loops.
#include "kernels/attention/causal_attention.h"

#include <limits>

#include "kernels/attention/window_keys.h"

#include "tests/kernels/compare.h"

namespace sy {
namespace {

using namespace kernel_test;
using kernels::Cpu;

struct Case {
  std::vector<int32_t> first_key;
  int64_t heads, kv_heads, head_dim;
  int64_t tokens() const { return static_cast<int64_t>(first_key.size()); }
  int64_t width() const { return (heads + 2 * kv_heads) * head_dim; }
  int64_t ld() const { return width() + 3; }
};

// Documents of the given lengths, one after the other.
std::vector<int32_t> documents(std::initializer_list<int32_t> lengths) {
  std::vector<int32_t> first_key;
  for (const int32_t length : lengths)
    first_key.insert(first_key.end(), static_cast<size_t>(length), static_cast<int32_t>(first_key.size()));
  return first_key;
}
std::vector<int32_t> window(int32_t tokens, int32_t width) {
  std::vector<int32_t> first_key;
  for (int32_t i = 0; i < tokens; ++i) first_key.push_back(std::max(0, i - width + 1));
  return first_key;
}

std::vector<Case> cases() {
  return {{documents({1}), 1, 1, 8},
          {documents({257}), 2, 1, 16},
          {documents({100, 1, 1, 37, 64, 3}), 4, 2, 24},
          {documents({31, 33, 200}), 3, 3, 5},
          {window(150, 20), 2, 2, 64},
          {documents({130}), 4, 1, 40},
          {documents({}), 2, 1, 8},
          {window(300, 129), 6, 2, 33}};
}

struct Reference {
  std::vector<double> o, lse, dqkv;
};

// q, k, v rows addressed by (token, vector): the vectors of a qkv row in order.
Reference reference(const Case& c, const std::vector<double>& qkv, const std::vector<double>& go, double scale) {
  const int64_t dim = c.head_dim, group = c.heads / c.kv_heads;
  Reference r{std::vector<double>(static_cast<size_t>(c.tokens() * c.heads * dim)),
              std::vector<double>(static_cast<size_t>(c.tokens() * c.heads)), std::vector<double>(qkv.size())};
  const auto at = [&](int64_t token, int64_t vector) { return token * c.ld() + vector * dim; };
  for (int64_t i = 0; i < c.tokens(); ++i)
    for (int64_t h = 0; h < c.heads; ++h) {
      const int64_t key = c.heads + h / group, value = key + c.kv_heads, out = (i * c.heads + h) * dim;
      std::vector<double> p;
      double top = -1e300, total = 0;
      for (int64_t j = c.first_key[i]; j <= i; ++j) {
        double s = 0;
        for (int64_t d = 0; d < dim; ++d) s += qkv[at(i, h) + d] * qkv[at(j, key) + d];
        p.push_back(s * scale);
        top = std::max(top, s * scale);
      }
      for (double& s : p) total += (s = std::exp(s - top));
      r.lse[i * c.heads + h] = top + std::log(total);
      double delta = 0;
      for (int64_t j = c.first_key[i]; j <= i; ++j)
        for (int64_t d = 0; d < dim; ++d) r.o[out + d] += p[j - c.first_key[i]] / total * qkv[at(j, value) + d];
      for (int64_t d = 0; d < dim; ++d) delta += r.o[out + d] * go[out + d];
      for (int64_t j = c.first_key[i]; j <= i; ++j) {
        const double weight = p[j - c.first_key[i]] / total;
        double dp = 0;
        for (int64_t d = 0; d < dim; ++d) dp += go[out + d] * qkv[at(j, value) + d];
        const double ds = weight * (dp - delta) * scale;
        for (int64_t d = 0; d < dim; ++d) {
          r.dqkv[at(j, value) + d] += weight * go[out + d];
          r.dqkv[at(j, key) + d] += ds * qkv[at(i, h) + d];
          r.dqkv[at(i, h) + d] += ds * qkv[at(j, key) + d];
        }
      }
    }
  return r;
}

template <class T>
struct Results {
  std::vector<T> o, dqkv;
  std::vector<Acc<T>> lse;
};

template <class T>
Results<T> run(const Case& c, const std::vector<T>& qkv, const std::vector<T>& go, double scale) {
  Results<T> r{std::vector<T>(static_cast<size_t>(c.tokens() * c.heads * c.head_dim)), std::vector<T>(qkv.size()),
               std::vector<Acc<T>>(static_cast<size_t>(c.tokens() * c.heads))};
  kernels::CausalAttentionForward<T> f{qkv.data(), c.first_key.data(), r.o.data(), r.lse.data(), c.tokens(), c.heads,
                                       c.kv_heads, c.head_dim,         c.ld(),     c.tokens(),   scale};
  kernels::causal_attention_forward(Cpu{}, f);
  kernels::CausalAttentionBackward<T> b{go.data(),     qkv.data(), r.o.data(), r.lse.data(), c.first_key.data(),
                                        r.dqkv.data(), c.tokens(), c.heads,    c.kv_heads,   c.head_dim,
                                        c.ld(),        c.tokens(), scale};
  kernels::causal_attention_backward(Cpu{}, b);
  return r;
}

// Gaps between rows hold NaN.
template <class T>
std::vector<T> random_qkv(const Case& c, uint64_t seed) {
  std::vector<T> qkv = random_vector<T>(c.tokens() * c.ld(), seed, 2.0);
  for (int64_t t = 0; t < c.tokens(); ++t)
    for (int64_t g = c.width(); g < c.ld(); ++g)
      qkv[t * c.ld() + g] = from_double<T>(std::numeric_limits<double>::quiet_NaN());
  return qkv;
}

template <class T>
class CausalAttentionTest : public ::testing::Test {};
TYPED_TEST_SUITE(CausalAttentionTest, ElementTypes);

TYPED_TEST(CausalAttentionTest, ForwardAndBackwardEqualF64Loops) {
  using T = TypeParam;
  for (const Case& c : cases()) {
    SCOPED_TRACE(testing::Message() << "tokens " << c.tokens() << " heads " << c.heads << " dim " << c.head_dim);
    const double scale = 1.0 / std::sqrt(static_cast<double>(c.head_dim));
    const std::vector<T> qkv = random_qkv<T>(c, 5), go = random_vector<T>(c.tokens() * c.heads * c.head_dim, 6);
    const Results<T> got = run(c, qkv, go, scale);
    std::vector<double> wide = widened(qkv);
    for (double& value : wide)
      if (std::isnan(value)) value = 0;  // the gaps
    const Reference want = reference(c, wide, widened(go), scale);
    expect_close<T>(got.o, want.o, "o");
    expect_close<Acc<T>>(got.lse, want.lse, "lse");
    // f32: scores of size ~10 carry 1e-6 absolute error into exp; bf16: delta is formed with the rounded o.
    expect_close<T>(got.dqkv, want.dqkv, "dqkv", 4.0);
  }
}

TYPED_TEST(CausalAttentionTest, BitsDoNotDependOnTheNumberOfThreads) {
  using T = TypeParam;
  const Case c{documents({200, 90, 310}), 4, 2, 32};
  const std::vector<T> qkv = random_qkv<T>(c, 7), go = random_vector<T>(c.tokens() * c.heads * c.head_dim, 8);
  const auto one = with_threads(1, [&] { return run(c, qkv, go, 0.2); });
  for (const int threads : {2, 3}) {
    const auto many = with_threads(threads, [&] { return run(c, qkv, go, 0.2); });
    EXPECT_TRUE(same_bits(one.o, many.o) && same_bits(one.lse, many.lse) && same_bits(one.dqkv, many.dqkv)) << threads;
  }
}

TYPED_TEST(CausalAttentionTest, ALaterTokenAndAnotherDocumentChangeNothing) {
  using T = TypeParam;
  const Case c{documents({70, 90}), 2, 1, 16};
  std::vector<T> qkv = random_qkv<T>(c, 9);
  const std::vector<T> go = random_vector<T>(c.tokens() * c.heads * c.head_dim, 10);
  const auto before = run(c, qkv, go, 0.25);
  for (int64_t i = 0; i < c.width(); ++i) qkv[120 * c.ld() + i] = from_double<T>(3.5);  // in the second document
  const auto after = run(c, qkv, go, 0.25);
  const int64_t row = c.heads * c.head_dim;
  const auto head = [&](const std::vector<T>& v, int64_t end) { return std::vector<T>(v.begin(), v.begin() + end); };
  EXPECT_TRUE(same_bits(head(before.o, 120 * row), head(after.o, 120 * row)));
  EXPECT_FALSE(same_bits(before.o, after.o));
  EXPECT_TRUE(same_bits(head(before.dqkv, 70 * c.ld()), head(after.dqkv, 70 * c.ld())));
}

TYPED_TEST(CausalAttentionTest, BitsOfADocumentDoNotDependOnItsPlaceAmongOthers) {
  using T = TypeParam;
  const Case many{documents({96, 101, 40}), 2, 1, 16}, alone{documents({101}), 2, 1, 16};
  const int64_t start = 96, row = many.heads * many.head_dim;
  const std::vector<T> qkv = random_qkv<T>(many, 16), go = random_vector<T>(many.tokens() * row, 17);
  const auto part = [](const auto& values, int64_t begin, int64_t count) {
    return std::vector(values.begin() + begin, values.begin() + begin + count);
  };
  const auto together = run(many, qkv, go, 0.25);
  const auto apart = run(alone, part(qkv, start * many.ld(), 101 * many.ld()), part(go, start * row, 101 * row), 0.25);
  EXPECT_TRUE(same_bits(part(together.o, start * row, 101 * row), apart.o));
  for (int64_t t = 0; t < 101; ++t)
    EXPECT_TRUE(same_bits(part(together.dqkv, (start + t) * many.ld(), many.width()),
                          part(apart.dqkv, t * many.ld(), many.width())));
}

TYPED_TEST(CausalAttentionTest, LargeScoresDoNotOverflow) {
  using T = TypeParam;
  const Case c{documents({100}), 1, 1, 8};
  const std::vector<T> qkv = random_qkv<T>(c, 11), go = random_vector<T>(c.tokens() * 8, 12);
  const Results<T> got = run(c, qkv, go, 1000.0);
  for (const T value : got.o) EXPECT_TRUE(std::isfinite(to_double(value)));
  for (int64_t t = 0; t < c.tokens(); ++t)
    for (int64_t i = 0; i < c.width(); ++i) EXPECT_TRUE(std::isfinite(to_double(got.dqkv[t * c.ld() + i])));
}

// Windows that one row's tokens all fill, one that no row fills, and none.
TYPED_TEST(CausalAttentionTest, CachedAttentionEqualsTheUncachedLoops) {
  using T = TypeParam;
  for (const int64_t window : {0, 1, 34, 200}) {
    SCOPED_TRACE(testing::Message() << "window " << window);
    const int64_t batch = 3, count = 2, capacity = 90, heads = 4, kv_heads = 2, dim = 20;
    const std::vector<int32_t> past{0, 88, 33};
    const std::vector<T> q = random_vector<T>(batch * count * heads * dim, 13, 2.0);
    std::vector<T> k = random_vector<T>(batch * capacity * kv_heads * dim, 14, 2.0),
                   v = random_vector<T>(batch * capacity * kv_heads * dim, 15);
    std::vector<T> o(q.size());
    std::vector<double> want(q.size());
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t i = 0; i < count; ++i)
        for (int64_t h = 0; h < heads; ++h) {
          const int64_t out = ((b * count + i) * heads + h) * dim, keys = past[b] + i + 1;
          const auto row = [&](int64_t j) { return ((b * capacity + j) * kv_heads + h / 2) * dim; };
          std::vector<double> p(static_cast<size_t>(keys));
          double total = 0;
          const int64_t first = window == 0 ? 0 : std::max<int64_t>(0, keys - window);
          for (int64_t j = first; j < keys; ++j) {
            for (int64_t d = 0; d < dim; ++d) p[j] += to_double(q[out + d]) * to_double(k[row(j) + d]) * 0.3;
            total += (p[j] = std::exp(p[j]));
          }
          for (int64_t j = first; j < keys; ++j)
            for (int64_t d = 0; d < dim; ++d) want[out + d] += p[j] / total * to_double(v[row(j) + d]);
        }
    // What lies beyond the visible positions must not be read.
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t j = past[b] + count; j < capacity; ++j)
        for (int64_t d = 0; d < kv_heads * dim; ++d)
          k[(b * capacity + j) * kv_heads * dim + d] = v[(b * capacity + j) * kv_heads * dim + d] =
              from_double<T>(std::numeric_limits<double>::quiet_NaN());
    kernels::CachedAttention<T> args{q.data(), k.data(), v.data(), past.data(), o.data(), batch, count,
                                     capacity, heads,    kv_heads, dim,         0.3,      window};
    kernels::cached_attention(Cpu{}, args);
    expect_close<T>(o, want, "o");
  }
}

TEST(WindowKeys, ATokenSeesTheLastOfItsDocument) {
  const std::vector<int32_t> first_key = documents({5, 1, 3});
  const auto windowed = [&](int64_t window) {
    std::vector<int32_t> keys(first_key.size());
    kernels::window_keys(Cpu{}, {.first_key = first_key.data(),
                                 .windowed = keys.data(),
                                 .tokens = static_cast<int64_t>(keys.size()),
                                 .window = window});
    return keys;
  };
  EXPECT_EQ(windowed(1), (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(windowed(3), (std::vector<int32_t>{0, 0, 0, 1, 2, 5, 6, 6, 6}));
  EXPECT_EQ(windowed(5), first_key);
}

}  // namespace
}  // namespace sy
