// Simulated CUDA streams: each is a queue of operations, which run later, in an order drawn from the schedule seed.
//
// An operation runs inside some call of the runtime, when the scheduler draws its stream: after an enqueue, in a query,
// or while the host waits. Streams interleave only as CUDA allows: a stream in its own order; the legacy default
// stream (null) after everything enqueued before it on blocking streams and before everything enqueued there later;
// cudaStreamWaitEvent after the record it names. A kernel runs as a whole: two kernels never interleave.
//
// The seed serves the threads of a block (executor.h) and the streams alike:
//   0  the plainest order: threads ascending, an operation runs as soon as it may, mostly when it is enqueued. The
//      default, because a fault then surfaces in the call that caused it, and because it is the fastest.
//   1  the opposite extreme: threads descending; an operation runs only when the host waits for it or for what needs
//   it. else  drawn: threads in a random order, streams at random times; equal seeds give equal orders.
// The environment variable SY_SIM_SEED sets it for a whole program.
//
// Faults. An exception that an operation throws leaves the call in which the operation ran, or the next one: calls that
// destructors make (cudaFree, cudaFreeAsync, cudaFreeHost, cudaStreamDestroy, cudaEventDestroy) keep it. As on
// hardware nothing that was enqueued before runs any more; what is enqueued later does. A program that ends with a
// fault that no call threw says so and exits with 1.
#pragma once

#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

namespace sy::cuda_sim {

void set_schedule_seed(uint64_t seed);
uint64_t schedule_seed();

// `advance` is called until it returns true. It must not block and must not call the runtime. `what` names the
// operation in reports.
void enqueue(cudaStream_t stream, const char* what, std::function<bool()> advance);

cudaStream_t create_stream(bool is_blocking);
void destroy_stream(cudaStream_t stream);  // its work is completed
bool is_stream(cudaStream_t stream);       // null (the legacy default stream) is one

// Everything that was enqueued up to a moment, on one stream or on all.
struct Point {
  cudaStream_t stream = nullptr;  // never null for the legacy default stream
  bool on_all_streams = false;
  uint64_t ticket = 0;
};
Point now(cudaStream_t stream);
Point now_on_all_streams();
void wait_for(const Point& point);
// Whether it is reached. If not, the device goes on a little, so that who polls gets there.
bool poll(const Point& point);
// The device goes on a little, whatever the host does. For simulated libraries, while the host waits in them. Faults
// are kept.
void progress();

// The newest operation of a stream, as a number; 0: none that the host has not waited for.
uint64_t newest_operation(cudaStream_t stream);

// What cudaEventRecord captures; a wait for it is a wait for this record, also when the event is recorded again.
struct Record {
  Point point;
  bool is_done = false;
  std::chrono::steady_clock::time_point time{};
};
std::shared_ptr<const Record> record(cudaStream_t stream);
void wait_in_stream(cudaStream_t stream, std::shared_ptr<const Record> record);

// While one lives, calls of this thread keep faults instead of throwing them.
class KeepFaults {
 public:
  KeepFaults();
  ~KeepFaults();
  KeepFaults(const KeepFaults&) = delete;
  KeepFaults& operator=(const KeepFaults&) = delete;
};

}  // namespace sy::cuda_sim
