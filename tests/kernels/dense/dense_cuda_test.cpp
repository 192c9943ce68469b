// CUDA bodies of the dense kernels against their CPU bodies.
#include "kernels/dense/elementwise.h"
#include "kernels/dense/embedding.h"
#include "kernels/dense/gemm.h"
#include "kernels/dense/rms_norm.h"
#include "kernels/dense/rope.h"
#include "kernels/dense/sum_segments.h"
#include "kernels/dense/swiglu.h"
#include "tests/kernels/cuda_check.h"
#include "tests/kernels/moe/numeric_check.h"

namespace sy {
namespace {

using namespace sy::test;

template <class T>
class DenseCuda : public testing::Test {};
using ElementTypes = testing::Types<float, bf16, double>;
TYPED_TEST_SUITE(DenseCuda, ElementTypes);

TYPED_TEST(DenseCuda, RmsNormAndItsGradientEqualTheCpu) {
  using T = TypeParam;
  using A = Acc<T>;
  struct Shape {
    int64_t rows, groups, dim, pad;
  };
  for (const auto& [rows, groups, dim, pad] :
       {Shape{0, 1, 8, 0}, Shape{1, 1, 3, 0}, Shape{5, 3, 16, 7}, Shape{130, 1, 33, 0}, Shape{3, 1, 300, 4}})
    for (const bool with_weight_gradient : {true, false}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << groups << " x " << dim);
      const int64_t ld = groups * dim + pad, vectors = rows * groups;
      const std::vector<T> x = random_normal<T>(rows * ld, 1), dy = random_normal<T>(rows * ld, 2);
      const std::vector<T> weight = random_normal<T>(dim, 3);
      const std::vector<A> dweight = random_normal<A>(dim, 4);
      expect_cuda_equals_cpu([&](auto& side, auto backend) {
        const T *source = side.in(x), *w = side.in(weight);
        A* rstd = side.template out<A>(vectors, cuda_tolerance<A>());
        kernels::rms_norm_forward<T>(backend, {.x = source,
                                               .weight = w,
                                               .y = side.template out<T>(rows * ld, cuda_tolerance<T>()),
                                               .rstd = rstd,
                                               .rows = rows,
                                               .groups = groups,
                                               .dim = dim,
                                               .ldx = ld,
                                               .ldy = ld,
                                               .epsilon = 1e-5});
        const int64_t scratch = kernels::rms_norm_backward_partials(vectors, dim);
        kernels::rms_norm_backward<T>(
            backend, {.dy = side.in(dy),
                      .x = source,
                      .weight = w,
                      .rstd = rstd,
                      .dx = side.template out<T>(rows * ld, cuda_tolerance<T>()),
                      .dweight = with_weight_gradient ? side.inout(dweight, cuda_tolerance<A>()) : nullptr,
                      .partials = with_weight_gradient ? side.template scratch<A>(scratch) : nullptr,
                      .rows = rows,
                      .groups = groups,
                      .dim = dim,
                      .lddy = ld,
                      .ldx = ld,
                      .lddx = ld});
      });
    }
}

TYPED_TEST(DenseCuda, SwigluAndItsGradientEqualTheCpuUpToTheDeviceSideCount) {
  using T = TypeParam;
  struct Shape {
    int64_t rows, width;
    int32_t row_end;  // -1: no count given
  };
  for (const auto& [rows, width, row_end] :
       {Shape{0, 4, -1}, Shape{1, 1, -1}, Shape{9, 50, -1}, Shape{9, 50, 4}, Shape{9, 50, 0}, Shape{3, 300, 3}}) {
    SCOPED_TRACE(testing::Message() << rows << " x " << width << ", count " << row_end);
    const std::vector<T> h = random_normal<T>(rows * 2 * width, 1), da = random_normal<T>(rows * width, 2);
    expect_cuda_equals_cpu([&](auto& side, auto backend) {
      const int32_t* end = row_end < 0 ? nullptr : side.in(std::vector<int32_t>{row_end});
      const T* source = side.in(h);
      kernels::swiglu_forward<T>(backend, {.h = source,
                                           .a = side.template out<T>(rows * width, cuda_tolerance<T>()),
                                           .rows = rows,
                                           .width = width,
                                           .row_end = end});
      kernels::swiglu_backward<T>(backend, {.da = side.in(da),
                                            .h = source,
                                            .dh = side.template out<T>(rows * 2 * width, cuda_tolerance<T>()),
                                            .rows = rows,
                                            .width = width,
                                            .row_end = end});
    });
  }
}

TYPED_TEST(DenseCuda, RopeEqualsTheCpu) {
  using T = TypeParam;
  struct Shape {
    int64_t tokens, heads, dim, rest;
  };
  for (const auto& [tokens, heads, dim, rest] : {Shape{0, 2, 8, 0}, Shape{1, 1, 2, 0}, Shape{40, 3, 16, 9}})
    for (const bool inverse : {false, true}) {
      const int64_t ld = heads * dim + rest;
      const std::vector<T> x = random_normal<T>(tokens * ld, 1);
      const std::vector<int32_t> position = random_integers(tokens, 0, 5000, 2);
      std::vector<double> inv_freq(dim / 2);
      for (int64_t i = 0; i < dim / 2; ++i) inv_freq[i] = std::pow(10000.0, -2.0 * static_cast<double>(i) / dim);
      expect_cuda_equals_cpu([&](auto& side, auto backend) {
        kernels::rope<T>(backend, {.x = side.inout(x, cuda_tolerance<T>()),
                                   .position = side.in(position),
                                   .inv_freq = side.in(inv_freq),
                                   .tokens = tokens,
                                   .heads = heads,
                                   .head_dim = dim,
                                   .ld = ld,
                                   .scale = 1.25,
                                   .inverse = inverse});
      });
    }
}

TYPED_TEST(DenseCuda, EmbeddingAndItsGradientEqualTheCpu) {
  using T = TypeParam;
  using A = Acc<T>;
  struct Shape {
    int64_t tokens, vocab, dim;
    int32_t highest_id;
    int64_t first_row = 0;
  };
  // The last two: tables of a part of the ids, the last one of none that occurs.
  for (const auto& [tokens, vocab, dim, highest, first_row] :
       {Shape{0, 5, 4, 4}, Shape{1, 1, 1, 0}, Shape{30, 9, 20, 8}, Shape{600, 3, 5, 0}, Shape{300, 50, 270, 49},
        Shape{300, 20, 33, 49, 15}, Shape{40, 10, 5, 9, 10}}) {
    SCOPED_TRACE(testing::Message() << tokens << " tokens of " << vocab);
    const std::vector<T> table = random_normal<T>(vocab * dim, 1), dy = random_normal<T>(tokens * dim, 2);
    const std::vector<A> dtable = random_normal<A>(vocab * dim, 3);
    const std::vector<int32_t> id = random_integers(tokens, 0, highest, 4);
    expect_cuda_equals_cpu([&](auto& side, auto backend) {
      const int32_t* ids = side.in(id);
      kernels::embedding_forward<T>(backend, {.table = side.in(table),
                                              .id = ids,
                                              .y = side.template out<T>(tokens * dim, kExact),
                                              .tokens = tokens,
                                              .vocab = vocab,
                                              .dim = dim,
                                              .first_row = first_row});
      // The same additions in the same order: equal to the bit.
      kernels::embedding_backward<T>(backend, {.dy = side.in(dy),
                                               .id = ids,
                                               .dtable = side.inout(dtable, kExact),
                                               .tokens = tokens,
                                               .vocab = vocab,
                                               .dim = dim,
                                               .first_row = first_row});
    });
  }
}

TYPED_TEST(DenseCuda, ElementLoopsEqualTheCpu) {
  using T = TypeParam;
  for (const int64_t n : {0, 1, 255, 1000}) {
    const std::vector<T> a = random_normal<T>(n, 1), b = random_normal<T>(n, 2);
    expect_cuda_equals_cpu([&](auto& side, auto backend) {
      const T *x = side.in(a), *y = side.in(b);
      kernels::add<T>(backend, {.a = x, .b = y, .y = side.template out<T>(n, kExact), .count = n});
      T* in_place = side.inout(a, kExact);
      kernels::add<T>(backend, {.a = in_place, .b = y, .y = in_place, .count = n});
      kernels::add_row<T>(backend, {.row = y, .y = side.inout(a, kExact), .rows = n / 5, .columns = 5});
      kernels::scale<T>(backend, {.x = x, .y = side.template out<T>(n, kExact), .count = n, .factor = -1.7});
      kernels::fill<T>(backend, {.y = side.template out<T>(n, kExact), .count = n, .value = 1.0 / 3});
      kernels::copy_columns<T>(
          backend,
          {.x = x, .y = side.template out<T>(n / 10 * 9, kExact), .rows = n / 10, .columns = 7, .ldx = 10, .ldy = 9});
      for (const bool accumulate : {false, true}) {
        const auto target = [&](auto type) { return side.inout(random_normal<decltype(type)>(n, 5), kExact); };
        kernels::cast<T, float>(backend, {.x = x, .y = target(0.0f), .count = n, .accumulate = accumulate});
        kernels::cast<T, bf16>(backend, {.x = x, .y = target(bf16(0.0f)), .count = n, .accumulate = accumulate});
        kernels::cast<T, double>(backend, {.x = x, .y = target(0.0), .count = n, .accumulate = accumulate});
      }
    });
  }
  expect_cuda_equals_cpu([&](auto& side, auto backend) {
    kernels::fill<int32_t>(backend, {.y = side.template out<int32_t>(300, kExact), .count = 300, .value = -12});
  });
}

TYPED_TEST(DenseCuda, SumOfSegmentsHasTheBitsOfTheCpus) {
  using T = TypeParam;
  for (const int64_t ranks : {1, 2, 7})
    for (const int64_t count : {0, 1, 300, 5000}) {
      const std::vector<T> segments = random_normal<T>(ranks * count, 1);
      expect_cuda_equals_cpu([&](auto& side, auto backend) {
        kernels::sum_segments<T>(backend, {.segments = side.in(segments),
                                           .sum = side.template out<T>(count, kExact),
                                           .ranks = ranks,
                                           .count = count});
      });
    }
}

template <class In, class Out>
void expect_gemm_equal() {
  struct Shape {
    int64_t m, n, k;
  };
  for (const auto& [m, n, k] : {Shape{0, 3, 2}, Shape{1, 1, 1}, Shape{5, 7, 0}, Shape{65, 33, 20}, Shape{17, 130, 50}})
    for (const bool transpose_a : {false, true})
      for (const bool transpose_b : {false, true})
        for (const bool accumulate : {false, true}) {
          SCOPED_TRACE(testing::Message() << m << " x " << n << " x " << k << (transpose_a ? " TA" : "")
                                          << (transpose_b ? " TB" : "") << (accumulate ? " +=" : ""));
          const int64_t lda = (transpose_a ? m : k) + 3, ldb = (transpose_b ? k : n) + 2, ldc = n + 1;
          const std::vector<In> a = random_normal<In>((transpose_a ? k : m) * lda, 1);
          const std::vector<In> b = random_normal<In>((transpose_b ? n : k) * ldb, 2);
          const std::vector<Out> c = random_normal<Out>(m * ldc, 3);
          expect_cuda_equals_cpu([&](auto& side, auto backend) {
            kernels::gemm<In, Out>(backend, {.a = side.in(a),
                                             .b = side.in(b),
                                             .c = side.inout(c, cuda_tolerance<Out>()),
                                             .m = m,
                                             .n = n,
                                             .k = k,
                                             .lda = lda,
                                             .ldb = ldb,
                                             .ldc = ldc,
                                             .transpose_a = transpose_a,
                                             .transpose_b = transpose_b,
                                             .accumulate = accumulate});
          });
        }
}

TEST(GemmCuda, EqualsTheCpuForEveryTransposition) {
  expect_gemm_equal<float, float>();
  expect_gemm_equal<double, double>();
  expect_gemm_equal<bf16, bf16>();
  expect_gemm_equal<bf16, float>();
}

// An algorithm that was chosen for an aligned operand may not be used for a slice that begins anywhere.
TEST(GemmCuda, OperandsMayBeginAtAnyElement) {
  constexpr int64_t kWidth = 16;
  const std::vector<bf16> a = random_normal<bf16>(kWidth * kWidth + 1, 1), b = random_normal<bf16>(a.size(), 2);
  for (const int64_t a_offset : {0, 1})
    for (const int64_t b_offset : {0, 1})
      for (const int64_t c_offset : {0, 1})
        expect_cuda_equals_cpu([&](auto& side, auto backend) {
          bf16* c = side.inout(a, cuda_tolerance<bf16>());
          kernels::gemm<bf16, bf16>(backend, {.a = side.in(a) + a_offset,
                                              .b = side.in(b) + b_offset,
                                              .c = c + c_offset,
                                              .m = kWidth,
                                              .n = kWidth,
                                              .k = kWidth,
                                              .lda = kWidth,
                                              .ldb = kWidth,
                                              .ldc = kWidth});
        });
}

}  // namespace
}  // namespace sy
