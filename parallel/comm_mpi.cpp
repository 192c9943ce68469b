// MPI collectives. Waits poll: a rank inside a blocking collective could be neither watched nor interrupted.
#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "csrc/core/check.h"
#include "parallel/comm.h"

namespace sy {

namespace {

void mpi_check(int status, const char* call) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(status, text, &length);
  throw Error(fmt::format("{}: {}", call, std::string(text, static_cast<std::size_t>(length))));
}
#define MPI_CHECK(call) mpi_check(call, #call)

// One message carries at most this many elements: MPI counts are int.
constexpr std::size_t kMaxCount = std::size_t{1} << 28;

class MpiComm final : public Comm {
 public:
  explicit MpiComm(MPI_Comm comm) : comm_(comm) {
    MPI_CHECK(MPI_Comm_rank(comm_, &rank_));
    MPI_CHECK(MPI_Comm_size(comm_, &size_));
  }
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void all_reduce_sum(std::span<float> values) override { all_reduce(values, MPI_FLOAT); }
  void all_reduce_sum(std::span<double> values) override { all_reduce(values, MPI_DOUBLE); }
  void all_reduce_sum(std::span<int64_t> values) override { all_reduce(values, MPI_INT64_T); }
  void broadcast(std::span<std::byte> bytes, int root) override {
    for (std::size_t begin = 0; begin < bytes.size(); begin += kMaxCount) {
      const std::size_t count = std::min(kMaxCount, bytes.size() - begin);
      MPI_Request request;
      MPI_CHECK(MPI_Ibcast(bytes.data() + begin, static_cast<int>(count), MPI_BYTE, root, comm_, &request));
      wait(request);
    }
  }
  void barrier() override {
    MPI_Request request;
    MPI_CHECK(MPI_Ibarrier(comm_, &request));
    wait(request);
  }
  std::vector<std::string> gather_strings(const std::string& mine, int root) override {
    std::vector<int64_t> lengths(static_cast<std::size_t>(size_));
    lengths[static_cast<std::size_t>(rank_)] = static_cast<int64_t>(mine.size());
    all_reduce_sum(std::span<int64_t>(lengths));
    std::vector<std::string> all;
    // One broadcast per rank: strings are small and this is not on the training path.
    for (int r = 0; r < size_; ++r) {
      std::string text = r == rank_ ? mine : std::string(static_cast<std::size_t>(lengths[static_cast<std::size_t>(r)]), '\0');
      broadcast(std::as_writable_bytes(std::span(text.data(), text.size())), r);
      if (rank_ == root) all.push_back(std::move(text));
    }
    return all;
  }

 private:
  template <class T>
  void all_reduce(std::span<T> values, MPI_Datatype type) {
    if (size_ == 1) return;
    for (std::size_t begin = 0; begin < values.size(); begin += kMaxCount) {
      const std::size_t count = std::min(kMaxCount, values.size() - begin);
      MPI_Request request;
      MPI_CHECK(MPI_Iallreduce(MPI_IN_PLACE, values.data() + begin, static_cast<int>(count), type, MPI_SUM, comm_, &request));
      wait(request);
    }
  }
  static void wait(MPI_Request& request) {
    int done = 0;
    while (true) {
      MPI_CHECK(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
      if (done != 0) return;
      sched_yield();
    }
  }

  MPI_Comm comm_;
  int rank_ = 0, size_ = 1;
};

bool started_by_launcher() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "PMI_RANK"})
    if (std::getenv(name) != nullptr) return true;
  return false;
}

}  // namespace

MpiSession::MpiSession(int* argc, char*** argv) {
  if (!started_by_launcher()) {
    world_ = make_single_comm();
    return;
  }
  int provided = 0;
  MPI_CHECK(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided));
  MPI_CHECK(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  active_ = true;
  world_ = std::make_unique<MpiComm>(MPI_COMM_WORLD);
}

MpiSession::~MpiSession() {
  if (active_) MPI_Finalize();
}

void MpiSession::abort(int exit_code) {
  if (active_ && world_->size() > 1) MPI_Abort(MPI_COMM_WORLD, exit_code);
}

}  // namespace sy
