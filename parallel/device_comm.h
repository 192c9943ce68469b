// DeviceComm: collectives over a group of ranks on device memory, put on a stream. A host communicator holds one where
// the ranks' devices can reach each other (connect_devices); all ranks of the group call in the same order, as on the
// host, and the calls are numbered, compared and watched as part of that group (comm.h).
//
// A verb returns when it is on the stream: its spans hold what earlier work on that stream left there, and what it sets
// is for later work on the stream. Spans of bytes or of 2^40 elements alike: counts are 64-bit. Only data moves; sums
// are added by our own kernel in rank order, so that they have the bits of the host's.
#pragma once

#include "parallel/comm.h"

namespace sy {

class DeviceComm {
 public:
  explicit DeviceComm(Comm& host) : host_(host) {}
  virtual ~DeviceComm() = default;
  DeviceComm(const DeviceComm&) = delete;
  DeviceComm& operator=(const DeviceComm&) = delete;

  // A collective that was put on a stream.
  struct Call {
    DeviceComm* comm;
    CommKind kind;
    int64_t number;
  };

  // Contracts as in comm.h.
  template <class T>
  Call all_gather(std::span<const T> mine, std::span<T> all, void* stream) {
    host_.check_segments(all.size(), mine.size());
    const Call call = begin(CommKind::kAllGather, comm_element<T>(), std::ssize(mine));
    put_all_gather(mine.data(), all.data(), std::ssize(mine) * kBytes<T>, stream);
    return call;
  }
  template <class T>
  Call all_to_all(std::span<const T> send, std::span<const int64_t> send_counts, std::span<T> recv,
                  std::span<const int64_t> recv_counts, void* stream) {
    host_.check_counts(send.size(), send_counts);
    host_.check_counts(recv.size(), recv_counts);
    const Call call = begin(CommKind::kAllToAll, comm_element<T>(), -1, -1, send_counts, recv_counts);
    put_all_to_all(send.data(), send_counts, recv.data(), recv_counts, kBytes<T>, stream);
    return call;
  }
  template <class T>
  Call reduce_scatter_sum(std::span<const T> all, std::span<T> mine, void* stream) {
    host_.check_segments(all.size(), mine.size());
    const Call call = begin(CommKind::kReduceScatterSum, comm_element<T>(), std::ssize(mine));
    put_reduce_scatter_sum(all.data(), mine.data(), std::ssize(mine), stream);
    return call;
  }
  template <class T>
  Call broadcast(std::span<T> values, int root, void* stream) {
    const Call call = begin(CommKind::kBroadcast, comm_element<T>(), std::ssize(values), root);
    put_broadcast(values.data(), std::ssize(values) * kBytes<T>, root, stream);
    return call;
  }

  // The host waits until is_done(), for the sake of `call`: polls, watched as part of the call's group. Throws when the
  // library reports that the group has failed.
  static void poll(const Call& call, const std::function<bool()>& is_done) {
    call.comm->host_.poll(call.kind, call.number, [&] {
      if (is_done()) return true;
      call.comm->check_group();
      return false;
    });
  }

 protected:
  Comm& host() const { return host_; }
  // Throws when the library has found that ranks or links of the group failed; its transfers are then given up.
  virtual void check_group() = 0;
  virtual void put_all_gather(const void* mine, void* all, int64_t bytes, void* stream) = 0;
  virtual void put_all_to_all(const void* send, std::span<const int64_t> send_counts, void* recv,
                              std::span<const int64_t> recv_counts, int64_t element_bytes, void* stream) = 0;
  virtual void put_reduce_scatter_sum(const float* all, float* mine, int64_t count, void* stream) = 0;
  virtual void put_reduce_scatter_sum(const double* all, double* mine, int64_t count, void* stream) = 0;
  virtual void put_reduce_scatter_sum(const bf16* all, bf16* mine, int64_t count, void* stream) = 0;
  virtual void put_broadcast(void* values, int64_t bytes, int root, void* stream) = 0;

 private:
  template <class T>
  static constexpr int64_t kBytes = static_cast<int64_t>(sizeof(T));

  Call begin(CommKind kind, CommElement element, int64_t count, int root = -1,
             std::span<const int64_t> send_counts = {}, std::span<const int64_t> recv_counts = {}) {
    return {this, kind, host_.begin_on_device(kind, element, count, root, send_counts, recv_counts)};
  }

  Comm& host_;
};

// Over NCCL, between the current devices of the ranks of `host`, all of which call; blocks until they have.
// comm_nccl.cpp, or no_nccl.cpp in a build without it.
std::unique_ptr<DeviceComm> make_nccl_comm(Comm& host);
// Why this build cannot make one: "" if it can.
std::string why_no_nccl();

}  // namespace sy
