// Device collectives over NCCL, the real one or that of simulated CUDA (tests/cuda_sim/nccl.cpp).
//
// Ranks find each other by the host communicator, which broadcasts the identity of the new group. Messages that are
// empty are left out by both sides, as their lengths agree. NCCL's own reductions are not used: their order of
// additions depends on the number of ranks, channels and algorithms.
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <exception>
#include <utility>

#include "csrc/core/check.h"
#include "csrc/core/device.h"
#include "kernels/cuda/check.cuh"
#include "parallel/device_comm.h"

namespace sy {

namespace {

cudaStream_t as_stream(void* stream) { return static_cast<cudaStream_t>(stream); }

class NcclComm final : public DeviceComm {
 public:
  explicit NcclComm(Comm& host) : DeviceComm(host), rank_(host.rank()), ranks_(host.size()) {
    ncclUniqueId id{};
    if (rank_ == 0) check(ncclGetUniqueId(&id), "ncclGetUniqueId");
    host.broadcast(std::as_writable_bytes(std::span(&id, 1)), 0);
    check(ncclCommInitRank(&comm_, ranks_, id, rank_), "ncclCommInitRank");
  }
  ~NcclComm() override {
    if (comm_ == nullptr) return;
    // While an error unwinds the others may never come to what is still on the streams.
    if (std::uncaught_exceptions() > 0) ncclCommAbort(comm_);
    else ncclCommDestroy(comm_);
  }

 protected:
  void check_group() override {
    ncclResult_t state = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(comm_, &state);
    if (asked == ncclSuccess && (state == ncclSuccess || state == ncclInProgress)) return;
    const std::string why = ncclGetErrorString(asked == ncclSuccess ? state : asked);
    if (comm_ != nullptr) ncclCommAbort(std::exchange(comm_, nullptr));
    throw Error(fmt::format("NCCL reports for group '{}': {}", host().name(), why));
  }

  void put_all_gather(const void* mine, void* all, int64_t bytes, void* stream) override {
    if (bytes == 0) return;
    check(ncclAllGather(mine, all, static_cast<std::size_t>(bytes), ncclUint8, comm_, as_stream(stream)),
          "ncclAllGather");
  }
  void put_all_to_all(const void* send, std::span<const int64_t> send_counts, void* recv,
                      std::span<const int64_t> recv_counts, int64_t element_bytes, void* stream) override {
    const auto* outgoing = static_cast<const std::byte*>(send);
    auto* incoming = static_cast<std::byte*>(recv);
    check(ncclGroupStart(), "ncclGroupStart");
    for (int r = 0; r < ranks_; ++r) {
      const int64_t sent = send_counts[static_cast<std::size_t>(r)] * element_bytes;
      const int64_t received = recv_counts[static_cast<std::size_t>(r)] * element_bytes;
      if (r == rank_) {
        SY_CHECK(sent == received, "rank {} sends itself {} bytes and expects {}", r, sent, received);
        if (outgoing != incoming) device_api::copy_on_device(incoming, outgoing, sent, stream);
      } else {
        this->send(outgoing, sent, r, stream);
        receive(incoming, received, r, stream);
      }
      outgoing += sent;
      incoming += received;
    }
    check(ncclGroupEnd(), "ncclGroupEnd");
  }
  void put_reduce_scatter_sum(const float* all, float* mine, int64_t count, void* stream) override {
    reduce_scatter(all, mine, count, stream);
  }
  void put_reduce_scatter_sum(const double* all, double* mine, int64_t count, void* stream) override {
    reduce_scatter(all, mine, count, stream);
  }
  void put_reduce_scatter_sum(const bf16* all, bf16* mine, int64_t count, void* stream) override {
    reduce_scatter(all, mine, count, stream);
  }
  void put_broadcast(void* values, int64_t bytes, int root, void* stream) override {
    if (bytes == 0) return;
    check(ncclBroadcast(values, values, static_cast<std::size_t>(bytes), ncclUint8, root, comm_, as_stream(stream)),
          "ncclBroadcast");
  }

 private:
  static void check(ncclResult_t result, const char* call) {
    if (result != ncclSuccess) throw Error(fmt::format("{}: {}", call, ncclGetErrorString(result)));
  }
  void send(const void* data, int64_t bytes, int to, void* stream) {
    if (bytes > 0)
      check(ncclSend(data, static_cast<std::size_t>(bytes), ncclUint8, to, comm_, as_stream(stream)), "ncclSend");
  }
  void receive(void* data, int64_t bytes, int from, void* stream) {
    if (bytes > 0)
      check(ncclRecv(data, static_cast<std::size_t>(bytes), ncclUint8, from, comm_, as_stream(stream)), "ncclRecv");
  }

  // Everybody's segments for this rank arrive side by side in memory that the stream itself takes from the pool and
  // gives back, so that the buckets of a step share it.
  template <class T>
  void reduce_scatter(const T* all, T* mine, int64_t count, void* stream) {
    if (count == 0) return;
    const auto bytes = count * static_cast<int64_t>(sizeof(T));
    void* segments = nullptr;
    CUDA_CHECK(cudaMallocAsync(&segments, static_cast<std::size_t>(bytes * ranks_), as_stream(stream)));
    const std::vector<int64_t> counts(static_cast<std::size_t>(ranks_), bytes);
    put_all_to_all(all, counts, segments, counts, 1, stream);
    kernels::sum_segments<T>(
        kernels::Cuda{stream},
        {.segments = static_cast<const T*>(segments), .sum = mine, .ranks = ranks_, .count = count});
    CUDA_CHECK(cudaFreeAsync(segments, as_stream(stream)));
  }

  int rank_, ranks_;
  ncclComm_t comm_ = nullptr;
};

}  // namespace

std::unique_ptr<DeviceComm> make_nccl_comm(Comm& host) { return std::make_unique<NcclComm>(host); }
std::string why_no_nccl() { return ""; }

}  // namespace sy
