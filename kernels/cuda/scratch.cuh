// Stream-ordered scratch memory of one kernel body: allocated and freed on the stream, no host synchronisation.
#pragma once

#include "kernels/cuda/check.cuh"

namespace sy::kernels::cuda {

template <class V>
class Scratch {
 public:
  Scratch(int64_t count, void* stream) : stream_(static_cast<cudaStream_t>(stream)) {
    void* memory = nullptr;
    if (count > 0) CUDA_CHECK(cudaMallocAsync(&memory, static_cast<size_t>(count) * sizeof(V), stream_));
    data_ = static_cast<V*>(memory);
  }
  // A destructor does not throw: a failure to free shows at the next checked call.
  ~Scratch() {
    if (data_ != nullptr) (void)cudaFreeAsync(data_, stream_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  V* get() const { return data_; }

 private:
  cudaStream_t stream_;
  V* data_ = nullptr;
};

}  // namespace sy::kernels::cuda
