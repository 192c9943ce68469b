// The few device calls the host side needs, behind one header: device_cuda.cpp (CUDA, real or simulated) or
// no_cuda.cpp, which throws, takes their place at link time. No #ifdef at call sites.
#pragma once

#include <cstdint>
#include <string>

namespace sy::device_api {

int device_count();             // 0 without a usable GPU (any error counts as none)
std::string device_name();      // of the current GPU
std::string device_identity();  // of the current GPU, among those of all machines
void use_device(int device);    // the current GPU of this thread from here on; 0 at first
// A stream waits for no other by itself, not for the default stream either; events order streams.
void* create_stream();
void destroy_stream(void* stream);
void synchronize(void* stream);
void* create_event();
void destroy_event(void* event);
void record_event(void* event, void* stream);  // from here on the event stands for all that is enqueued on `stream` now
void stream_wait(void* stream, void* event);   // what is enqueued on `stream` later runs after the event's last record
bool event_done(void* event);                  // true also for an event that was never recorded; does not wait
void set_zero(void* pointer, int64_t bytes, void* stream);
void copy_from_host(void* destination, const void* source, int64_t bytes, void* stream);  // returns when copied
void copy_to_host(void* destination, const void* source, int64_t bytes, void* stream);    // returns when copied
void copy_on_device(void* destination, const void* source, int64_t bytes, void* stream);

}  // namespace sy::device_api
