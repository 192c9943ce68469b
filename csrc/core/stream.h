// Stream and Event: RAII over the device's queues of work. On the CPU and the meta device work is done when its call
// returns: there both are empty, and every verb does nothing.
#pragma once

#include "csrc/core/allocator.h"
#include "csrc/core/device.h"

namespace sy {

class Event;

class Stream {
 public:
  explicit Stream(DeviceType device) : handle_(device == DeviceType::cuda ? device_api::create_stream() : nullptr) {}
  ~Stream() {
    if (handle_ != nullptr) device_api::destroy_stream(handle_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void* handle() const { return handle_; }
  // What is enqueued from here on runs after the event's last record. The host does not wait.
  void wait_for(const Event& event);

 private:
  void* handle_;
};

// A place in a stream. May be recorded again and again: each wait is for the record before it.
class Event {
 public:
  explicit Event(DeviceType device) : handle_(device == DeviceType::cuda ? device_api::create_event() : nullptr) {}
  ~Event() {
    if (handle_ != nullptr) device_api::destroy_event(handle_);
  }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void* handle() const { return handle_; }
  void record(const Stream& stream) {
    if (handle_ != nullptr) device_api::record_event(handle_, stream.handle());
  }
  // Whether the device has come to the last record; for hosts that poll.
  bool is_reached() const { return handle_ == nullptr || device_api::event_done(handle_); }

 private:
  void* handle_;
};

inline void Stream::wait_for(const Event& event) {
  if (handle_ != nullptr) device_api::stream_wait(handle_, event.handle());
}

}  // namespace sy
