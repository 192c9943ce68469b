#include "parallel/collective_ops.h"

#include <algorithm>
#include <numeric>

#include "parallel/tracked_transfer.h"

namespace sy {

namespace {

// The elements of a tensor as a span on the host: the tensor itself on the CPU, a copy otherwise, which finish() takes
// back to the device.
template <class T>
class HostSpan {
 public:
  enum class Use { kRead, kWrite, kBoth };
  HostSpan(Context& ctx, const Tensor& tensor, Use use) : ctx_(ctx), tensor_(tensor) {
    if (ctx.device() == DeviceType::cpu) return;
    if (use == Use::kWrite) copy_.resize(static_cast<std::size_t>(tensor.count()));
    else copy_ = ctx.to_host<T>(tensor);
  }
  std::span<T> span() {
    if (ctx_.device() != DeviceType::cpu) return copy_;
    return {tensor_.data<T>(), static_cast<std::size_t>(tensor_.count())};
  }
  void finish() {
    if (ctx_.device() != DeviceType::cpu) ctx_.copy_from_host(tensor_, copy_.data());
  }

 private:
  Context& ctx_;
  Tensor tensor_;
  std::vector<T> copy_;
};

int64_t row_elements(const Tensor& x) { return shape_count(Shape(x.shape().begin() + 1, x.shape().end())); }

std::vector<int64_t> elements(std::span<const int64_t> rows, int64_t per_row) {
  std::vector<int64_t> counts;
  for (const int64_t n : rows) counts.push_back(n * per_row);
  return counts;
}

Shape with_rows(Shape shape, int64_t rows) {
  shape[0] = rows;
  return shape;
}

}  // namespace

void all_gather(Context& ctx, Comm& comm, const Tensor& mine, const Tensor& all, const char* what) {
  SY_CHECK(all.count() == mine.count() * comm.size(), "all_gather of {} elements into {} on {} ranks", mine.count(),
           all.count(), comm.size());
  track_awaited(ctx, share_per_rank(comm, what, mine.bytes()));
  if (ctx.device() == DeviceType::meta) return;
  dispatch_any(mine.dtype(), [&]<class T>() {
    using Span = HostSpan<T>;
    Span from(ctx, mine, Span::Use::kRead), to(ctx, all, Span::Use::kWrite);
    comm.all_gather<T>(from.span(), to.span());
    to.finish();
  });
}

void reduce_scatter_sum(Context& ctx, Comm& comm, const Tensor& all, const Tensor& mine, const char* what) {
  SY_CHECK(all.count() == mine.count() * comm.size(), "reduce_scatter of {} elements to {} on {} ranks", all.count(),
           mine.count(), comm.size());
  track_awaited(ctx, share_per_rank(comm, what, mine.bytes()));
  if (ctx.device() == DeviceType::meta) return;
  dispatch_float(mine.dtype(), [&]<class T>() {
    using Span = HostSpan<T>;
    Span from(ctx, all, Span::Use::kRead), to(ctx, mine, Span::Use::kWrite);
    comm.reduce_scatter_sum<T>(from.span(), to.span());
    to.finish();
  });
}

void all_reduce_sum(Context& ctx, Comm& comm, const Tensor& values, const char* what) {
  track_awaited(ctx, sum_for_all(comm, what, values.bytes()));
  if (comm.size() == 1 || ctx.device() == DeviceType::meta) return;
  dispatch_float(values.dtype(), [&]<class T>() {
    using Span = HostSpan<T>;
    Span host(ctx, values, Span::Use::kBoth);
    const std::span<T> own = host.span();
    // Every rank adds up an equal share of the elements, then all shares travel to all ranks.
    const auto n = static_cast<std::size_t>(comm.size());
    const std::size_t share = (own.size() + n - 1) / n;
    std::vector<T> padded(share * n, T(0)), mine(share);
    std::copy(own.begin(), own.end(), padded.begin());
    comm.reduce_scatter_sum<T>(padded, mine);
    comm.all_gather<T>(mine, padded);
    std::copy_n(padded.begin(), own.size(), own.begin());
    host.finish();
  });
}

// One movement of rows that has begun. On the CPU the tensors themselves are what travels; elsewhere rows are staged
// through the host, and have arrived when they departed.
class RowsInFlight {
 public:
  RowsInFlight(Comm& comm, std::vector<int64_t> send, std::vector<int64_t> recv)
      : comm_(comm), send_(std::move(send)), recv_(std::move(recv)) {}

  void start(Context& ctx, const Tensor& x) { move(ctx, x, send_, recv_); }
  void start_home(Context& ctx, const Tensor& dy) { move(ctx, dy, recv_, send_); }
  Tensor wait() {
    request_.wait();
    departed_ = {};
    return std::move(arriving_);
  }

  Var x;
  bool record = false;

 private:
  void move(Context& ctx, const Tensor& x, const std::vector<int64_t>& send, const std::vector<int64_t>& recv) {
    SY_CHECK(!request_.pending(), "rows depart before the ones before them have arrived");
    departed_ = x;  // stays until it was read
    arriving_ = ctx.empty(with_rows(x.shape(), std::accumulate(recv.begin(), recv.end(), int64_t{0})), x.dtype());
    send_elements_ = elements(send, row_elements(x));
    recv_elements_ = elements(recv, row_elements(x));
    const Transfer leaving{
        .what = "rows",
        .group = comm_.name(),
        .ranks = comm_.size(),
        .bytes = (x.count() - send_elements_[static_cast<std::size_t>(comm_.rank())]) * dtype_bytes(x.dtype())};
    request_ = tracked(ctx, leaving, travel(ctx, x));
    if (ctx.device() == DeviceType::cuda) request_.wait();  // staged through the host, rows have arrived already
  }

  CommRequest travel(Context& ctx, const Tensor& x) {
    if (ctx.device() == DeviceType::meta) return {};
    return dispatch_any(x.dtype(), [&]<class T>() {
      if (ctx.device() == DeviceType::cpu) {
        const auto span_of = [](const Tensor& t) {
          return std::span<T>(t.data<T>(), static_cast<std::size_t>(t.count()));
        };
        return comm_.start_all_to_all<T>(span_of(x), send_elements_, span_of(arriving_), recv_elements_);
      }
      using Span = HostSpan<T>;
      Span from(ctx, x, Span::Use::kRead), to(ctx, arriving_, Span::Use::kWrite);
      comm_.all_to_all<T>(from.span(), send_elements_, to.span(), recv_elements_);
      to.finish();
      return CommRequest();
    });
  }

  Comm& comm_;
  std::vector<int64_t> send_, recv_, send_elements_, recv_elements_;
  Tensor departed_, arriving_;
  CommRequest request_;
};

std::shared_ptr<RowsInFlight> depart(Context& ctx, Comm& comm, const Var& x, std::vector<int64_t> send_rows,
                                     std::vector<int64_t> recv_rows) {
  SY_CHECK(std::accumulate(send_rows.begin(), send_rows.end(), int64_t{0}) == x.dim(0), "{} rows depart, others stay",
           x.dim(0));
  auto rows = std::make_shared<RowsInFlight>(comm, std::move(send_rows), std::move(recv_rows));
  rows->record = needs_record(ctx, {&x});
  if (rows->record) {
    rows->x = x;
    ctx.tape->record([&ctx, rows]() { rows->x.add_grad(ctx, rows->wait()); });
  }
  rows->start(ctx, x.value());
  return rows;
}

Var arrive(Context& ctx, const std::shared_ptr<RowsInFlight>& rows) {
  Var out(rows->wait(), rows->record);
  if (rows->record)
    ctx.tape->record([&ctx, rows, out]() {
      // A rank whose rows nobody used still takes part.
      Tensor dy = out.take_grad();
      if (!dy.defined()) dy = ctx.zeros(out.shape(), out.dtype());
      rows->start_home(ctx, dy);
    });
  return out;
}

namespace tp {

int64_t ranks(const Context& ctx) { return ctx.mesh == nullptr ? 1 : ctx.mesh->tensor().size(); }
int64_t rank(const Context& ctx) { return ctx.mesh == nullptr ? 0 : ctx.mesh->tensor_rank(); }
bool sequence_parallel(const Context& ctx) { return ranks(ctx) > 1 && ctx.mesh->sizes().sequence_parallel; }

int64_t shard_tokens(const Context& ctx, int64_t tokens) {
  SY_CHECK(tokens % ranks(ctx) == 0, "{} tokens cannot be divided among {} tensor-parallel ranks", tokens, ranks(ctx));
  return tokens / ranks(ctx);
}
int64_t shard_begin(const Context& ctx, int64_t tokens) { return shard_tokens(ctx, tokens) * rank(ctx); }

namespace {

// The four movements of rows between the ranks of the tensor group.
Tensor gathered(Context& ctx, const Tensor& shard) {
  Tensor all = ctx.empty(with_rows(shard.shape(), shard.dim(0) * ranks(ctx)), shard.dtype());
  all_gather(ctx, ctx.mesh->tensor(), shard, all, "activations");
  return all;
}
Tensor own_rows(Context& ctx, const Tensor& all) {
  const int64_t begin = shard_begin(ctx, all.dim(0));
  return all.slice(begin, begin + shard_tokens(ctx, all.dim(0)));
}
Tensor summed_rows(Context& ctx, const Tensor& partial) {
  Tensor shard = ctx.empty(with_rows(partial.shape(), shard_tokens(ctx, partial.dim(0))), partial.dtype());
  reduce_scatter_sum(ctx, ctx.mesh->tensor(), partial, shard, "activations");
  return shard;
}
Tensor summed(Context& ctx, const Tensor& partial) {
  Tensor sum = ctx.empty(partial.shape(), partial.dtype());
  ctx.copy(sum, partial);
  all_reduce_sum(ctx, ctx.mesh->tensor(), sum, "activations");
  return sum;
}

// An op that moves rows by `forward`, and their gradients by `backward`. Ranks take part in the backward collective
// even where no gradient has arrived.
using Move = Tensor (*)(Context&, const Tensor&);
Var moved(Context& ctx, const Var& x, Move forward, Move backward) {
  const bool record = needs_record(ctx, {&x});
  Var out(forward(ctx, x.value()), record);
  if (record)
    ctx.tape->record([&ctx, x, out, backward]() {
      Tensor dy = out.take_grad();
      if (!dy.defined()) dy = ctx.zeros(out.shape(), out.dtype());
      x.add_grad(ctx, backward(ctx, dy));
    });
  return out;
}

Tensor same(Context&, const Tensor& x) { return x; }

}  // namespace

Var enter(Context& ctx, const Var& x) {
  if (ranks(ctx) == 1) return x;
  return sequence_parallel(ctx) ? moved(ctx, x, gathered, summed_rows) : moved(ctx, x, same, summed);
}

Var leave(Context& ctx, const Var& partial) {
  if (ranks(ctx) == 1) return partial;
  return sequence_parallel(ctx) ? moved(ctx, partial, summed_rows, gathered) : moved(ctx, partial, summed, same);
}

Var to_shard(Context& ctx, const Var& x) {
  if (ranks(ctx) == 1 || sequence_parallel(ctx)) return x;
  return moved(ctx, x, own_rows, gathered);
}

Var from_shard(Context& ctx, const Var& y) {
  if (ranks(ctx) == 1 || sequence_parallel(ctx)) return y;
  return moved(ctx, y, gathered, own_rows);
}

Var whole_micro_batch(Context& ctx, const Var& shard) {
  if (ranks(ctx) == 1) return shard;
  return moved(ctx, shard, gathered, own_rows);
}

Var sum_gradients(Context& ctx, const Var& x) {
  if (ranks(ctx) == 1 || !x.defined()) return x;
  return moved(ctx, x, same, summed);
}

}  // namespace tp

}  // namespace sy
