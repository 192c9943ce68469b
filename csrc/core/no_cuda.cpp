// Takes the place of device_cuda.cpp in a build without CUDA.
#include "csrc/core/allocator.h"
#include "csrc/core/check.h"
#include "csrc/core/device.h"

namespace sy {

namespace {
[[noreturn]] void no_cuda() {
  user_error("device.type: cuda needs a build with CUDA; use `cmake --preset cuda`, or set device.type: cpu");
}
}  // namespace

std::unique_ptr<Allocator> make_cuda_allocator(void*) { no_cuda(); }

namespace device_api {
int device_count() { return 0; }
std::string device_name() { return "none"; }
std::string device_identity() { no_cuda(); }
void use_device(int) { no_cuda(); }
void* create_stream() { no_cuda(); }
void destroy_stream(void*) {}
void synchronize(void*) { no_cuda(); }
void* create_event() { no_cuda(); }
void destroy_event(void*) {}
void record_event(void*, void*) { no_cuda(); }
void stream_wait(void*, void*) { no_cuda(); }
bool event_done(void*) { no_cuda(); }
void set_zero(void*, int64_t, void*) { no_cuda(); }
void copy_from_host(void*, const void*, int64_t, void*) { no_cuda(); }
void copy_to_host(void*, const void*, int64_t, void*) { no_cuda(); }
void copy_on_device(void*, const void*, int64_t, void*) { no_cuda(); }
}  // namespace device_api

}  // namespace sy
