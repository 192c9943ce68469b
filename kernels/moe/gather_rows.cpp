// CPU body of the row permutation: rows forward, tokens backward, so every output row has one writer.
#include "kernels/moe/gather_rows.h"

#include "kernels/moe/cpu_rows.h"

namespace sy::kernels {

template <class T>
void gather_rows_forward(Cpu, const GatherRowsForward<T>& args) {
  const int64_t dim = args.dim;
  if (args.rows == 0 || dim == 0) return;
  const int64_t rows = *args.row_end;
  SY_KERNEL_CHECK(rows <= args.rows);
#pragma omp parallel for schedule(static) if (rows * dim >= cpu_rows::kParallelElements)
  for (int64_t r = 0; r < rows; ++r) {
    T* y = args.y + r * dim;
    if (args.row_token[r] < 0) {
      cpu_rows::clear(y, dim);
      continue;
    }
    const T* x = args.x + args.row_token[r] * dim;
    if (args.weight) cpu_rows::scale(y, x, args.weight[args.row_entry[r]], dim);
    else std::copy_n(x, dim, y);
  }
}

template <class T>
void gather_rows_backward(Cpu, const GatherRowsBackward<T>& args) {
  using A = Acc<T>;
  const int64_t dim = args.dim;
  SY_KERNEL_CHECK(!args.dweight || args.weight);
  // Holes stand in no token's list, so their gradient is written here.
  if (args.dweight) cpu_rows::clear(args.dweight, args.entries);
  if (args.tokens == 0 || dim == 0) return;
#pragma omp parallel for schedule(static) if ((args.tokens + args.entries) * dim >= cpu_rows::kParallelElements)
  for (int64_t t = 0; t < args.tokens; ++t) {
    const int32_t* begin = args.token_entry + args.token_start[t];
    const int32_t* end = args.token_entry + args.token_start[t + 1];
    for (int64_t first = 0; first < dim; first += cpu_rows::kColumns) {
      const int64_t columns = std::min(cpu_rows::kColumns, dim - first);
      A sum[cpu_rows::kColumns] = {};
      for (const int32_t* n = begin; n < end; ++n) {
        const int64_t row = args.entry_row[*n];
        if (row >= 0)
          cpu_rows::add_scaled<T>(sum, args.dy + row * dim + first, args.weight ? args.weight[*n] : A(1), columns);
      }
      cpu_rows::store(args.dx + t * dim + first, sum, columns);
    }
    if (!args.dweight) continue;
    for (const int32_t* n = begin; n < end; ++n) {
      const int64_t row = args.entry_row[*n];
      if (row >= 0) args.dweight[*n] = cpu_rows::dot(args.x + t * dim, args.dy + row * dim, dim);
    }
  }
}

template void gather_rows_forward<float>(Cpu, const GatherRowsForward<float>&);
template void gather_rows_forward<bf16>(Cpu, const GatherRowsForward<bf16>&);
template void gather_rows_forward<double>(Cpu, const GatherRowsForward<double>&);
template void gather_rows_backward<float>(Cpu, const GatherRowsBackward<float>&);
template void gather_rows_backward<bf16>(Cpu, const GatherRowsBackward<bf16>&);
template void gather_rows_backward<double>(Cpu, const GatherRowsBackward<double>&);

}  // namespace sy::kernels
