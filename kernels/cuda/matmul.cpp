// How cuBLASLt computes a shape is asked for once and kept for the life of the process, so that the same shape always
// has the same bits. Split sums go through a workspace in the type of the sums, never through C.
#include "kernels/cuda/matmul.h"

#include <cublasLt.h>

#include <compare>
#include <map>
#include <memory>
#include <mutex>

#include "kernels/cuda/check.cuh"
#include "kernels/cuda/scratch.cuh"

namespace sy::kernels::cuda {
namespace {

#define CUBLAS_CHECK(call)                                                                                           \
  do {                                                                                                               \
    const cublasStatus_t sy_cublas_status = (call);                                                                  \
    if (sy_cublas_status != CUBLAS_STATUS_SUCCESS)                                                                   \
      fail_call(#call, cublasLtGetStatusName(sy_cublas_status), cublasLtGetStatusString(sy_cublas_status), __FILE__, \
                __LINE__);                                                                                           \
  } while (0)

// What the choice of an algorithm depends on.
struct Shape {
  int device;
  cudaDataType_t operands, result;
  bool transpose_a, transpose_b;
  int64_t m, n, k, lda, ldb, ldc;
  uint32_t a_alignment, b_alignment, c_alignment;  // bytes
  auto operator<=>(const Shape&) const = default;
};

// Largest power of two that divides the address, as far as it matters to a kernel.
uint32_t alignment_of(const void* pointer) {
  const auto bits = reinterpret_cast<uintptr_t>(pointer) | 256u;
  return static_cast<uint32_t>(bits & (~bits + 1));
}

Shape shape_of(const Matmul& p) {
  int device = 0;
  CUDA_CHECK(cudaGetDevice(&device));
  return {device, p.operands, p.result,          p.transpose_a,     p.transpose_b,    p.m, p.n, p.k, p.lda,
          p.ldb,  p.ldc,      alignment_of(p.a), alignment_of(p.b), alignment_of(p.c)};
}

// Owns what a cublasLt*Create function made.
template <class T, cublasStatus_t (*kDestroy)(T)>
struct Destroy {
  using pointer = T;
  void operator()(T object) const { (void)kDestroy(object); }
};
template <class T, cublasStatus_t (*kDestroy)(T)>
using Owned = std::unique_ptr<T, Destroy<T, kDestroy>>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Operation = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

// Of op(X)[rows, columns], which lies in memory as it is or transposed.
Layout layout(cudaDataType_t type, int64_t rows, int64_t columns, int64_t ld, bool transposed) {
  cublasLtMatrixLayout_t created = nullptr;
  CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&created, type, static_cast<uint64_t>(transposed ? columns : rows),
                                          static_cast<uint64_t>(transposed ? rows : columns), ld));
  return Layout(created);
}

Operation operation(const Shape& s) {
  const bool is_f64 = s.operands == CUDA_R_64F;
  cublasLtMatmulDesc_t created = nullptr;
  CUBLAS_CHECK(cublasLtMatmulDescCreate(&created, is_f64 ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                                        is_f64 ? CUDA_R_64F : CUDA_R_32F));
  Operation owned(created);
  const cublasOperation_t op_a = s.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t op_b = s.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(created, CUBLASLT_MATMUL_DESC_TRANSA, &op_a, sizeof(op_a)));
  CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(created, CUBLASLT_MATMUL_DESC_TRANSB, &op_b, sizeof(op_b)));
  return owned;
}

Preference preference(const Shape& s) {
  cublasLtMatmulPreference_t created = nullptr;
  CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&created));
  Preference owned(created);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(created, attribute, &value, sizeof(value)));
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{32} << 20);
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, s.a_alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, s.b_alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, s.c_alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, s.c_alignment);
  return owned;
}

// How products of one shape run.
class Plan {
 public:
  Plan(cublasLtHandle_t handle, const Shape& s)
      : a_(layout(s.operands, s.m, s.k, s.lda, s.transpose_a)),
        b_(layout(s.operands, s.k, s.n, s.ldb, s.transpose_b)),
        c_(layout(s.result, s.m, s.n, s.ldc, false)),
        operation_(operation(s)) {
    int found = 0;
    CUBLAS_CHECK(cublasLtMatmulAlgoGetHeuristic(handle, operation_.get(), a_.get(), b_.get(), c_.get(), c_.get(),
                                                preference(s).get(), 1, &choice_, &found));
    SY_KERNEL_CHECK(found == 1);
    CUBLAS_CHECK(choice_.state);
  }

  // Scale is the type of the sums.
  template <class Scale>
  void run(cublasLtHandle_t handle, const Matmul& p, void* stream) const {
    const Scratch<unsigned char> workspace(static_cast<int64_t>(choice_.workspaceSize), stream);
    const Scale alpha = 1, beta = p.accumulate ? 1 : 0;
    CUBLAS_CHECK(cublasLtMatmul(handle, operation_.get(), &alpha, p.a, a_.get(), p.b, b_.get(), &beta, p.c, c_.get(),
                                p.c, c_.get(), &choice_.algo, workspace.get(), choice_.workspaceSize,
                                static_cast<cudaStream_t>(stream)));
  }

 private:
  Layout a_, b_, c_;
  Operation operation_;
  cublasLtMatmulHeuristicResult_t choice_{};
};

// Handles and plans hold nothing that a result depends on, so the contexts of a process share them.
struct Plans {
  std::mutex mutex;
  std::map<int, cublasLtHandle_t> handles;  // of devices
  std::map<Shape, Plan> of_shapes;
};

// Never destroyed: the driver may be gone when static objects are.
Plans& plans() {
  static Plans* const instance = new Plans;
  return *instance;
}

}  // namespace

void matmul(Cuda ctx, const Matmul& args) {
  const Shape shape = shape_of(args);
  const std::lock_guard lock(plans().mutex);
  cublasLtHandle_t& handle = plans().handles[shape.device];
  if (handle == nullptr) CUBLAS_CHECK(cublasLtCreate(&handle));
  const Plan& plan = plans().of_shapes.try_emplace(shape, handle, shape).first->second;
  if (args.operands == CUDA_R_64F) plan.run<double>(handle, args, ctx.stream);
  else plan.run<float>(handle, args, ctx.stream);
}

}  // namespace sy::kernels::cuda
