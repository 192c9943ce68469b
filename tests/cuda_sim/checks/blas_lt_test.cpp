// Simulated cuBLASLt reports what the real one answers with an error or with garbage.
#include <cublasLt.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "tests/cuda_sim/executor.h"

namespace {

using sy::cuda_sim::Fault;

// C[3,2] = A[3,4] B[4,2] in f32, column-major, all operands on the device.
class BlasLt : public testing::Test {
 protected:
  BlasLt() {
    cublasLtCreate(&handle_);
    cublasLtMatmulDescCreate(&operation_, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatrixLayoutCreate(&a_layout_, CUDA_R_32F, 3, 4, 3);
    cublasLtMatrixLayoutCreate(&b_layout_, CUDA_R_32F, 4, 2, 4);
    cublasLtMatrixLayoutCreate(&c_layout_, CUDA_R_32F, 3, 2, 3);
    cublasLtMatmulPreferenceCreate(&preference_);
    for (float** p : {&a_, &b_, &c_}) cudaMalloc(reinterpret_cast<void**>(p), 64 * sizeof(float));
    cudaMalloc(&workspace_, kWorkspaceBytes);
    std::vector<float> ones(64, 1.0f);
    for (float* p : {a_, b_}) cudaMemcpy(p, ones.data(), ones.size() * sizeof(float), cudaMemcpyHostToDevice);
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kWorkspaceBytes});
  }
  ~BlasLt() override {
    for (void* p : {static_cast<void*>(a_), static_cast<void*>(b_), static_cast<void*>(c_), workspace_}) cudaFree(p);
    cublasLtMatmulPreferenceDestroy(preference_);
    for (const auto layout : {a_layout_, b_layout_, c_layout_}) cublasLtMatrixLayoutDestroy(layout);
    cublasLtMatmulDescDestroy(operation_);
  }

  template <class V>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, V value) {
    ASSERT_EQ(cublasLtMatmulPreferenceSetAttribute(preference_, attribute, &value, sizeof(value)),
              CUBLAS_STATUS_SUCCESS);
  }
  cublasStatus_t choose() {
    int found = 0;
    return cublasLtMatmulAlgoGetHeuristic(handle_, operation_, a_layout_, b_layout_, c_layout_, c_layout_, preference_,
                                          1, &choice_, &found);
  }
  cublasStatus_t multiply(const float* a, size_t workspace_bytes) {
    const float alpha = 1, beta = 0;
    return cublasLtMatmul(handle_, operation_, &alpha, a, a_layout_, b_, b_layout_, &beta, c_, c_layout_, c_, c_layout_,
                          &choice_.algo, workspace_, workspace_bytes, nullptr);
  }
  std::string fault_of(const float* a, size_t workspace_bytes) {
    try {
      multiply(a, workspace_bytes);
    } catch (const Fault& fault) {
      return fault.what();
    }
    return "";
  }

  static constexpr size_t kWorkspaceBytes = 1024;
  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t a_layout_ = nullptr, b_layout_ = nullptr, c_layout_ = nullptr;
  cublasLtMatmulPreference_t preference_ = nullptr;
  cublasLtMatmulHeuristicResult_t choice_{};
  float *a_ = nullptr, *b_ = nullptr, *c_ = nullptr;
  void* workspace_ = nullptr;
};

TEST_F(BlasLt, AProductOverwritesItsWorkspaceAndNothingBehindTheColumnsOfC) {
  ASSERT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
  cudaMemset(workspace_, 0, kWorkspaceBytes);
  ASSERT_GT(choice_.workspaceSize, 0u);
  ASSERT_EQ(multiply(a_, choice_.workspaceSize), CUBLAS_STATUS_SUCCESS);
  std::vector<float> c(7);
  unsigned char first = 0;
  cudaMemcpy(c.data(), c_, c.size() * sizeof(float), cudaMemcpyDeviceToHost);
  cudaMemcpy(&first, workspace_, 1, cudaMemcpyDeviceToHost);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(c[i], 4.0f) << i;
  EXPECT_NE(c[6], c[6]) << "as allocated: NaN";
  EXPECT_EQ(first, 0xff);
}

TEST_F(BlasLt, WithoutAWorkspaceSumsAreNotSplit) {
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{0});
  ASSERT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(choice_.workspaceSize, 0u);
  EXPECT_EQ(fault_of(a_, 0), "");
}

TEST_F(BlasLt, ASmallerWorkspaceThanTheAlgorithmNeedsIsAFault) {
  ASSERT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(fault_of(a_, choice_.workspaceSize - 1),
            "simulated cuBLASLt: the algorithm needs a workspace of 48 bytes, not of 47");
}

TEST_F(BlasLt, AnOperandAlignedLessThanPromisedIsAFault) {
  ASSERT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(fault_of(a_ + 1, kWorkspaceBytes),
            "simulated cuBLASLt: A is not aligned to the 256 bytes for which the algorithm was chosen");
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, uint32_t{4});
  ASSERT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(fault_of(a_ + 1, kWorkspaceBytes), "");
}

TEST_F(BlasLt, AnOperandOutsideItsAllocationIsAFault) {
  ASSERT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
  const std::vector<float> host(64);
  EXPECT_EQ(fault_of(host.data(), kWorkspaceBytes), "simulated cuBLASLt: A does not lie in device memory");
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, uint32_t{4});
  ASSERT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(fault_of(a_ + 53, kWorkspaceBytes), "simulated cuBLASLt: A does not lie in device memory");
}

TEST_F(BlasLt, AnAlgorithmServesOnlyTheProblemItWasChosenFor) {
  ASSERT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
  cublasLtMatrixLayoutDestroy(a_layout_);
  cublasLtMatrixLayoutCreate(&a_layout_, CUDA_R_32F, 3, 4, 5);
  EXPECT_EQ(fault_of(a_, kWorkspaceBytes), "simulated cuBLASLt: the algorithm was chosen for another problem");
}

TEST_F(BlasLt, LayoutsThatDoNotFitAndTypesThatItDoesNotMultiplyAreRefused) {
  const cublasOperation_t transposed = CUBLAS_OP_T;
  cublasLtMatmulDescSetAttribute(operation_, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed));
  EXPECT_EQ(choose(), CUBLAS_STATUS_INVALID_VALUE);
  cublasLtMatmulDescDestroy(operation_);
  cublasLtMatmulDescCreate(&operation_, CUBLAS_COMPUTE_64F, CUDA_R_64F);
  EXPECT_EQ(choose(), CUBLAS_STATUS_NOT_SUPPORTED);
  cublasLtMatrixLayout_t layout = nullptr;
  EXPECT_EQ(cublasLtMatrixLayoutCreate(&layout, CUDA_R_32F, 3, 4, 2), CUBLAS_STATUS_INVALID_VALUE);
}

}  // namespace
