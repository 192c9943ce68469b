#include "parallel/tracked_transfer.h"

namespace sy {

Transfer share_per_rank(const Comm& comm, const std::string& what, int64_t share_bytes) {
  return {.what = what, .group = comm.name(), .ranks = comm.size(), .bytes = share_bytes * (comm.size() - 1)};
}

Transfer sum_for_all(const Comm& comm, const std::string& what, int64_t bytes) {
  Transfer sum = share_per_rank(comm, what, 2 * ((bytes + comm.size() - 1) / comm.size()));
  sum.exchanges = 2;
  return sum;
}

namespace {

class Tracked final : public CommRequest::Operation {
 public:
  Tracked(const Context& ctx, std::string what, int64_t number, CommRequest request)
      : ctx_(ctx), what_(std::move(what)), number_(number), request_(std::move(request)) {}
  void wait() override {
    if (ctx_.trace != nullptr) ctx_.trace->wait(what_, number_);
    request_.wait();
  }

 private:
  const Context& ctx_;
  std::string what_;
  int64_t number_;
  CommRequest request_;
};

}  // namespace

CommRequest tracked(const Context& ctx, const Transfer& transfer, CommRequest request, int64_t number) {
  if (ctx.trace != nullptr) {
    if (number == kNextOfItsKind) number = ctx.trace->next_number(transfer.what);
    ctx.trace->start(transfer, number);
  }
  CommRequest under_way(std::make_unique<Tracked>(ctx, transfer.what, number, std::move(request)));
  if (!ctx.overlap) under_way.wait();
  return under_way;
}

void track_awaited(const Context& ctx, const Transfer& transfer) {
  if (ctx.trace != nullptr && transfer.ranks > 1) tracked(ctx, transfer, {}).wait();
}

}  // namespace sy
