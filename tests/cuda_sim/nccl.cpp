#include "tests/cuda_sim/nccl.h"

#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/cuda_sim/executor.h"
#include "tests/cuda_sim/memory.h"
#include "tests/cuda_sim/streams.h"

namespace sy::cuda_sim {
namespace {

// MPI tags of Switchyard's own messages end at 32767; each communicator has one of its own above.
constexpr int kFirstTag = 1 << 16;

struct Communicator {
  int rank = 0;
  std::vector<int> world_ranks;
  int tag = 0;
  bool is_aborted = false;
};

struct Message {
  enum class Way { kSend, kReceive };
  Way way;
  void* data;
  size_t bytes;
  int peer;  // rank in the communicator
  bool is_matched = false;
  MPI_Request request = MPI_REQUEST_NULL;
};

bool is_complete(MPI_Request& request) {
  int done = 0;
  PMPI_Test(&request, &done, MPI_STATUS_IGNORE);
  return done != 0;
}

// The messages of one group call, or of one call.
class Exchange {
 public:
  Exchange(std::shared_ptr<const Communicator> comm, std::vector<Message> messages)
      : comm_(std::move(comm)), messages_(std::move(messages)) {}
  Exchange(const Exchange&) = delete;
  ~Exchange() {
    // Given up: of a fault or of ncclCommAbort.
    for (Message& message : messages_)
      if (message.request != MPI_REQUEST_NULL) PMPI_Request_free(&message.request);
  }

  bool advance() {
    if (comm_->is_aborted) return true;
    if (!std::exchange(has_started_, true)) start();
    std::vector<int> waits_for;
    bool done = true;
    for (Message& message : messages_) {
      if (!message.is_matched && !match(message, waits_for)) done = false;
      else if (!is_complete(message.request)) done = false;
    }
    if (!done) sched_yield();
    return done;
  }

 private:
  int world_rank(const Message& message) const { return comm_->world_ranks[static_cast<size_t>(message.peer)]; }

  // A send is complete when its receiver has taken it, as it may be on hardware.
  void start() {
    for (Message& message : messages_) {
      const bool sends = message.way == Message::Way::kSend;
      check_usable(sends ? "ncclSend" : "ncclRecv", message.data, message.bytes);
      if (!sends) continue;
      message.is_matched = true;
      PMPI_Issend(message.data, static_cast<int>(message.bytes), MPI_BYTE, world_rank(message), comm_->tag,
                  MPI_COMM_WORLD, &message.request);
    }
  }

  // Takes the next message of a peer, if it has come. Messages of one peer keep their order.
  bool match(Message& message, std::vector<int>& waits_for) {
    if (std::find(waits_for.begin(), waits_for.end(), message.peer) != waits_for.end()) return false;
    int has_come = 0;
    MPI_Message matched;
    MPI_Status status;
    PMPI_Improbe(world_rank(message), comm_->tag, MPI_COMM_WORLD, &has_come, &matched, &status);
    if (has_come == 0) {
      waits_for.push_back(message.peer);
      return false;
    }
    int bytes = 0;
    PMPI_Get_count(&status, MPI_BYTE, &bytes);
    if (static_cast<size_t>(bytes) != message.bytes) {
      std::vector<char> unwanted(static_cast<size_t>(bytes));
      PMPI_Mrecv(unwanted.data(), bytes, MPI_BYTE, &matched, MPI_STATUS_IGNORE);
      throw Fault("simulated NCCL: rank " + std::to_string(message.peer) + " sends " + std::to_string(bytes) +
                  " bytes, rank " + std::to_string(comm_->rank) + " expects " + std::to_string(message.bytes));
    }
    message.is_matched = true;
    PMPI_Imrecv(message.data, bytes, MPI_BYTE, &matched, &message.request);
    return true;
  }

  std::shared_ptr<const Communicator> comm_;
  std::vector<Message> messages_;
  bool has_started_ = false;
};

// What was called since the outermost ncclGroupStart: per communicator and stream one operation.
struct Fused {
  std::shared_ptr<const Communicator> comm;
  cudaStream_t stream;
  std::vector<Message> messages;
};
struct Group {
  int depth = 0;
  std::vector<Fused> operations;  // in the order of their first calls
};
Group group;

ncclResult_t async_error = ncclSuccess;

void call(const std::shared_ptr<const Communicator>& comm, cudaStream_t stream, Message message) {
  const auto found = std::find_if(group.operations.begin(), group.operations.end(), [&](const Fused& operation) {
    return operation.comm == comm && operation.stream == stream;
  });
  Fused& operation = found != group.operations.end() ? *found : group.operations.emplace_back(Fused{comm, stream, {}});
  operation.messages.push_back(message);
}

ncclResult_t flush() {
  for (Fused& operation : std::exchange(group.operations, {})) {
    auto exchange = std::make_shared<Exchange>(std::move(operation.comm), std::move(operation.messages));
    enqueue(operation.stream, "NCCL", [exchange] { return exchange->advance(); });
  }
  return ncclSuccess;
}

void wait_in_host(MPI_Request request) {
  while (!is_complete(request)) {
    progress();
    sched_yield();
  }
}

// What of a unique id is used.
struct Identity {
  int maker;  // rank in the job
  int number;
};

}  // namespace

void set_nccl_async_error(ncclResult_t error) { async_error = error; }

}  // namespace sy::cuda_sim

using namespace sy::cuda_sim;

struct ncclComm {
  std::shared_ptr<Communicator> shared;
};

namespace {

ncclResult_t add(Message::Way way, const void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                 cudaStream_t stream) {
  // Switchyard sends bytes, and no empty messages.
  if (type != ncclUint8 || count == 0 || count > INT_MAX || !is_device(data, count)) return ncclInvalidArgument;
  if (comm == nullptr || peer < 0 || static_cast<size_t>(peer) >= comm->shared->world_ranks.size())
    return ncclInvalidArgument;
  call(comm->shared, stream, {.way = way, .data = const_cast<void*>(data), .bytes = count, .peer = peer});
  return group.depth == 0 ? flush() : ncclSuccess;
}

}  // namespace

extern "C" {

int MPI_Test(MPI_Request* request, int* done, MPI_Status* status) {
  progress();
  return PMPI_Test(request, done, status);
}

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess:
      return "no error";
    case ncclSystemError:
      return "unhandled system error";
    case ncclInvalidArgument:
      return "invalid argument";
    case ncclInvalidUsage:
      return "invalid usage";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    default:
      return "simulated NCCL error";
  }
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  static int number = 0;
  int initialized = 0;
  Identity identity{};
  PMPI_Initialized(&initialized);
  if (initialized == 0) return ncclSystemError;
  PMPI_Comm_rank(MPI_COMM_WORLD, &identity.maker);
  identity.number = number++;
  std::memset(id, 0, sizeof(*id));
  std::memcpy(id->internal, &identity, sizeof(identity));
  return ncclSuccess;
}

// Every rank tells the maker of the id who it is, and the maker tells everybody who all are.
ncclResult_t ncclCommInitRank(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank) {
  int initialized = 0, me = 0, world = 1;
  PMPI_Initialized(&initialized);
  if (initialized == 0) return ncclSystemError;
  PMPI_Comm_rank(MPI_COMM_WORLD, &me);
  PMPI_Comm_size(MPI_COMM_WORLD, &world);
  Identity identity;
  std::memcpy(&identity, id.internal, sizeof(identity));
  auto made = std::make_unique<ncclComm>(std::make_shared<Communicator>());
  Communicator& shared = *made->shared;
  shared.rank = rank;
  shared.tag = kFirstTag + identity.number * world + identity.maker;
  shared.world_ranks.assign(static_cast<size_t>(ranks), me);
  MPI_Request request = MPI_REQUEST_NULL;
  if (me == identity.maker) {
    for (int i = 1; i < ranks; ++i) {
      int who[2];
      PMPI_Irecv(who, 2, MPI_INT, MPI_ANY_SOURCE, shared.tag, MPI_COMM_WORLD, &request);
      wait_in_host(request);
      shared.world_ranks[static_cast<size_t>(who[0])] = who[1];
    }
    for (const int other : shared.world_ranks) {
      if (other == me) continue;
      PMPI_Isend(shared.world_ranks.data(), ranks, MPI_INT, other, shared.tag, MPI_COMM_WORLD, &request);
      wait_in_host(request);
    }
  } else {
    const int who[2] = {rank, me};
    PMPI_Isend(who, 2, MPI_INT, identity.maker, shared.tag, MPI_COMM_WORLD, &request);
    wait_in_host(request);
    PMPI_Irecv(shared.world_ranks.data(), ranks, MPI_INT, identity.maker, shared.tag, MPI_COMM_WORLD, &request);
    wait_in_host(request);
  }
  *comm = made.release();
  return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  delete comm;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  comm->shared->is_aborted = true;
  return ncclCommDestroy(comm);
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  if (comm == nullptr) return ncclInvalidArgument;
  *error = async_error;
  return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
  ++group.depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  if (group.depth == 0) return ncclInvalidUsage;
  return --group.depth == 0 ? flush() : ncclSuccess;
}

ncclResult_t ncclSend(const void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add(Message::Way::kSend, data, count, type, peer, comm, stream);
}
ncclResult_t ncclRecv(void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream) {
  return add(Message::Way::kReceive, data, count, type, peer, comm, stream);
}

ncclResult_t ncclAllGather(const void* mine, void* all, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
  const int ranks = static_cast<int>(comm->shared->world_ranks.size());
  ncclGroupStart();
  ncclResult_t result = ncclSuccess;
  for (int r = 0; r < ranks && result == ncclSuccess; ++r) {
    char* segment = static_cast<char*>(all) + static_cast<size_t>(r) * count;
    if (r == comm->shared->rank && segment == mine) continue;
    result = ncclRecv(segment, count, type, r, comm, stream);
    if (result == ncclSuccess) result = ncclSend(mine, count, type, r, comm, stream);
  }
  const ncclResult_t end = ncclGroupEnd();
  return result != ncclSuccess ? result : end;
}

ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream) {
  const int ranks = static_cast<int>(comm->shared->world_ranks.size()), rank = comm->shared->rank;
  if (rank != root) return ncclRecv(to, count, type, root, comm, stream);
  ncclGroupStart();
  ncclResult_t result = ncclSuccess;
  for (int r = 0; r < ranks && result == ncclSuccess; ++r)
    if (r != root) result = ncclSend(from, count, type, r, comm, stream);
  if (to != from) {
    if (result == ncclSuccess) result = ncclRecv(to, count, type, root, comm, stream);
    if (result == ncclSuccess) result = ncclSend(from, count, type, root, comm, stream);
  }
  const ncclResult_t end = ncclGroupEnd();
  return result != ncclSuccess ? result : end;
}

}  // extern "C"
