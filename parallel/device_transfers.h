// The transfers of device memory that this process has under way, on the communication stream of its context.
//
// A transfer waits, on that stream, for what the compute stream was given before it started; CommRequest::wait() makes
// the compute stream wait for the transfer. The host waits in neither. The allocator gives memory back in the order of
// the compute stream, so a request keeps its tensors until that stream has been told to wait.
//
// Where the host does wait for the device, other ranks may be what the device waits for: such waits are polled here,
// and watched as part of the oldest transfer that is not complete.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "csrc/core/context.h"
#include "parallel/device_comm.h"

namespace sy {

class DeviceTransfers {
 public:
  DeviceTransfers() = default;
  // Waits, for communicators may go only when what they carry has arrived; but not while an error unwinds.
  ~DeviceTransfers();
  DeviceTransfers(const DeviceTransfers&) = delete;
  DeviceTransfers& operator=(const DeviceTransfers&) = delete;

  // `put` puts one collective on the stream that it is given, and may use the memory of `tensors`.
  CommRequest start(Context& ctx, std::vector<Tensor> tensors,
                    const std::function<DeviceComm::Call(void* stream)>& put);
  // Returns when nothing that `stream` was given depends on other ranks any more.
  void wait_for(const Stream& stream);

 private:
  struct UnderWay {
    DeviceComm::Call call;
    std::shared_ptr<const Event> done;
  };
  void forget_complete();

  std::deque<UnderWay> under_way_;  // in the order of the communication stream
};

}  // namespace sy
