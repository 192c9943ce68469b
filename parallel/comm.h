// Comm: collectives over a group of ranks, on typed spans (never byte counts). Sums only: nothing is divided by a
// group size. Implementations: one rank (comm_single.cpp), MPI (comm_mpi.cpp, or no_mpi.cpp in a build without it).
//
// Every collective is called by all ranks of the group, in the same order, also by ranks that have nothing to send.
// Sums have one order per number of ranks and elements, so that the same ranks give the same bits every time;
// reduce_scatter_sum adds in rank order, whatever carries the data. Spans lie in host memory; device memory moves by
// device() where there is one (device_comm.h).
// The start_ forms return at once; the spans stay untouched by the caller until wait() has returned. Only the thread
// that made the MpiSession calls any of this, but for describe_wait().
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/dense/sum_segments.h"
#include "parallel/comm_call.h"

namespace sy {

class DeviceComm;

// A collective under way; an empty one has nothing to wait for. Dropping a request that was not waited for waits until
// MPI is done with the spans; what remained to be computed from them is not.
class CommRequest {
 public:
  class Operation {
   public:
    virtual ~Operation() = default;
    virtual void wait() = 0;  // called exactly once
  };
  CommRequest() = default;
  explicit CommRequest(std::unique_ptr<Operation> operation) : operation_(std::move(operation)) {}
  CommRequest(CommRequest&&) = default;
  CommRequest& operator=(CommRequest&&) = default;
  void wait() {
    if (const auto operation = std::move(operation_)) operation->wait();
  }
  bool pending() const { return operation_ != nullptr; }

 private:
  std::unique_ptr<Operation> operation_;
};

// Where in a step this process is: what a report about waiting ranks names. One per process, written by the trainer
// and the model, read by the watchdog.
struct CommPlace {
  std::atomic<int64_t> step{0};
  std::atomic<int64_t> layer{-1};  // -1: outside the blocks
};

struct CommOptions {
  bool debug = false;           // ranks compare each collective before they begin it: an Error instead of a hang
  double report_after_s = 60;   // a wait that lasts longer is reported, with the ranks that are missing
  double abort_after_s = 1800;  // and one that lasts so long ends the job
};

class Comm {
 public:
  Comm();
  virtual ~Comm();
  Comm(const Comm&) = delete;
  Comm& operator=(const Comm&) = delete;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual const std::string& name() const = 0;  // "world", "tp", ...: for messages
  // The ranks that give the same color, ordered by key; every rank of this group calls. The result stays valid after
  // this communicator is gone.
  virtual std::unique_ptr<Comm> split(int color, int key, const std::string& name) = 0;
  virtual CommPlace& place() = 0;
  // For all communicators of the process. All ranks call it with equal options, between the same two collectives.
  virtual void configure(const CommOptions&) {}
  // What this process waits for right now, written into `text` (no end mark); returns the length, 0 when it does not
  // wait. For a thread that must end the process: takes no lock and allocates nothing.
  virtual std::size_t describe_wait(std::span<char> /*text*/) const { return 0; }

  // What moves device memory between the ranks of this group; null: it passes through the host's.
  DeviceComm* device() const { return device_.get(); }
  void set_device(std::unique_ptr<DeviceComm> device);

  // In place; every rank ends with the same bits (a fixed reduction order for a fixed number of ranks).
  virtual void all_reduce_sum(std::span<float> values) = 0;
  virtual void all_reduce_sum(std::span<double> values) = 0;
  virtual void all_reduce_sum(std::span<int64_t> values) = 0;

  // all (set) = what rank 0, 1, ... gave as `mine`, one after the other: size() * mine.size() elements. `mine` may be
  // this rank's own place in `all`.
  template <class T>
  CommRequest start_all_gather(std::span<const T> mine, std::span<T> all) {
    check_segments(all.size(), mine.size());
    return start_all_gather_elements(mine.data(), all.data(), static_cast<int64_t>(mine.size()), comm_element<T>());
  }
  template <class T>
  void all_gather(std::span<const T> mine, std::span<T> all) {
    start_all_gather(mine, all).wait();
  }

  // send holds send_counts[r] elements for rank r, in rank order; recv (set) gets recv_counts[r] elements from rank r,
  // in rank order; both may be longer than their counts need. The ranks agree on the counts beforehand.
  template <class T>
  CommRequest start_all_to_all(std::span<const T> send, std::span<const int64_t> send_counts, std::span<T> recv,
                               std::span<const int64_t> recv_counts) {
    check_counts(send.size(), send_counts);
    check_counts(recv.size(), recv_counts);
    return start_all_to_all_elements(send.data(), send_counts, recv.data(), recv_counts, comm_element<T>(),
                                     CommKind::kAllToAll);
  }
  template <class T>
  void all_to_all(std::span<const T> send, std::span<const int64_t> send_counts, std::span<T> recv,
                  std::span<const int64_t> recv_counts) {
    start_all_to_all(send, send_counts, recv, recv_counts).wait();
  }

  // `all` holds one segment of mine.size() elements per rank; mine (set) = the sum over ranks, in rank order, of their
  // segments for this rank, added in Acc<T> and rounded once. `mine` may be this rank's own segment of `all`. The sums
  // are computed by wait(). T: float, double, bf16.
  template <class T>
  CommRequest start_reduce_scatter_sum(std::span<const T> all, std::span<T> mine);
  template <class T>
  void reduce_scatter_sum(std::span<const T> all, std::span<T> mine) {
    start_reduce_scatter_sum(all, mine).wait();
  }

  virtual void broadcast(std::span<std::byte> bytes, int root) = 0;
  virtual void barrier() = 0;
  // Root gets one string per rank, in rank order; the others an empty vector.
  virtual std::vector<std::string> gather_strings(const std::string& mine, int root) = 0;
  // Every rank gets root's text.
  std::string broadcast_string(std::string text, int root);

 protected:
  // The counts are read before the call returns. `kind` is what the caller asked for.
  virtual CommRequest start_all_gather_elements(const void* mine, void* all, int64_t count, CommElement element) = 0;
  virtual CommRequest start_all_to_all_elements(const void* send, std::span<const int64_t> send_counts, void* recv,
                                                std::span<const int64_t> recv_counts, CommElement element,
                                                CommKind kind) = 0;

  // Collectives that device() carries are this group's like all others: they take its next number (which is returned),
  // are compared in debug mode before they begin, and the host's waits for them are watched. Counts of all-to-alls
  // only.
  friend class DeviceComm;
  virtual int64_t begin_on_device(CommKind kind, CommElement element, int64_t count, int root,
                                  std::span<const int64_t> send_counts, std::span<const int64_t> recv_counts);
  // Returns when is_done() does.
  virtual void poll(CommKind kind, int64_t number, const std::function<bool()>& is_done);

 private:
  // One count per rank, none negative, together within `available` elements.
  void check_counts(std::size_t available, std::span<const int64_t> counts) const;
  // `all` elements are a segment of `mine` elements per rank.
  void check_segments(std::size_t all, std::size_t mine) const;

  std::unique_ptr<DeviceComm> device_;
};

template <class T>
CommRequest Comm::start_reduce_scatter_sum(std::span<const T> all, std::span<T> mine) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, bf16>);
  // Everybody's segments for this rank arrive side by side; the sum is ours, so its order is too.
  class Sum final : public CommRequest::Operation {
   public:
    Sum(Comm& comm, std::span<const T> all, std::span<T> mine)
        : mine_(mine),
          num_ranks_(static_cast<std::size_t>(comm.size())),
          segments_(std::make_unique_for_overwrite<T[]>(all.size())) {
      const std::vector<int64_t> counts(num_ranks_, static_cast<int64_t>(mine.size()));
      transfer_ = comm.start_all_to_all_elements(all.data(), counts, segments_.get(), counts, comm_element<T>(),
                                                 CommKind::kReduceScatterSum);
    }
    void wait() override {
      transfer_.wait();
      kernels::sum_segments<T>(kernels::Cpu{}, {.segments = segments_.get(),
                                                .sum = mine_.data(),
                                                .ranks = static_cast<int64_t>(num_ranks_),
                                                .count = static_cast<int64_t>(mine_.size())});
    }

   private:
    std::span<T> mine_;
    std::size_t num_ranks_;
    std::unique_ptr<T[]> segments_;
    CommRequest transfer_;  // last: its destructor waits for what arrives in the segments
  };
  check_segments(all.size(), mine.size());
  return CommRequest(std::make_unique<Sum>(*this, all, mine));
}

std::unique_ptr<Comm> make_single_comm();
// Rank 0 of a group of ranks that do not exist, for shapes on the meta device: sums leave values as they are, and
// whatever would move data throws.
std::unique_ptr<Comm> make_meta_comm(int size, const std::string& name);

// The process's place in the job. MpiSession initialises MPI when the program was started by mpirun or srun (or when
// `force`), and finalises it last, when all ranks have come to that.
class MpiSession {
 public:
  MpiSession(int* argc, char*** argv);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  // The communicator of all ranks (a single one outside mpirun).
  Comm& world() { return *world_; }
  // Ends every rank at once: the only way out when one rank has failed and others would wait for it.
  void abort(int exit_code);

 private:
  std::unique_ptr<Comm> world_;
  bool active_ = false;
};

}  // namespace sy
