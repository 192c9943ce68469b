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
  MpiComm(MPI_Comm comm, std::string name, std::shared_ptr<CommPlace> place)
      : comm_(comm), name_(std::move(name)), place_(std::move(place)) {
    MPI_CHECK(MPI_Comm_rank(comm_, &rank_));
    MPI_CHECK(MPI_Comm_size(comm_, &size_));
  }
  ~MpiComm() override {
    if (comm_ != MPI_COMM_WORLD) MPI_Comm_free(&comm_);
  }
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const std::string& name() const override { return name_; }
  std::unique_ptr<Comm> split(int color, int key, const std::string& name) override {
    MPI_Comm part = MPI_COMM_NULL;
    MPI_CHECK(MPI_Comm_split(comm_, color, key, &part));
    MPI_CHECK(MPI_Comm_set_errhandler(part, MPI_ERRORS_RETURN));
    return std::make_unique<MpiComm>(part, name, place_);
  }
  CommPlace& place() override { return *place_; }
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
      std::string text =
          r == rank_ ? mine : std::string(static_cast<std::size_t>(lengths[static_cast<std::size_t>(r)]), '\0');
      broadcast(std::as_writable_bytes(std::span(text.data(), text.size())), r);
      if (rank_ == root) all.push_back(std::move(text));
    }
    return all;
  }

 protected:
  CommRequest start_all_gather_elements(const void* mine, void* all, int64_t count, int64_t bytes) override {
    const auto* own = static_cast<const std::byte*>(all) + rank_ * count * bytes;
    const Element element(bytes);
    auto operation = std::make_unique<Transfer>();
    MPI_CHECK(MPI_Iallgather(mine == own ? MPI_IN_PLACE : mine, int_count(count), element.type, all, int_count(count),
                             element.type, comm_, &operation->request));
    return CommRequest(std::move(operation));
  }
  CommRequest start_all_to_all_elements(const void* send, std::span<const int64_t> send_counts, void* recv,
                                        std::span<const int64_t> recv_counts, int64_t bytes) override {
    const Element element(bytes);
    auto operation = std::make_unique<Transfer>();
    Layout& to = operation->send;
    Layout& from = operation->recv;
    to = layout(send_counts);
    from = layout(recv_counts);
    MPI_CHECK(MPI_Ialltoallv(send, to.counts.data(), to.offsets.data(), element.type, recv, from.counts.data(),
                             from.offsets.data(), element.type, comm_, &operation->request));
    return CommRequest(std::move(operation));
  }

 private:
  // `bytes` bytes as one MPI element, so that counts, which are int, count elements.
  struct Element {
    explicit Element(int64_t bytes) {
      MPI_CHECK(MPI_Type_contiguous(static_cast<int>(bytes), MPI_BYTE, &type));
      MPI_CHECK(MPI_Type_commit(&type));
    }
    ~Element() { MPI_Type_free(&type); }  // MPI keeps it for the transfers that use it
    Element(const Element&) = delete;
    Element& operator=(const Element&) = delete;
    MPI_Datatype type = MPI_DATATYPE_NULL;
  };
  struct Layout {
    std::vector<int> counts, offsets;
  };
  struct Transfer final : CommRequest::Operation {
    MPI_Request request = MPI_REQUEST_NULL;
    Layout send, recv;  // MPI reads them until the transfer is done
    ~Transfer() override {
      if (request != MPI_REQUEST_NULL) MPI_Wait(&request, MPI_STATUS_IGNORE);
    }
    void wait() override { MpiComm::wait(request); }
  };
  static int int_count(int64_t count) {
    SY_CHECK(count >= 0 && count <= std::numeric_limits<int>::max(), "{} elements in one message", count);
    return static_cast<int>(count);
  }
  static Layout layout(std::span<const int64_t> counts) {
    Layout out;
    int64_t offset = 0;
    for (const int64_t count : counts) {
      out.counts.push_back(int_count(count));
      out.offsets.push_back(int_count(offset));
      offset += count;
    }
    return out;
  }

  template <class T>
  void all_reduce(std::span<T> values, MPI_Datatype type) {
    if (size_ == 1) return;
    for (std::size_t begin = 0; begin < values.size(); begin += kMaxCount) {
      const std::size_t count = std::min(kMaxCount, values.size() - begin);
      MPI_Request request;
      MPI_CHECK(
          MPI_Iallreduce(MPI_IN_PLACE, values.data() + begin, static_cast<int>(count), type, MPI_SUM, comm_, &request));
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
  std::string name_;
  std::shared_ptr<CommPlace> place_;
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
  world_ = std::make_unique<MpiComm>(MPI_COMM_WORLD, "world", std::make_shared<CommPlace>());
}

MpiSession::~MpiSession() {
  if (active_) MPI_Finalize();
}

void MpiSession::abort(int exit_code) {
  if (active_ && world_->size() > 1) MPI_Abort(MPI_COMM_WORLD, exit_code);
}

}  // namespace sy
