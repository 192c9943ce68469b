// Grouped products of the experts' up projection, [rows, d] x [E, 2n, d], and their gradients.
//
// Peers: "gemm per expert", one dense product per expert with counts that the host knows; "equal groups", the same
// products on the same number of rows split evenly, which no routing can beat with that product: a ceiling.
#include "benchmarks/kernels/problem.h"
#include "kernels/dense/gemm.h"
#include "kernels/moe/grouped_gemm.h"

namespace sy::bench {

namespace {

struct Segments {
  std::vector<int32_t> start, count;
};

// As many rows per expert as possible, the rest to the first ones.
Segments equal_segments(const Routing& routing) {
  Segments s;
  const int64_t all = routing.assignments(), experts = routing.experts;
  for (int64_t e = 0, start = 0; e < experts; ++e) {
    const int64_t count = all / experts + (e < all % experts ? 1 : 0);
    s.start.push_back(static_cast<int32_t>(start));
    s.count.push_back(static_cast<int32_t>(count));
    start += count;
  }
  return s;
}

// Calls product(expert, first row, rows) for every expert that has rows.
template <class F>
std::function<void()> each_expert(Segments segments, F product) {
  return [segments = std::move(segments), product] {
    for (std::size_t e = 0; e < segments.count.size(); ++e)
      if (segments.count[e] > 0) product(static_cast<int64_t>(e), segments.start[e], segments.count[e]);
  };
}

// Ours on real segments, and `product` on real and on equal ones.
template <class F>
std::vector<Launch> with_peers(std::function<void()> ours, const Routing& routing, const F& product) {
  return {{kOurs, std::move(ours)},
          {"gemm per expert", each_expert({routing.seg_start, routing.seg_count}, product)},
          {"equal groups", each_expert(equal_segments(routing), product)}};
}

template <class Args>
kernels::Work ideal_work(Args args, const Routing& routing) {
  args.rows = routing.assignments();
  args.experts = routing.used_experts();
  return args.work();
}

int32_t expert_of(const Routing& routing, int64_t row) {
  const int32_t entry = routing.row_entry[static_cast<std::size_t>(row)];
  return entry < 0 ? -1 : routing.expert_N[static_cast<std::size_t>(entry)];
}

// Only rows of experts are compared: pads may hold anything.
Tensor largest_segment_of(const Tensor& rows, const Routing& routing, int64_t& first_row) {
  std::size_t largest = 0;
  for (std::size_t e = 0; e < routing.seg_count.size(); ++e)
    if (routing.seg_count[e] > routing.seg_count[largest]) largest = e;
  first_row = routing.seg_start[largest];
  return rows.slice(first_row, first_row + routing.seg_count[largest]);
}

Problem forward(Context& ctx, const MoeShape& shape, const Routing& routing, DType dtype) {
  return dispatch_float(dtype, [&]<class T>() {
    const int64_t in = shape.hidden, out = 2 * shape.width;
    const Pattern x_at(1, 1.0), w_at(2, 0.02);
    const Tensor x = x_at.tensor(ctx, {routing.rows, in}, dtype);
    const Tensor w = w_at.tensor(ctx, {shape.experts, out, in}, dtype), y = ctx.empty({routing.rows, out}, dtype);
    const auto tables = routing.device;
    const kernels::GroupedGemmForward<T> args{.x = x.data<T>(),
                                              .w = w.data<T>(),
                                              .y = y.data<T>(),
                                              .seg_start = tables.seg_start.template data<int32_t>(),
                                              .seg_count = tables.seg_count.template data<int32_t>(),
                                              .experts = shape.experts,
                                              .rows = routing.rows,
                                              .in_dim = in,
                                              .out_dim = out};
    const auto product = [&ctx, x, w, y, in, out](int64_t e, int64_t row, int64_t rows) {
      SY_LAUNCH(ctx, gemm,
                (kernels::Gemm<T, T>{.a = x.data<T>() + row * in,
                                     .b = w.data<T>() + e * out * in,
                                     .c = y.data<T>() + row * out,
                                     .m = rows,
                                     .n = out,
                                     .k = in,
                                     .lda = in,
                                     .ldb = in,
                                     .ldc = out,
                                     .transpose_b = true}));
    };
    int64_t first_row = 0;
    const Tensor checked = largest_segment_of(y, routing, first_row);
    const int64_t expert = expert_of(routing, first_row);
    const auto dot = [=](int64_t i) {
      const int64_t row = first_row + i / out, column = i % out;
      double sum = 0;
      for (int64_t k = 0; k < in; ++k) sum += x_at(row * in + k) * w_at((expert * out + column) * in + k);
      return sum;
    };
    return Problem{
        ideal_work(args, routing),
        with_peers([&ctx, args, x, w, y, tables] { SY_LAUNCH(ctx, grouped_gemm_forward, args); }, routing, product),
        {{checked, dot, tolerance_of(dtype)}}};
  });
}

Problem dgrad(Context& ctx, const MoeShape& shape, const Routing& routing, DType dtype) {
  return dispatch_float(dtype, [&]<class T>() {
    const int64_t in = shape.hidden, out = 2 * shape.width;
    const Pattern dy_at(1, 1.0), w_at(2, 0.02);
    const Tensor dy = dy_at.tensor(ctx, {routing.rows, out}, dtype);
    const Tensor w = w_at.tensor(ctx, {shape.experts, out, in}, dtype), dx = ctx.empty({routing.rows, in}, dtype);
    const auto tables = routing.device;
    const kernels::GroupedGemmDgrad<T> args{.dy = dy.data<T>(),
                                            .w = w.data<T>(),
                                            .dx = dx.data<T>(),
                                            .seg_start = tables.seg_start.template data<int32_t>(),
                                            .seg_count = tables.seg_count.template data<int32_t>(),
                                            .experts = shape.experts,
                                            .rows = routing.rows,
                                            .in_dim = in,
                                            .out_dim = out};
    const auto product = [&ctx, dy, w, dx, in, out](int64_t e, int64_t row, int64_t rows) {
      SY_LAUNCH(ctx, gemm,
                (kernels::Gemm<T, T>{.a = dy.data<T>() + row * out,
                                     .b = w.data<T>() + e * out * in,
                                     .c = dx.data<T>() + row * in,
                                     .m = rows,
                                     .n = in,
                                     .k = out,
                                     .lda = out,
                                     .ldb = in,
                                     .ldc = in}));
    };
    int64_t first_row = 0;
    const Tensor checked = largest_segment_of(dx, routing, first_row);
    const int64_t expert = expert_of(routing, first_row);
    const auto dot = [=](int64_t i) {
      const int64_t row = first_row + i / in, column = i % in;
      double sum = 0;
      for (int64_t o = 0; o < out; ++o) sum += dy_at(row * out + o) * w_at((expert * out + o) * in + column);
      return sum;
    };
    return Problem{
        ideal_work(args, routing),
        with_peers([&ctx, args, dy, w, dx, tables] { SY_LAUNCH(ctx, grouped_gemm_dgrad, args); }, routing, product),
        {{checked, dot, tolerance_of(dtype)}}};
  });
}

Problem wgrad(Context& ctx, const MoeShape& shape, const Routing& routing, DType dtype) {
  return dispatch_float(dtype, [&]<class T>() {
    const int64_t in = shape.hidden, out = 2 * shape.width;
    const Pattern dy_at(1, 1.0), x_at(2, 1.0);
    const Tensor dy = dy_at.tensor(ctx, {routing.rows, out}, dtype), x = x_at.tensor(ctx, {routing.rows, in}, dtype);
    const Tensor dw = ctx.zeros({shape.experts, out, in}, accumulation_dtype(dtype));
    const auto tables = routing.device;
    const kernels::GroupedGemmWgrad<T> args{.dy = dy.data<T>(),
                                            .x = x.data<T>(),
                                            .dw = dw.data<Acc<T>>(),
                                            .seg_start = tables.seg_start.template data<int32_t>(),
                                            .seg_count = tables.seg_count.template data<int32_t>(),
                                            .experts = shape.experts,
                                            .rows = routing.rows,
                                            .in_dim = in,
                                            .out_dim = out};
    const auto product = [&ctx, dy, x, dw, in, out](int64_t e, int64_t row, int64_t rows) {
      SY_LAUNCH(ctx, gemm,
                (kernels::Gemm<T, Acc<T>>{.a = dy.data<T>() + row * out,
                                          .b = x.data<T>() + row * in,
                                          .c = dw.data<Acc<T>>() + e * out * in,
                                          .m = out,
                                          .n = in,
                                          .k = rows,
                                          .lda = out,
                                          .ldb = in,
                                          .ldc = in,
                                          .transpose_a = true,
                                          .accumulate = true}));
    };
    const auto sum_over_rows = [=, start = routing.seg_start, count = routing.seg_count](int64_t i) {
      const auto e = static_cast<std::size_t>(i / (out * in));
      const int64_t o = i / in % out, column = i % in;
      double sum = 0;
      for (int64_t r = start[e]; r < start[e] + count[e]; ++r) sum += dy_at(r * out + o) * x_at(r * in + column);
      return sum;
    };
    return Problem{
        ideal_work(args, routing),
        with_peers([&ctx, args, dy, x, dw, tables] { SY_LAUNCH(ctx, grouped_gemm_wgrad, args); }, routing, product),
        {{dw, sum_over_rows, tolerance_of(dw.dtype())}}};
  });
}

}  // namespace

std::vector<KernelCase> product_cases() {
  return {{"grouped_gemm_forward", "x w^T of every expert's rows", true, forward},
          {"grouped_gemm_dgrad", "gradient to the rows", true, dgrad},
          {"grouped_gemm_wgrad", "gradient to the weights, accumulated", true, wgrad}};
}

}  // namespace sy::bench
