// CPU body of the weighted sum of expert rows: tokens forward, rows and then tokens backward; one writer per output
// row.
#include "kernels/moe/combine.h"

#include "kernels/moe/cpu_rows.h"

namespace sy::kernels {

template <class T>
void combine_forward(Cpu, const CombineForward<T>& args) {
  using A = Acc<T>;
  const int64_t dim = args.dim;
  if (args.tokens == 0 || dim == 0) return;
#pragma omp parallel for schedule(static) if (args.tokens * dim >= cpu_rows::kParallelElements)
  for (int64_t t = 0; t < args.tokens; ++t) {
    for (int64_t first = 0; first < dim; first += cpu_rows::kColumns) {
      const int64_t columns = std::min(cpu_rows::kColumns, dim - first);
      A sum[cpu_rows::kColumns] = {};
      for (int64_t i = args.token_start[t]; i < args.token_start[t + 1]; ++i) {
        const int64_t n = args.token_entry[i], row = args.entry_row[n];
        const T* source = row >= 0 ? args.y + row * dim : args.identity ? args.identity + t * dim : nullptr;
        if (source) cpu_rows::add_scaled<T>(sum, source + first, args.weight ? args.weight[n] : A(1), columns);
      }
      cpu_rows::store(args.out + t * dim + first, sum, columns);
    }
  }
}

template <class T>
void combine_backward(Cpu, const CombineBackward<T>& args) {
  using A = Acc<T>;
  const int64_t dim = args.dim;
  // Holes stand in no token's list, so their gradient is written here.
  if (args.dweight) cpu_rows::clear(args.dweight, args.entries);
  if (dim == 0) return;
  const int64_t rows = args.rows > 0 ? *args.row_end : 0;
  SY_KERNEL_CHECK(rows <= args.rows);
#pragma omp parallel for schedule(static) if (rows * dim >= cpu_rows::kParallelElements)
  for (int64_t r = 0; r < rows; ++r) {
    T* dy = args.dy + r * dim;
    if (args.row_token[r] < 0) {
      cpu_rows::clear(dy, dim);
      continue;
    }
    const T* dout = args.dout + args.row_token[r] * dim;
    if (args.weight) cpu_rows::scale(dy, dout, args.weight[args.row_entry[r]], dim);
    else std::copy_n(dout, dim, dy);
  }
  if (!args.dweight && !args.didentity) return;
#pragma omp parallel for schedule(static) if ((args.tokens + args.entries) * dim >= cpu_rows::kParallelElements)
  for (int64_t t = 0; t < args.tokens; ++t) {
    const T* dout = args.dout + t * dim;
    A dropped = 0;  // weight that fell back on the identity
    for (int64_t i = args.token_start[t]; i < args.token_start[t + 1]; ++i) {
      const int64_t n = args.token_entry[i], row = args.entry_row[n];
      if (row < 0) dropped += args.weight ? args.weight[n] : A(1);
      const T* source = row >= 0 ? args.y + row * dim : args.identity ? args.identity + t * dim : nullptr;
      if (args.dweight && source) args.dweight[n] = cpu_rows::dot(dout, source, dim);
    }
    if (args.didentity) cpu_rows::scale(args.didentity + t * dim, dout, dropped, dim);
  }
}

template void combine_forward<float>(Cpu, const CombineForward<float>&);
template void combine_forward<bf16>(Cpu, const CombineForward<bf16>&);
template void combine_forward<double>(Cpu, const CombineForward<double>&);
template void combine_backward<float>(Cpu, const CombineBackward<float>&);
template void combine_backward<bf16>(Cpu, const CombineBackward<bf16>&);
template void combine_backward<double>(Cpu, const CombineBackward<double>&);

}  // namespace sy::kernels
