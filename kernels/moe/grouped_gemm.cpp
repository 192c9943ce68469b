// CPU bodies of the grouped products: (expert, block of the output) tasks over the blocked product, dealt out to the
// threads as they come; each output element is formed by one task, so the bits do not depend on who takes it.
#include "kernels/moe/grouped_gemm.h"

#include <vector>

#include "kernels/cpu/gemm_product.h"
#include "kernels/cpu/parallel.h"

namespace sy::kernels {

namespace {

// Runs product(e), a cpu::Product, for every expert. Columns are split first: rows of a block share its packed columns.
template <class In, class F>
void for_experts(int64_t experts, F&& product) {
  const int64_t row_step = cpu::product_row_step(), column_step = cpu::product_column_step<In>();
  const int threads = omp_get_max_threads();
  using Part = decltype(product(int64_t{0}));
  std::vector<Part> parts;
  double total = 0;
  for (int64_t e = 0; e < experts; ++e) {
    const Part whole = product(e);
    if (whole.m > 0) total += static_cast<double>(whole.m) * static_cast<double>(whole.k);
  }
  for (int64_t e = 0; e < experts; ++e) {
    const Part whole = product(e);
    if (whole.m <= 0 || whole.n <= 0 || (whole.k <= 0 && whole.accumulate)) continue;
    // About eight tasks per thread balance the load; one thread wants none of the repeated packing.
    const double share =
        static_cast<double>(whole.m) * static_cast<double>(std::max<int64_t>(1, whole.k)) / std::max(1.0, total);
    const int64_t wanted = threads == 1 ? 1 : std::max<int64_t>(1, static_cast<int64_t>(share * 8 * threads + 0.5));
    const int64_t column_tiles = (whole.n + column_step - 1) / column_step;
    const int64_t row_tiles = (whole.m + row_step - 1) / row_step;
    const int64_t column_parts = std::min(wanted, std::max<int64_t>(1, column_tiles * column_step / 256));
    const int64_t row_parts = std::min(row_tiles, (wanted + column_parts - 1) / column_parts);
    for (int64_t s = 0; s < column_parts; ++s)
      for (int64_t r = 0; r < row_parts; ++r) {
        const int64_t m0 = row_tiles * r / row_parts * row_step;
        const int64_t m1 = std::min(whole.m, row_tiles * (r + 1) / row_parts * row_step);
        const int64_t n0 = column_tiles * s / column_parts * column_step;
        const int64_t n1 = std::min(whole.n, column_tiles * (s + 1) / column_parts * column_step);
        parts.push_back(whole.part(m0, m1 - m0, n0, n1 - n0));
      }
  }
  const int64_t count = static_cast<int64_t>(parts.size());
#pragma omp parallel for schedule(dynamic, 1) if (count > 1)
  for (int64_t i = 0; i < count; ++i) cpu::serial_product(parts[static_cast<size_t>(i)]);
}

}  // namespace

template <class T>
void grouped_gemm_forward(Cpu, const GroupedGemmForward<T>& args) {
  for_experts<T>(args.experts, [&](int64_t e) {
    const int64_t start = args.seg_start[e];
    cpu::Product<T, T> p;
    p.a = {args.x + start * args.in_dim, args.in_dim, true};
    p.b = {args.w + e * args.out_dim * args.in_dim, args.in_dim, true};
    p.c = args.y + start * args.out_dim;
    p.ldc = args.out_dim;
    p.m = args.seg_count[e], p.n = args.out_dim, p.k = args.in_dim;
    return p;
  });
}

template <class T>
void grouped_gemm_dgrad(Cpu, const GroupedGemmDgrad<T>& args) {
  for_experts<T>(args.experts, [&](int64_t e) {
    const int64_t start = args.seg_start[e];
    cpu::Product<T, T> p;
    p.a = {args.dy + start * args.out_dim, args.out_dim, true};
    p.b = {args.w + e * args.out_dim * args.in_dim, args.in_dim, false};
    p.c = args.dx + start * args.in_dim;
    p.ldc = args.in_dim;
    p.m = args.seg_count[e], p.n = args.in_dim, p.k = args.out_dim;
    return p;
  });
}

template <class T>
void grouped_gemm_wgrad(Cpu, const GroupedGemmWgrad<T>& args) {
  for_experts<T>(args.experts, [&](int64_t e) {
    const int64_t start = args.seg_start[e];
    cpu::Product<T, Acc<T>> p;
    p.a = {args.dy + start * args.out_dim, args.out_dim, false};
    p.b = {args.x + start * args.in_dim, args.in_dim, false};
    p.c = args.dw + e * args.out_dim * args.in_dim;
    p.ldc = args.in_dim;
    p.m = args.out_dim, p.n = args.in_dim, p.k = args.seg_count[e];
    p.accumulate = true;
    return p;
  });
}

#define SY_INSTANTIATE(T)                                                \
  template void grouped_gemm_forward(Cpu, const GroupedGemmForward<T>&); \
  template void grouped_gemm_dgrad(Cpu, const GroupedGemmDgrad<T>&);     \
  template void grouped_gemm_wgrad(Cpu, const GroupedGemmWgrad<T>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(bf16)
SY_INSTANTIATE(double)
#undef SY_INSTANTIATE

}  // namespace sy::kernels
