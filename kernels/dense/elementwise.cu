// CUDA bodies of cast, add, add_row, scale, fill and copy_columns: one thread per element.
#include "kernels/dense/elementwise.h"

#include <type_traits>

#include "kernels/cuda/launch.cuh"

namespace sy::kernels {
namespace {

using namespace cuda;

// To and from bf16 by way of f32, as everywhere.
template <class To, class From>
__device__ inline To convert(From x) {
  if constexpr (std::is_same_v<To, bf16> || std::is_same_v<From, bf16>) return static_cast<To>(static_cast<float>(x));
  else return static_cast<To>(x);
}

template <class From, class To>
__global__ void __launch_bounds__(kBlock) cast_kernel(Cast<From, To> args) {
  // The sum is formed in the wider of the two types, at least f32.
  using Sum = std::conditional_t<std::is_same_v<From, double> || std::is_same_v<To, double>, double, float>;
  const int64_t i = global_thread();
  if (i >= args.count) return;
  if (args.accumulate) args.y[i] = convert<To>(static_cast<Sum>(args.y[i]) + static_cast<Sum>(args.x[i]));
  else args.y[i] = convert<To>(args.x[i]);
}

template <class T>
__global__ void __launch_bounds__(kBlock) add_kernel(Add<T> args) {
  const int64_t i = global_thread();
  if (i < args.count) args.y[i] = T(Acc<T>(args.a[i]) + Acc<T>(args.b[i]));
}

template <class T>
__global__ void __launch_bounds__(kBlock) add_row_kernel(AddRow<T> args) {
  const int64_t i = global_thread();
  if (i < args.rows * args.columns) args.y[i] = T(Acc<T>(args.y[i]) + Acc<T>(args.row[i % args.columns]));
}

template <class T>
__global__ void __launch_bounds__(kBlock) scale_kernel(Scale<T> args) {
  const int64_t i = global_thread();
  if (i < args.count) args.y[i] = T(Acc<T>(args.x[i]) * static_cast<Acc<T>>(args.factor));
}

template <class T>
__global__ void __launch_bounds__(kBlock) fill_kernel(T* y, int64_t count, T value) {
  const int64_t i = global_thread();
  if (i < count) y[i] = value;
}

template <class T>
__global__ void __launch_bounds__(kBlock) copy_columns_kernel(CopyColumns<T> args) {
  const int64_t i = global_thread();
  if (i >= args.rows * args.columns) return;
  const int64_t row = i / args.columns, column = i % args.columns;
  args.y[row * args.ldy + column] = args.x[row * args.ldx + column];
}

}  // namespace

template <class From, class To>
void cast(Cuda ctx, const Cast<From, To>& args) {
  if (args.count == 0) return;
  launch(cast_kernel<From, To>, grid_for(args.count, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class T>
void add(Cuda ctx, const Add<T>& args) {
  if (args.count == 0) return;
  launch(add_kernel<T>, grid_for(args.count, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class T>
void add_row(Cuda ctx, const AddRow<T>& args) {
  if (args.rows * args.columns == 0) return;
  launch(add_row_kernel<T>, grid_for(args.rows * args.columns, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class T>
void scale(Cuda ctx, const Scale<T>& args) {
  if (args.count == 0) return;
  launch(scale_kernel<T>, grid_for(args.count, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

template <class T>
void fill(Cuda ctx, const Fill<T>& args) {
  if (args.count == 0) return;
  const T value = T(static_cast<Acc<T>>(args.value));
  launch(fill_kernel<T>, grid_for(args.count, kBlock), kBlock, 0, ctx.stream, args.y, args.count, value);
  CUDA_CHECK(cudaGetLastError());
}

template <>
void fill(Cuda ctx, const Fill<int32_t>& args) {
  if (args.count == 0) return;
  const int32_t value = static_cast<int32_t>(args.value);
  launch(fill_kernel<int32_t>, grid_for(args.count, kBlock), kBlock, 0, ctx.stream, args.y, args.count, value);
  CUDA_CHECK(cudaGetLastError());
}

template <class T>
void copy_columns(Cuda ctx, const CopyColumns<T>& args) {
  if (args.rows * args.columns == 0) return;
  launch(copy_columns_kernel<T>, grid_for(args.rows * args.columns, kBlock), kBlock, 0, ctx.stream, args);
  CUDA_CHECK(cudaGetLastError());
}

#define SY_CASTS_FROM(From)                           \
  template void cast(Cuda, const Cast<From, float>&); \
  template void cast(Cuda, const Cast<From, bf16>&);  \
  template void cast(Cuda, const Cast<From, double>&);
SY_CASTS_FROM(float)
SY_CASTS_FROM(bf16)
SY_CASTS_FROM(double)
#define SY_INSTANTIATE(T)                        \
  template void add(Cuda, const Add<T>&);        \
  template void add_row(Cuda, const AddRow<T>&); \
  template void scale(Cuda, const Scale<T>&);    \
  template void fill(Cuda, const Fill<T>&);      \
  template void copy_columns(Cuda, const CopyColumns<T>&);
SY_INSTANTIATE(float)
SY_INSTANTIATE(bf16)
SY_INSTANTIATE(double)

}  // namespace sy::kernels
