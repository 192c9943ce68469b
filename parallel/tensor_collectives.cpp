#include "parallel/tensor_collectives.h"

#include "parallel/device_transfers.h"
#include "parallel/mesh.h"
#include "parallel/tracked_transfer.h"

namespace sy {

namespace {

template <class T>
std::span<T> elements_of(const Tensor& tensor) {
  return {tensor.data<T>(), static_cast<std::size_t>(tensor.count())};
}

// The elements of a tensor as a span on the host: the tensor itself on the CPU, a copy otherwise, which finish() takes
// back to the device.
template <class T>
class HostSpan {
 public:
  enum class Use { kRead, kWrite };
  HostSpan(Context& ctx, const Tensor& tensor, Use use) : ctx_(ctx), tensor_(tensor) {
    if (ctx.device() == DeviceType::cpu) return;
    if (use == Use::kWrite) copy_.resize(static_cast<std::size_t>(tensor.count()));
    else copy_ = ctx.to_host<T>(tensor);
  }
  std::span<T> span() {
    if (ctx_.device() != DeviceType::cpu) return copy_;
    return elements_of<T>(tensor_);
  }
  void finish() {
    if (ctx_.device() != DeviceType::cpu) ctx_.copy_from_host(tensor_, copy_.data());
  }

 private:
  Context& ctx_;
  Tensor tensor_;
  std::vector<T> copy_;
};

template <class T>
class HostTransfer final : public CommRequest::Operation {
 public:
  template <class Start>
  HostTransfer(Context& ctx, const Tensor& from, const Tensor& to, const Start& start)
      : from_(ctx, from, HostSpan<T>::Use::kRead),
        to_(ctx, to, HostSpan<T>::Use::kWrite),
        request_(start(std::span<const T>(from_.span()), to_.span())) {}
  void wait() override {
    request_.wait();
    to_.finish();
  }

 private:
  HostSpan<T> from_, to_;
  CommRequest request_;  // last: its destructor waits for what moves in the spans
};

// on_host(from, to) starts the transfer between host spans, on_device(device, from, to, stream) puts it on a stream.
template <class T, class OnHost, class OnDevice>
CommRequest start(Context& ctx, Comm& comm, const Tensor& from, const Tensor& to, const OnHost& on_host,
                  const OnDevice& on_device) {
  if (ctx.device() == DeviceType::cuda && comm.device() != nullptr)
    return ctx.mesh->transfers().start(ctx, {from, to}, [&](void* stream) {
      return on_device(*comm.device(), std::span<const T>(elements_of<T>(from)), elements_of<T>(to), stream);
    });
  return CommRequest(std::make_unique<HostTransfer<T>>(ctx, from, to, on_host));
}

std::vector<int64_t> elements(std::span<const int64_t> rows, const Tensor& x) {
  const int64_t per_row = shape_count(Shape(x.shape().begin() + 1, x.shape().end()));
  std::vector<int64_t> counts;
  for (const int64_t n : rows) counts.push_back(n * per_row);
  return counts;
}

}  // namespace

CommRequest start_all_gather(Context& ctx, Comm& comm, const Tensor& mine, const Tensor& all) {
  SY_CHECK(all.count() == mine.count() * comm.size(), "all_gather of {} elements into {} on {} ranks", mine.count(),
           all.count(), comm.size());
  if (ctx.device() == DeviceType::meta) return {};
  return dispatch_any(mine.dtype(), [&]<class T>() {
    return start<T>(
        ctx, comm, mine, all, [&](auto from, auto to) { return comm.start_all_gather<T>(from, to); },
        [](DeviceComm& device, auto from, auto to, void* stream) { return device.all_gather<T>(from, to, stream); });
  });
}

CommRequest start_reduce_scatter_sum(Context& ctx, Comm& comm, const Tensor& all, const Tensor& mine) {
  SY_CHECK(all.count() == mine.count() * comm.size(), "reduce_scatter of {} elements to {} on {} ranks", all.count(),
           mine.count(), comm.size());
  if (ctx.device() == DeviceType::meta) return {};
  return dispatch_float(mine.dtype(), [&]<class T>() {
    return start<T>(
        ctx, comm, all, mine, [&](auto from, auto to) { return comm.start_reduce_scatter_sum<T>(from, to); },
        [](DeviceComm& device, auto from, auto to, void* stream) {
          return device.reduce_scatter_sum<T>(from, to, stream);
        });
  });
}

CommRequest start_all_to_all_rows(Context& ctx, Comm& comm, const Tensor& x, std::span<const int64_t> send_rows,
                                  const Tensor& y, std::span<const int64_t> recv_rows) {
  if (ctx.device() == DeviceType::meta) return {};
  const std::vector<int64_t> send = elements(send_rows, x), recv = elements(recv_rows, x);
  return dispatch_any(x.dtype(), [&]<class T>() {
    return start<T>(
        ctx, comm, x, y, [&](auto from, auto to) { return comm.start_all_to_all<T>(from, send, to, recv); },
        [&](DeviceComm& device, auto from, auto to, void* stream) {
          return device.all_to_all<T>(from, send, to, recv, stream);
        });
  });
}

void all_gather(Context& ctx, Comm& comm, const Tensor& mine, const Tensor& all, const char* what) {
  track_awaited(ctx, share_per_rank(comm, what, mine.bytes()));
  start_all_gather(ctx, comm, mine, all).wait();
}

void reduce_scatter_sum(Context& ctx, Comm& comm, const Tensor& all, const Tensor& mine, const char* what) {
  track_awaited(ctx, share_per_rank(comm, what, mine.bytes()));
  start_reduce_scatter_sum(ctx, comm, all, mine).wait();
}

void all_reduce_sum(Context& ctx, Comm& comm, const Tensor& values, const char* what) {
  track_awaited(ctx, sum_for_all(comm, what, values.bytes()));
  if (comm.size() == 1) return;
  // Every rank adds up an equal share of the elements, then all shares travel to all ranks.
  const int64_t count = values.count(), share = (count + comm.size() - 1) / comm.size();
  const Tensor padded = ctx.zeros({share * comm.size()}, values.dtype(), MemoryKind::workspace);
  const Tensor mine = padded.slice(share * comm.rank(), share * (comm.rank() + 1)), own = padded.slice(0, count);
  ctx.copy(own, values);
  start_reduce_scatter_sum(ctx, comm, padded, mine).wait();
  start_all_gather(ctx, comm, mine, padded).wait();
  ctx.copy(values, own);
}

}  // namespace sy
