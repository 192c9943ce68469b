// CUDA bodies of the row permutation, the grouped products and the combine step against their CPU bodies. Pad rows of
// every input hold NaN: whoever reads one shows it.
#include <limits>

#include "kernels/moe/combine.h"
#include "kernels/moe/gather_rows.h"
#include "kernels/moe/grouped_gemm.h"
#include "kernels/moe/sigmoid_gate.h"
#include "tests/kernels/cuda_check.h"
#include "tests/kernels/moe/ragged_routing.h"

namespace sy {
namespace {

using namespace sy::test;

template <class T>
class RowsCuda : public testing::Test {};
using ElementTypes = testing::Types<float, bf16, double>;
TYPED_TEST_SUITE(RowsCuda, ElementTypes);

// [rows, dim] with NaN in every row that holds no token.
template <class T>
std::vector<T> rows_with_nan_pads(const RaggedRouting& r, int64_t dim, uint64_t seed) {
  std::vector<T> x = random_normal<T>(r.rows * dim, seed);
  for (int64_t i = 0; i < r.rows; ++i)
    if (r.row_token[i] < 0) std::fill_n(x.begin() + i * dim, dim, T(std::numeric_limits<Acc<T>>::quiet_NaN()));
  return x;
}

// 1 for the elements of rows that hold a token.
std::vector<char> live_rows(const RaggedRouting& r, int64_t dim) {
  std::vector<char> live(r.rows * dim);
  for (int64_t i = 0; i < r.rows * dim; ++i) live[i] = r.row_token[i / dim] >= 0;
  return live;
}

TYPED_TEST(RowsCuda, GatherAndItsGradientEqualTheCpu) {
  using T = TypeParam;
  using A = Acc<T>;
  for (const RaggedRouting& r : ragged_routings())
    for (const int64_t dim : {1, 40})
      for (const bool weighted : {false, true}) {
        SCOPED_TRACE(testing::Message() << r.name << ", dim " << dim << (weighted ? ", weighted" : ""));
        const std::vector<T> x = random_normal<T>(r.tokens * dim, 1), dy = rows_with_nan_pads<T>(r, dim, 2);
        const std::vector<A> weight = random_normal<A>(r.entries, 3);
        expect_cuda_equals_cpu([&](auto& side, auto backend) {
          const T* source = side.in(x);
          const A* w = weighted ? side.in(weight) : nullptr;
          kernels::gather_rows_forward<T>(backend, {.x = source,
                                                    .row_token = side.in(r.row_token),
                                                    .row_entry = side.in(r.row_entry),
                                                    .row_end = side.in(r.row_end),
                                                    .weight = w,
                                                    .y = side.template out<T>(r.rows * dim, cuda_tolerance<T>()),
                                                    .rows = r.rows,
                                                    .dim = dim});
          kernels::gather_rows_backward<T>(
              backend, {.dy = side.in(dy),
                        .x = source,
                        .entry_row = side.in(r.entry_row),
                        .token_start = side.in(r.token_start),
                        .token_entry = side.in(r.token_entry),
                        .weight = w,
                        .dx = side.template out<T>(r.tokens * dim, cuda_tolerance<T>()),
                        .dweight = weighted ? side.template out<A>(r.entries, cuda_tolerance<A>()) : nullptr,
                        .tokens = r.tokens,
                        .entries = r.entries,
                        .dim = dim});
        });
      }
}

TYPED_TEST(RowsCuda, CombineAndItsGradientEqualTheCpu) {
  using T = TypeParam;
  using A = Acc<T>;
  for (const RaggedRouting& r : ragged_routings())
    for (const bool weighted : {false, true})
      for (const bool with_identity : {false, true}) {
        const int64_t dim = with_identity ? 33 : 8;
        SCOPED_TRACE(testing::Message() << r.name << (weighted ? ", weighted" : "")
                                        << (with_identity ? ", identity" : ""));
        const std::vector<T> y = rows_with_nan_pads<T>(r, dim, 1), dout = random_normal<T>(r.tokens * dim, 2);
        const std::vector<T> identity = random_normal<T>(r.tokens * dim, 3);
        const std::vector<A> weight = random_normal<A>(r.entries, 4);
        expect_cuda_equals_cpu([&](auto& side, auto backend) {
          const T *rows = side.in(y), *same = with_identity ? side.in(identity) : nullptr;
          const A* w = weighted ? side.in(weight) : nullptr;
          const int32_t *entry_row = side.in(r.entry_row), *start = side.in(r.token_start);
          const int32_t* entry = side.in(r.token_entry);
          kernels::combine_forward<T>(backend, {.y = rows,
                                                .weight = w,
                                                .identity = same,
                                                .entry_row = entry_row,
                                                .token_start = start,
                                                .token_entry = entry,
                                                .out = side.template out<T>(r.tokens * dim, cuda_tolerance<T>()),
                                                .tokens = r.tokens,
                                                .dim = dim});
          T* didentity = with_identity ? side.template out<T>(r.tokens * dim, cuda_tolerance<T>()) : nullptr;
          kernels::combine_backward<T>(
              backend, {.dout = side.in(dout),
                        .y = rows,
                        .identity = same,
                        .weight = w,
                        .entry_row = entry_row,
                        .token_start = start,
                        .token_entry = entry,
                        .row_token = side.in(r.row_token),
                        .row_entry = side.in(r.row_entry),
                        .row_end = side.in(r.row_end),
                        .dy = side.template out<T>(r.rows * dim, cuda_tolerance<T>()),
                        .dweight = weighted ? side.template out<A>(r.entries, cuda_tolerance<A>()) : nullptr,
                        .didentity = didentity,
                        .tokens = r.tokens,
                        .entries = r.entries,
                        .rows = r.rows,
                        .dim = dim});
        });
      }
}

TYPED_TEST(RowsCuda, GroupedProductsEqualTheCpu) {
  using T = TypeParam;
  using A = Acc<T>;
  struct Widths {
    int64_t in, out;
  };
  for (const RaggedRouting& r : ragged_routings())
    for (const auto& [in, out] : {Widths{1, 1}, Widths{20, 70}, Widths{65, 33}}) {
      if (r.experts > 10 && in == 65) continue;  // many experts times many tiles only repeats what is covered
      SCOPED_TRACE(testing::Message() << r.name << ", " << in << " -> " << out);
      const std::vector<T> x = rows_with_nan_pads<T>(r, in, 1), dy = rows_with_nan_pads<T>(r, out, 2);
      const std::vector<T> w = random_normal<T>(r.experts * in * out, 3);
      const std::vector<A> dw = random_normal<A>(r.experts * in * out, 4);
      expect_cuda_equals_cpu([&](auto& side, auto backend) {
        const T *rows = side.in(x), *drows = side.in(dy), *weights = side.in(w);
        const int32_t *start = side.in(r.seg_start), *count = side.in(r.seg_count);
        kernels::grouped_gemm_forward<T>(
            backend, {.x = rows,
                      .w = weights,
                      .y = side.template out<T>(r.rows * out, cuda_tolerance<T>(), live_rows(r, out)),
                      .seg_start = start,
                      .seg_count = count,
                      .experts = r.experts,
                      .rows = r.rows,
                      .in_dim = in,
                      .out_dim = out});
        kernels::grouped_gemm_dgrad<T>(backend,
                                       {.dy = drows,
                                        .w = weights,
                                        .dx = side.template out<T>(r.rows * in, cuda_tolerance<T>(), live_rows(r, in)),
                                        .seg_start = start,
                                        .seg_count = count,
                                        .experts = r.experts,
                                        .rows = r.rows,
                                        .in_dim = in,
                                        .out_dim = out});
        kernels::grouped_gemm_wgrad<T>(backend, {.dy = drows,
                                                 .x = rows,
                                                 .dw = side.inout(dw, cuda_tolerance<A>()),
                                                 .seg_start = start,
                                                 .seg_count = count,
                                                 .experts = r.experts,
                                                 .rows = r.rows,
                                                 .in_dim = in,
                                                 .out_dim = out});
      });
    }
}

TYPED_TEST(RowsCuda, TheSigmoidGateAndItsGradientEqualTheCpu) {
  using T = TypeParam;
  struct Shape {
    int64_t rows, dim;
  };
  for (const auto& [rows, dim] : {Shape{0, 4}, Shape{1, 1}, Shape{30, 77}, Shape{5, 300}}) {
    SCOPED_TRACE(testing::Message() << rows << " x " << dim);
    const std::vector<T> gate = random_normal<T>(rows, 1), x = random_normal<T>(rows * dim, 2),
                         dy = random_normal<T>(rows * dim, 3);
    expect_cuda_equals_cpu([&](auto& side, auto backend) {
      const T *gates = side.in(gate), *source = side.in(x);
      kernels::sigmoid_gate_forward<T>(backend, {.gate = gates,
                                                 .x = source,
                                                 .y = side.template out<T>(rows * dim, cuda_tolerance<T>()),
                                                 .rows = rows,
                                                 .dim = dim});
      kernels::sigmoid_gate_backward<T>(backend, {.dy = side.in(dy),
                                                  .gate = gates,
                                                  .x = source,
                                                  .dx = side.template out<T>(rows * dim, cuda_tolerance<T>()),
                                                  .dgate = side.template out<T>(rows, cuda_tolerance<T>()),
                                                  .rows = rows,
                                                  .dim = dim});
    });
  }
}

}  // namespace
}  // namespace sy
