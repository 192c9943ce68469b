// Context: everything an op needs besides its operands: device, allocator, stream, step state, tape, mesh.
// There are no globals; two contexts in one process do not see each other.
//
// Two streams: kernels, copies and the allocator's memory are ordered on the compute stream; collectives may travel on
// the communication stream meanwhile. Before a collective uses a tensor, the communication stream waits for an event
// recorded on the compute stream; before its result is used, and before any tensor it used is let go, the compute
// stream waits for an event recorded after it. So a tensor in flight is kept until that wait is enqueued: its memory
// then goes back in compute order.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "csrc/core/allocator.h"
#include "csrc/core/stream.h"
#include "csrc/core/tensor.h"
#include "kernels/step_state.h"

namespace sy {

class Tape;
class Mesh;
class Replay;
class StepTrace;
namespace moe {
class RoutingLog;
}

class Context {
 public:
  explicit Context(DeviceType device);
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  DeviceType device() const { return allocator_->device(); }
  Allocator& allocator() { return *allocator_; }
  void* stream() const { return compute_stream_.handle(); }  // what kernels take
  Stream& compute_stream() { return compute_stream_; }
  Stream& communication_stream() { return communication_stream_; }

  // Uninitialised memory of the kind in scope (activations unless a MemoryScope says otherwise).
  Tensor empty(Shape shape, DType dtype);
  Tensor empty(Shape shape, DType dtype, MemoryKind kind);
  Tensor zeros(Shape shape, DType dtype);
  Tensor zeros(Shape shape, DType dtype, MemoryKind kind);
  void set_zero(const Tensor& tensor);
  // Copies between host and device; they wait for the compute stream. On the meta device nothing is copied.
  void copy_from_host(const Tensor& destination, const void* source);
  void copy_to_host(void* destination, const Tensor& source);
  void copy(const Tensor& destination, const Tensor& source);  // same count and type, same device
  template <class T>
  Tensor from_host(std::span<const T> values, Shape shape, MemoryKind kind) {
    Tensor t = empty(std::move(shape), dtype_of<T>(), kind);
    SY_CHECK(t.count() == static_cast<int64_t>(values.size()), "{} values for shape {}", values.size(),
             shape_string(t.shape()));
    copy_from_host(t, values.data());
    return t;
  }
  template <class T>
  std::vector<T> to_host(const Tensor& tensor) {
    SY_CHECK(tensor.dtype() == dtype_of<T>(), "a {} tensor read as {}", dtype_name(tensor.dtype()),
             dtype_name(dtype_of<T>()));
    std::vector<T> values(static_cast<std::size_t>(tensor.count()));
    copy_to_host(values.data(), tensor);
    return values;
  }
  void synchronize();  // waits for the compute stream

  // The per-step values. Host code edits `host_step_state` and calls upload; kernels get the device pointer.
  StepState host_step_state{};
  void upload_step_state();
  void download_step_state();
  StepState* step_state() const;

  Tape* tape = nullptr;        // null: nothing is recorded (evaluation, generation)
  Replay* replay = nullptr;    // saved routing of a recomputed region (csrc/autograd/checkpoint.h); null outside
  Mesh* mesh = nullptr;        // null: one rank
  StepTrace* trace = nullptr;  // null: the order of events is not recorded
  moe::RoutingLog* routing_log = nullptr;  // null: assignments are neither recorded nor replayed
  bool training = false;
  bool overlap = true;  // false: transfers are awaited where they start, to measure what hiding them gains
  MemoryKind memory_kind = MemoryKind::activations;
  // Expert segments start at multiples of this many rows (1 on the CPU, the GEMM tile on a GPU).
  int64_t row_alignment = 1;

 private:
  // Before the host waits for the compute stream.
  void await_other_ranks();

  Stream compute_stream_, communication_stream_;
  std::unique_ptr<Allocator> allocator_;
  Tensor step_state_;
};

// Sets the memory kind of allocations for its lifetime.
class MemoryScope {
 public:
  MemoryScope(Context& ctx, MemoryKind kind) : ctx_(ctx), saved_(ctx.memory_kind) { ctx.memory_kind = kind; }
  ~MemoryScope() { ctx_.memory_kind = saved_; }
  MemoryScope(const MemoryScope&) = delete;
  MemoryScope& operator=(const MemoryScope&) = delete;

 private:
  Context& ctx_;
  MemoryKind saved_;
};

}  // namespace sy
