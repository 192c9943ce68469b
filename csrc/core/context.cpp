#include "csrc/core/context.h"

#include <cstring>

#include "csrc/core/device.h"
#include "csrc/core/step_trace.h"
#include "parallel/device_transfers.h"
#include "parallel/mesh.h"

namespace sy {

namespace {

std::unique_ptr<Allocator> make_allocator(DeviceType device, const Stream& stream) {
  switch (device) {
    case DeviceType::cpu:
      return make_cpu_allocator();
    case DeviceType::meta:
      return make_meta_allocator();
    case DeviceType::cuda:
      return make_cuda_allocator(stream.handle());
  }
  return nullptr;
}

}  // namespace

Context::Context(DeviceType device)
    : compute_stream_(device), communication_stream_(device), allocator_(make_allocator(device, compute_stream_)) {
  step_state_ = empty({static_cast<int64_t>(sizeof(StepState))}, DType::u8, MemoryKind::data);
  host_step_state.clip_coefficient = 1.0;
  upload_step_state();
}

Tensor Context::empty(Shape shape, DType dtype) { return Tensor(*allocator_, std::move(shape), dtype, memory_kind); }

Tensor Context::empty(Shape shape, DType dtype, MemoryKind kind) {
  return Tensor(*allocator_, std::move(shape), dtype, kind);
}

Tensor Context::zeros(Shape shape, DType dtype) { return zeros(std::move(shape), dtype, memory_kind); }

Tensor Context::zeros(Shape shape, DType dtype, MemoryKind kind) {
  Tensor t = empty(std::move(shape), dtype, kind);
  set_zero(t);
  return t;
}

void Context::set_zero(const Tensor& tensor) {
  if (trace != nullptr) trace->compute("set_zero", {.bytes = static_cast<double>(tensor.bytes())});
  if (tensor.raw() == nullptr) return;
  if (device() == DeviceType::cuda) device_api::set_zero(tensor.raw(), tensor.bytes(), stream());
  else std::memset(tensor.raw(), 0, static_cast<std::size_t>(tensor.bytes()));
}

void Context::copy_from_host(const Tensor& destination, const void* source) {
  if (destination.raw() == nullptr) return;
  await_other_ranks();
  if (device() == DeviceType::cuda)
    device_api::copy_from_host(destination.raw(), source, destination.bytes(), stream());
  else std::memcpy(destination.raw(), source, static_cast<std::size_t>(destination.bytes()));
}

void Context::copy_to_host(void* destination, const Tensor& source) {
  if (source.raw() == nullptr) {
    std::memset(destination, 0, static_cast<std::size_t>(source.bytes()));
    return;
  }
  await_other_ranks();
  if (device() == DeviceType::cuda) device_api::copy_to_host(destination, source.raw(), source.bytes(), stream());
  else std::memcpy(destination, source.raw(), static_cast<std::size_t>(source.bytes()));
}

void Context::copy(const Tensor& destination, const Tensor& source) {
  SY_CHECK(destination.count() == source.count() && destination.dtype() == source.dtype(), "copy of {} {} to {} {}",
           dtype_name(source.dtype()), shape_string(source.shape()), dtype_name(destination.dtype()),
           shape_string(destination.shape()));
  if (trace != nullptr) trace->compute("copy", {.bytes = 2 * static_cast<double>(source.bytes())});
  if (destination.raw() == nullptr) return;
  if (device() == DeviceType::cuda)
    device_api::copy_on_device(destination.raw(), source.raw(), source.bytes(), stream());
  else std::memcpy(destination.raw(), source.raw(), static_cast<std::size_t>(source.bytes()));
}

void Context::await_other_ranks() {
  if (device() == DeviceType::cuda && mesh != nullptr) mesh->transfers().wait_for(compute_stream_);
}

void Context::synchronize() {
  await_other_ranks();
  if (device() == DeviceType::cuda) device_api::synchronize(stream());
}

void Context::upload_step_state() { copy_from_host(step_state_, &host_step_state); }

void Context::download_step_state() {
  if (device() != DeviceType::meta) copy_to_host(&host_step_state, step_state_);
}

StepState* Context::step_state() const { return static_cast<StepState*>(step_state_.raw()); }

}  // namespace sy
