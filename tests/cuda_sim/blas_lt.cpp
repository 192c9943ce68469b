// Simulated cuBLASLt: products of the types that Switchyard multiplies, with no epilogue, on the host.
//
// Every algorithm belongs to the problem it was asked for, with the workspace and alignments that it needs: another
// problem, a smaller workspace or an operand that is aligned less is a Fault, as are operands outside device memory.
// A workspace is overwritten. Sums run over ascending k in f32 or f64: the bits of an element do not depend on m and n.
#include <cublasLt.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/types.h"
#include "tests/cuda_sim/access_checker.h"
#include "tests/cuda_sim/executor.h"

// What the opaque types hold. A handle holds nothing.
struct cublasLtContext {};

namespace sy::cuda_sim {
namespace {

struct Layout : cublasLtMatrixLayoutOpaque_t {
  cudaDataType_t type;
  int64_t rows, columns, ld;

  size_t element_bytes() const { return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2; }
  // From the first element to behind the last.
  size_t bytes() const { return static_cast<size_t>((columns - 1) * ld + rows) * element_bytes(); }
};

struct Operation : cublasLtMatmulDescOpaque_t {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  cublasOperation_t op_a = CUBLAS_OP_N, op_b = CUBLAS_OP_N;
};

struct Preference : cublasLtMatmulPreferenceOpaque_t {
  uint64_t max_workspace_bytes = 0;
  uint32_t reduction_schemes = CUBLASLT_REDUCTION_SCHEME_MASK;
  uint32_t alignments[4] = {256, 256, 256, 256};  // A, B, C, D
};

// C = D everywhere; both have the layout c.
struct Problem {
  cudaDataType_t operands, result;
  cublasOperation_t op_a, op_b;
  int64_t m, n, k, lda, ldb, ldc;
  bool operator==(const Problem&) const = default;
};

// Behind a cublasLtMatmulAlgo_t stands its place in the list of all that were handed out.
struct Algorithm {
  Problem problem;
  size_t workspace_bytes;
  uint32_t alignments[4];
};
std::vector<Algorithm>& algorithms() {
  static auto* const all = new std::vector<Algorithm>;
  return *all;
}

[[noreturn]] void fault(const std::string& text) { throw Fault("simulated cuBLASLt: " + text); }

// CUBLAS_STATUS_SUCCESS, or how the library refuses it.
cublasStatus_t describe(const Operation& o, const Layout& a, const Layout& b, const Layout& c, const Layout& d,
                        Problem* problem) {
  const auto shape = [](const Layout& x) { return std::tuple(x.type, x.rows, x.columns, x.ld); };
  const int64_t m = o.op_a == CUBLAS_OP_N ? a.rows : a.columns, k = o.op_a == CUBLAS_OP_N ? a.columns : a.rows;
  const int64_t k_of_b = o.op_b == CUBLAS_OP_N ? b.rows : b.columns, n = o.op_b == CUBLAS_OP_N ? b.columns : b.rows;
  if (k != k_of_b || c.rows != m || c.columns != n || shape(c) != shape(d)) return CUBLAS_STATUS_INVALID_VALUE;
  const bool is_f64 = a.type == CUDA_R_64F;
  const bool is_known = is_f64 || a.type == CUDA_R_32F || a.type == CUDA_R_16BF;
  if (!is_known || b.type != a.type || o.compute != (is_f64 ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F) ||
      o.scale != (is_f64 ? CUDA_R_64F : CUDA_R_32F) ||
      (c.type != a.type && !(a.type == CUDA_R_16BF && c.type == CUDA_R_32F)))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  *problem = {a.type, c.type, o.op_a, o.op_b, m, n, k, a.ld, b.ld, c.ld};
  return CUBLAS_STATUS_SUCCESS;
}

template <class In, class Out>
void multiply(const Problem& p, const In* a, const In* b, Out* c, double alpha, double beta) {
  using Sum = Acc<In>;
  const auto at = [](cublasOperation_t op, int64_t ld, int64_t row, int64_t column) {
    return op == CUBLAS_OP_N ? row + column * ld : column + row * ld;
  };
  std::vector<Sum> op_a(static_cast<size_t>(p.m * p.k)), sums(static_cast<size_t>(p.m));
  for (int64_t l = 0; l < p.k; ++l)
    for (int64_t i = 0; i < p.m; ++i) op_a[static_cast<size_t>(l * p.m + i)] = Sum(a[at(p.op_a, p.lda, i, l)]);
  for (int64_t j = 0; j < p.n; ++j) {
    std::fill(sums.begin(), sums.end(), Sum(0));
    for (int64_t l = 0; l < p.k; ++l) {
      const Sum factor = Sum(b[at(p.op_b, p.ldb, l, j)]);
      const Sum* column = op_a.data() + l * p.m;
      for (int64_t i = 0; i < p.m; ++i) sums[static_cast<size_t>(i)] += column[i] * factor;
    }
    Out* out = c + j * p.ldc;
    for (int64_t i = 0; i < p.m; ++i) {
      const Sum product = Sum(alpha) * sums[static_cast<size_t>(i)];
      out[i] = Out(beta == 0 ? product : product + Sum(beta) * Sum(out[i]));  // with beta 0, C may be NaN
    }
    access_checker::written(out, static_cast<size_t>(p.m) * sizeof(Out));
  }
}

void multiply_any(const Problem& p, const void* a, const void* b, void* c, double alpha, double beta) {
  const auto as = [&]<class In, class Out>() {
    multiply(p, static_cast<const In*>(a), static_cast<const In*>(b), static_cast<Out*>(c), alpha, beta);
  };
  if (p.operands == CUDA_R_64F) as.template operator()<double, double>();
  else if (p.operands == CUDA_R_32F) as.template operator()<float, float>();
  else if (p.result == CUDA_R_32F) as.template operator()<bf16, float>();
  else as.template operator()<bf16, bf16>();
}

template <class T>
cublasStatus_t read(const void* buffer, size_t bytes, T* value) {
  if (buffer == nullptr || bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(value, buffer, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

void check_operand(const char* name, const void* address, size_t bytes, uint32_t alignment) {
  if (!is_device(address, bytes)) fault(std::string(name) + " does not lie in device memory");
  if (reinterpret_cast<uintptr_t>(address) % alignment != 0)
    fault(std::string(name) + " is not aligned to the " + std::to_string(alignment) +
          " bytes for which the algorithm was chosen");
}

}  // namespace
}  // namespace sy::cuda_sim

using namespace sy::cuda_sim;

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = new cublasLtContext;
  return CUBLAS_STATUS_SUCCESS;
}

const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
      return "simulated cuBLASLt status";
  }
}
const char* cublasLtGetStatusString(cublasStatus_t status) { return cublasLtGetStatusName(status); }

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t ld) {
  if (rows == 0 || columns == 0 || ld < static_cast<int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  *layout = new Layout{{}, type, static_cast<int64_t>(rows), static_cast<int64_t>(columns), ld};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete static_cast<Layout*>(layout);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* operation, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  *operation = new Operation{{}, compute, scale};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
  delete static_cast<Operation*>(operation);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute,
                                              const void* buffer, size_t bytes) {
  auto& o = *static_cast<Operation*>(operation);
  if (attribute == CUBLASLT_MATMUL_DESC_TRANSA) return read(buffer, bytes, &o.op_a);
  if (attribute == CUBLASLT_MATMUL_DESC_TRANSB) return read(buffer, bytes, &o.op_b);
  return CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new Preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete static_cast<Preference*>(preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* buffer,
                                                    size_t bytes) {
  auto& p = *static_cast<Preference*>(preference);
  if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) return read(buffer, bytes, &p.max_workspace_bytes);
  if (attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK) return read(buffer, bytes, &p.reduction_schemes);
  if (attribute >= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES &&
      attribute <= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES)
    return read(buffer, bytes, p.alignments + (attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES));
  return CUBLAS_STATUS_NOT_SUPPORTED;
}

// One algorithm. Where it may, it splits the sums in two and keeps the halves in a workspace.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t* results, int* found) {
  *found = 0;
  Algorithm algorithm{};
  const cublasStatus_t status =
      describe(*static_cast<Operation*>(operation), *static_cast<Layout*>(a), *static_cast<Layout*>(b),
               *static_cast<Layout*>(c), *static_cast<Layout*>(d), &algorithm.problem);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  if (requested < 1) return CUBLAS_STATUS_INVALID_VALUE;
  const auto& p = *static_cast<Preference*>(preference);
  const Problem& problem = algorithm.problem;
  const size_t halves = static_cast<size_t>(problem.m * problem.n) * 2 * (problem.operands == CUDA_R_64F ? 8 : 4);
  const bool may_split = (p.reduction_schemes & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) != 0;
  if (may_split && problem.k > 1 && halves <= p.max_workspace_bytes) algorithm.workspace_bytes = halves;
  std::copy_n(p.alignments, 4, algorithm.alignments);
  results[0] = {};
  results[0].algo.data[0] = algorithms().size();
  results[0].workspaceSize = algorithm.workspace_bytes;
  results[0].state = CUBLAS_STATUS_SUCCESS;
  algorithms().push_back(algorithm);
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algo, void* workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  Problem problem;
  const auto &la = *static_cast<Layout*>(a_layout), &lb = *static_cast<Layout*>(b_layout),
             &lc = *static_cast<Layout*>(c_layout);
  const cublasStatus_t status =
      describe(*static_cast<Operation*>(operation), la, lb, lc, *static_cast<Layout*>(d_layout), &problem);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  if (c != d) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (algo == nullptr || algo->data[0] >= algorithms().size()) fault("the algorithm comes from no heuristic");
  const Algorithm& algorithm = algorithms()[algo->data[0]];
  if (!(algorithm.problem == problem)) fault("the algorithm was chosen for another problem");
  check_operand("A", a, la.bytes(), algorithm.alignments[0]);
  check_operand("B", b, lb.bytes(), algorithm.alignments[1]);
  check_operand("C", d, lc.bytes(), std::max(algorithm.alignments[2], algorithm.alignments[3]));
  if (workspace_bytes < algorithm.workspace_bytes)
    fault("the algorithm needs a workspace of " + std::to_string(algorithm.workspace_bytes) + " bytes, not of " +
          std::to_string(workspace_bytes));
  if (workspace_bytes > 0) check_operand("the workspace", workspace, workspace_bytes, 256);

  double scale[2] = {};
  for (const auto& [place, value] : {std::pair(&scale[0], alpha), std::pair(&scale[1], beta)})
    *place = problem.operands == CUDA_R_64F ? *static_cast<const double*>(value) : *static_cast<const float*>(value);
  enqueue(stream, "cublasLtMatmul", [=, a_bytes = la.bytes(), b_bytes = lb.bytes(), c_bytes = lc.bytes()] {
    check_usable("A of a product", a, a_bytes);
    check_usable("B of a product", b, b_bytes);
    check_usable("C of a product", d, c_bytes);
    if (workspace_bytes > 0) {
      check_usable("the workspace of a product", workspace, workspace_bytes);
      std::memset(workspace, 0xff, workspace_bytes);
    }
    multiply_any(problem, a, b, d, scale[0], scale[1]);
    return true;
  });
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
