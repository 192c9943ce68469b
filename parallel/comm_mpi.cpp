// MPI collectives. Waits poll: a rank inside a blocking collective could be neither watched nor interrupted.
//
// all_gather and all_to_all are point-to-point messages (OpenMPI's own non-blocking forms are nothing else inside), so
// that offsets and lengths are 64-bit. Messages between two ranks of a group keep their order, as its collectives do.
#include <mpi.h>
#include <sched.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <list>
#include <utility>

#include "csrc/core/check.h"
#include "parallel/comm.h"
#include "parallel/pieces.h"
#include "parallel/watchdog.h"

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

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int rank_in(MPI_Comm comm) {
  int rank = 0;
  MPI_CHECK(MPI_Comm_rank(comm, &rank));
  return rank;
}

// The watchdog's world: notices travel on a communicator of their own.
class Notices final : public Watchdog::World {
 public:
  Notices() {
    MPI_CHECK(MPI_Comm_dup(MPI_COMM_WORLD, &comm_));
    MPI_CHECK(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN));
  }
  double now() override { return seconds_now(); }
  void send(int rank, const Notice& notice) override {
    std::erase_if(sent_, [](Sent& sent) {
      int done = 0;
      MPI_CHECK(MPI_Test(&sent.request, &done, MPI_STATUS_IGNORE));
      return done != 0;
    });
    Sent& sent = sent_.emplace_back(Sent{notice, MPI_REQUEST_NULL});
    MPI_CHECK(MPI_Isend(&sent.notice, sizeof(Notice), MPI_BYTE, rank, 0, comm_, &sent.request));
  }
  bool receive(Notice& notice) override {
    int is_there = 0;
    MPI_Status status;
    MPI_CHECK(MPI_Iprobe(MPI_ANY_SOURCE, 0, comm_, &is_there, &status));
    if (is_there == 0) return false;
    MPI_CHECK(MPI_Recv(&notice, sizeof(Notice), MPI_BYTE, status.MPI_SOURCE, 0, comm_, MPI_STATUS_IGNORE));
    return true;
  }
  void say(const std::string& line) override {
    // One write, so that the lines of several ranks do not mix.
    const std::string text = line + "\n";
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
  }
  void abort() override { MPI_Abort(MPI_COMM_WORLD, 1); }
  // Takes what nobody asked for any more, so that MPI has no message left when it ends.
  void drain() {
    Notice notice;
    while (receive(notice)) {
    }
  }

 private:
  struct Sent {
    Notice notice;
    MPI_Request request;
  };
  MPI_Comm comm_ = MPI_COMM_NULL;
  std::list<Sent> sent_;  // MPI reads a notice until its request is done
};

// What all communicators of the process share.
struct Process {
  CommPlace place;
  Notices notices;
  Watchdog watchdog{rank_in(MPI_COMM_WORLD), place, notices};
  bool debug = false;
};

// True when all of `requests` are done; `first_open` remembers how far the earlier calls got.
bool all_done(std::span<MPI_Request> requests, std::size_t& first_open) {
  for (; first_open < requests.size(); ++first_open) {
    int done = 0;
    MPI_CHECK(MPI_Test(&requests[first_open], &done, MPI_STATUS_IGNORE));
    if (done == 0) return false;
  }
  return true;
}

// One collective of one group, from the first message to the end of the wait.
struct Call {
  Process* process;
  const WatchedGroup* group;
  CommKind kind;
  int64_t number;

  void wait(std::span<MPI_Request> requests) const {
    std::size_t first_open = 0;
    poll([&] { return all_done(requests, first_open); });
  }
  template <class IsDone>
  void poll(IsDone&& is_done) const {
    if (is_done()) return;
    Watchdog::Wait wait(process->watchdog, *group, kind, number);
    do {
      sched_yield();
      wait.poll();
    } while (!is_done());
    wait.finished();
  }
};

// The messages of one collective.
class Transfer final : public CommRequest::Operation {
 public:
  Transfer(std::shared_ptr<Process> process, MPI_Comm comm, Call call)
      : process_(std::move(process)), comm_(comm), call_(call) {}
  ~Transfer() override {
    if (is_complete_) return;
    try {
      if (std::uncaught_exceptions() == 0) {
        call_.wait(requests_);
        return;
      }
      // While an error unwinds, the others may never come: they get a second.
      std::size_t first_open = 0;
      for (const double end = seconds_now() + 1; !all_done(requests_, first_open) && seconds_now() < end;)
        sched_yield();
    } catch (const std::exception&) {
    }
  }
  void receive(void* data, int64_t bytes, int from) {
    for_each_piece(bytes, kMaxMessageBytes, [&](int64_t begin, int64_t length) {
      MPI_CHECK(MPI_Irecv(static_cast<std::byte*>(data) + begin, static_cast<int>(length), MPI_BYTE, from, tag(), comm_,
                          &requests_.emplace_back(MPI_REQUEST_NULL)));
    });
  }
  void send(const void* data, int64_t bytes, int to) {
    for_each_piece(bytes, kMaxMessageBytes, [&](int64_t begin, int64_t length) {
      MPI_CHECK(MPI_Isend(static_cast<const std::byte*>(data) + begin, static_cast<int>(length), MPI_BYTE, to, tag(),
                          comm_, &requests_.emplace_back(MPI_REQUEST_NULL)));
    });
  }
  void wait() override {
    call_.wait(requests_);
    is_complete_ = true;
  }

 private:
  // MPI promises tags up to 32767. Collectives that ranks number differently then hang, which is seen, and do not mix.
  int tag() const { return static_cast<int>(call_.number % 32768); }

  std::shared_ptr<Process> process_;
  MPI_Comm comm_;
  Call call_;
  std::vector<MPI_Request> requests_;
  bool is_complete_ = false;
};

class MpiComm final : public Comm {
 public:
  MpiComm(MPI_Comm comm, std::string name, uint64_t id, std::shared_ptr<Process> process)
      : comm_(comm), name_(std::move(name)), process_(std::move(process)), rank_(rank_in(comm)) {
    MPI_CHECK(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN));
    MPI_CHECK(MPI_Comm_size(comm_, &size_));
    group_ = &process_->watchdog.add_group(name_, id, world_ranks());
  }
  ~MpiComm() override {
    if (comm_ != MPI_COMM_WORLD) MPI_Comm_free(&comm_);
  }
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const std::string& name() const override { return name_; }
  std::unique_ptr<Comm> split(int color, int key, const std::string& name) override {
    SY_CHECK(color >= 0, "color {} of group '{}'", color, name);
    const Call call = begin_call(CommKind::kSplit);
    meet(call);  // the split itself cannot be watched; with everybody here it is short
    MPI_Comm part = MPI_COMM_NULL;
    MPI_CHECK(MPI_Comm_split(comm_, color, key, &part));
    // Of all groups that this job makes, no other comes from the same call with the same color. (Multipliers: odd
    // constants of the SplitMix64 generator, which spread their argument over all bits.)
    uint64_t id = group_->id;
    for (const auto part_of_id : {static_cast<uint64_t>(call.number), static_cast<uint64_t>(color)}) {
      id = (id ^ (id >> 31) ^ part_of_id) * 0x9e3779b97f4a7c15u;
      id = (id ^ (id >> 27)) * 0x94d049bb133111ebu;
    }
    return std::make_unique<MpiComm>(part, name, id, process_);
  }
  CommPlace& place() override { return process_->place; }
  void configure(const CommOptions& options) override {
    process_->debug = options.debug;
    process_->watchdog.configure(options.report_after_s, options.abort_after_s);
  }
  std::size_t describe_wait(std::span<char> text) const override { return process_->watchdog.describe_wait(text); }

  void all_reduce_sum(std::span<float> values) override { all_reduce(values, MPI_FLOAT); }
  void all_reduce_sum(std::span<double> values) override { all_reduce(values, MPI_DOUBLE); }
  void all_reduce_sum(std::span<int64_t> values) override { all_reduce(values, MPI_INT64_T); }
  void broadcast(std::span<std::byte> bytes, int root) override {
    const auto count = static_cast<int64_t>(bytes.size());
    const Call call = begin_call(CommKind::kBroadcast, comm_element<std::byte>(), count, root);
    if (size_ == 1) return;
    for_each_piece(count, kMaxMessageBytes, [&](int64_t begin, int64_t length) {
      MPI_Request request;
      MPI_CHECK(MPI_Ibcast(bytes.data() + begin, static_cast<int>(length), MPI_BYTE, root, comm_, &request));
      call.wait({&request, 1});
    });
  }
  void barrier() override { meet(begin_call(CommKind::kBarrier)); }
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
  // The end of the program: everybody comes here before MPI ends.
  void finish() {
    meet(begin_call(CommKind::kFinish));
    process_->notices.drain();
  }

 protected:
  CommRequest start_all_gather_elements(const void* mine, void* all, int64_t count, CommElement element) override {
    const Call call = begin_call(CommKind::kAllGather, element, count);
    const int64_t bytes = count * element.bytes;
    auto* segments = static_cast<std::byte*>(all);
    std::byte* own = segments + rank_ * bytes;
    if (bytes > 0 && mine != own) std::memcpy(own, mine, static_cast<std::size_t>(bytes));
    if (size_ == 1) return {};
    auto transfer = std::make_unique<Transfer>(process_, comm_, call);
    for (int i = 1; i < size_; ++i) transfer->receive(segments + before(i) * bytes, bytes, before(i));
    for (int i = 1; i < size_; ++i) transfer->send(own, bytes, after(i));
    return CommRequest(std::move(transfer));
  }
  CommRequest start_all_to_all_elements(const void* send, std::span<const int64_t> send_counts, void* recv,
                                        std::span<const int64_t> recv_counts, CommElement element,
                                        CommKind kind) override {
    const Call call = begin_exchange(kind, element, send_counts, recv_counts);
    const std::vector<int64_t> to = offsets(send_counts, element), from = offsets(recv_counts, element);
    const auto outgoing = [&](int r) { return static_cast<const std::byte*>(send) + to[static_cast<std::size_t>(r)]; };
    const auto incoming = [&](int r) { return static_cast<std::byte*>(recv) + from[static_cast<std::size_t>(r)]; };
    const auto bytes = [](const std::vector<int64_t>& offsets, int r) {
      return offsets[static_cast<std::size_t>(r) + 1] - offsets[static_cast<std::size_t>(r)];
    };
    SY_CHECK(bytes(to, rank_) == bytes(from, rank_), "rank {} sends itself {} bytes and expects {}", rank_,
             bytes(to, rank_), bytes(from, rank_));
    if (bytes(to, rank_) > 0 && incoming(rank_) != outgoing(rank_))
      std::memcpy(incoming(rank_), outgoing(rank_), static_cast<std::size_t>(bytes(to, rank_)));
    if (size_ == 1) return {};
    auto transfer = std::make_unique<Transfer>(process_, comm_, call);
    // Each rank begins with another partner, so that they do not all send to rank 0 first.
    for (int i = 1; i < size_; ++i) transfer->receive(incoming(before(i)), bytes(from, before(i)), before(i));
    for (int i = 1; i < size_; ++i) transfer->send(outgoing(after(i)), bytes(to, after(i)), after(i));
    return CommRequest(std::move(transfer));
  }
  int64_t begin_on_device(CommKind kind, CommElement element, int64_t count, int root,
                          std::span<const int64_t> send_counts, std::span<const int64_t> recv_counts) override {
    if (kind == CommKind::kAllToAll) return begin_exchange(kind, element, send_counts, recv_counts).number;
    return begin_call(kind, element, count, root).number;
  }
  void poll(CommKind kind, int64_t number, const std::function<bool()>& is_done) override {
    Call{process_.get(), group_, kind, number}.poll(is_done);
  }

 private:
  int before(int i) const { return (rank_ - i + size_) % size_; }
  int after(int i) const { return (rank_ + i) % size_; }

  std::vector<int> world_ranks() const {
    MPI_Group group = MPI_GROUP_NULL, world = MPI_GROUP_NULL;
    MPI_CHECK(MPI_Comm_group(comm_, &group));
    MPI_CHECK(MPI_Comm_group(MPI_COMM_WORLD, &world));
    std::vector<int> inside(static_cast<std::size_t>(size_)), ranks(inside.size());
    for (int r = 0; r < size_; ++r) inside[static_cast<std::size_t>(r)] = r;
    MPI_CHECK(MPI_Group_translate_ranks(group, size_, inside.data(), world, ranks.data()));
    MPI_Group_free(&group);
    MPI_Group_free(&world);
    return ranks;
  }

  // Byte offsets of the ranks' elements, and the end.
  static std::vector<int64_t> offsets(std::span<const int64_t> counts, CommElement element) {
    std::vector<int64_t> offsets = {0};
    for (const int64_t count : counts) offsets.push_back(offsets.back() + count * element.bytes);
    return offsets;
  }

  // Numbers the next collective of this group and, in debug mode, compares it with the other ranks' next.
  Call begin_call(CommKind kind, CommElement element = {}, int64_t count = -1, int root = -1) {
    const Call call{process_.get(), group_, kind, ++group_->started};
    if (!process_->debug || size_ == 1) return call;
    const CommCall mine(kind, call.number, element, count, root);
    const std::vector<CommCall> calls = gather(call, std::span(&mine, 1));
    const std::string difference = describe_difference(name_, group_->ranks, calls);
    if (!difference.empty()) throw Error(difference);
    return call;
  }
  Call begin_exchange(CommKind kind, CommElement element, std::span<const int64_t> send_counts,
                      std::span<const int64_t> recv_counts) {
    const Call call = begin_call(kind, element, kind == CommKind::kAllToAll ? -1 : send_counts[0]);
    if (process_->debug) compare_counts(call, element, send_counts, recv_counts);
    return call;
  }
  void compare_counts(const Call& call, CommElement element, std::span<const int64_t> send_counts,
                      std::span<const int64_t> recv_counts) {
    std::vector<int64_t> mine(send_counts.begin(), send_counts.end());
    mine.insert(mine.end(), recv_counts.begin(), recv_counts.end());
    const std::vector<int64_t> counts = gather(call, std::span<const int64_t>(mine));
    const std::string difference =
        describe_difference(name_, group_->ranks, CommCall(call.kind, call.number, element, -1, -1), counts);
    if (!difference.empty()) throw Error(difference);
  }
  // What debug mode compares, of all ranks, as part of `call`.
  template <class T>
  std::vector<T> gather(const Call& call, std::span<const T> mine) {
    std::vector<T> all(mine.size() * static_cast<std::size_t>(size_));
    MPI_Request request;
    const int bytes = static_cast<int>(mine.size_bytes());
    MPI_CHECK(MPI_Iallgather(mine.data(), bytes, MPI_BYTE, all.data(), bytes, MPI_BYTE, comm_, &request));
    call.wait({&request, 1});
    return all;
  }

  void meet(const Call& call) {
    if (size_ == 1) return;
    MPI_Request request;
    MPI_CHECK(MPI_Ibarrier(comm_, &request));
    call.wait({&request, 1});
  }
  template <class T>
  void all_reduce(std::span<T> values, MPI_Datatype type) {
    const auto count = static_cast<int64_t>(values.size());
    const Call call = begin_call(CommKind::kAllReduceSum, comm_element<T>(), count);
    if (size_ == 1) return;
    for_each_piece(count, kMaxReduceCount, [&](int64_t begin, int64_t length) {
      MPI_Request request;
      MPI_CHECK(MPI_Iallreduce(MPI_IN_PLACE, values.data() + begin, static_cast<int>(length), type, MPI_SUM, comm_,
                               &request));
      call.wait({&request, 1});
    });
  }

  MPI_Comm comm_;
  std::string name_;
  std::shared_ptr<Process> process_;
  int rank_, size_ = 1;
  WatchedGroup* group_;
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
  world_ = std::make_unique<MpiComm>(MPI_COMM_WORLD, "world", 0, std::make_shared<Process>());
}

MpiSession::~MpiSession() {
  if (!active_) return;
  try {
    static_cast<MpiComm&>(*world_).finish();
  } catch (const std::exception& e) {
    fmt::print(stderr, "switchyard: {}\n", e.what());
    abort(1);  // MPI_Finalize would wait for ever
  }
  MPI_Finalize();
}

void MpiSession::abort(int exit_code) {
  if (active_ && world_->size() > 1) MPI_Abort(MPI_COMM_WORLD, exit_code);
}

}  // namespace sy
