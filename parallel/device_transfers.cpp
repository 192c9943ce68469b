#include "parallel/device_transfers.h"

#include <exception>
#include <utility>

namespace sy {

namespace {

class DeviceTransfer final : public CommRequest::Operation {
 public:
  DeviceTransfer(Context& ctx, std::vector<Tensor> tensors, std::shared_ptr<const Event> done)
      : ctx_(ctx), tensors_(std::move(tensors)), done_(std::move(done)) {}
  // A request that was dropped has its memory in use all the same.
  ~DeviceTransfer() override {
    try {
      if (done_ != nullptr) wait();
    } catch (const std::exception&) {
    }
  }
  void wait() override { ctx_.compute_stream().wait_for(*std::exchange(done_, nullptr)); }

 private:
  Context& ctx_;
  std::vector<Tensor> tensors_;
  std::shared_ptr<const Event> done_;
};

}  // namespace

DeviceTransfers::~DeviceTransfers() {
  if (std::uncaught_exceptions() > 0) return;
  try {
    for (const UnderWay& transfer : under_way_)
      DeviceComm::poll(transfer.call, [&] { return transfer.done->is_reached(); });
  } catch (const std::exception&) {
  }
}

CommRequest DeviceTransfers::start(Context& ctx, std::vector<Tensor> tensors,
                                   const std::function<DeviceComm::Call(void* stream)>& put) {
  forget_complete();
  Stream& stream = ctx.communication_stream();
  Event computed(ctx.device());
  computed.record(ctx.compute_stream());
  stream.wait_for(computed);
  const DeviceComm::Call call = put(stream.handle());
  auto done = std::make_shared<Event>(ctx.device());
  done->record(stream);
  under_way_.push_back({call, done});
  return CommRequest(std::make_unique<DeviceTransfer>(ctx, std::move(tensors), std::move(done)));
}

void DeviceTransfers::wait_for(const Stream& stream) {
  forget_complete();
  if (under_way_.empty()) return;
  Event reached(DeviceType::cuda);
  reached.record(stream);
  while (!under_way_.empty() && !reached.is_reached()) {
    const UnderWay oldest = under_way_.front();
    DeviceComm::poll(oldest.call, [&] { return oldest.done->is_reached() || reached.is_reached(); });
    forget_complete();
  }
}

void DeviceTransfers::forget_complete() {
  while (!under_way_.empty() && under_way_.front().done->is_reached()) under_way_.pop_front();
}

}  // namespace sy
