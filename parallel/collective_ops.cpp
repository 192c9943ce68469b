#include "parallel/collective_ops.h"

#include <numeric>

#include "parallel/tracked_transfer.h"

namespace sy {

namespace {

Shape with_rows(Shape shape, int64_t rows) {
  shape[0] = rows;
  return shape;
}

}  // namespace

// One movement of rows that has begun.
class RowsInFlight {
 public:
  RowsInFlight(Comm& comm, std::vector<int64_t> send, std::vector<int64_t> recv)
      : comm_(comm), send_(std::move(send)), recv_(std::move(recv)) {}

  void start(Context& ctx, const Tensor& x) { move(ctx, x, send_, recv_); }
  void start_home(Context& ctx, const Tensor& dy) { move(ctx, dy, recv_, send_); }
  Tensor wait() {
    request_.wait();
    return std::move(arriving_);
  }

  Var x;
  bool record = false;

 private:
  void move(Context& ctx, const Tensor& x, const std::vector<int64_t>& send, const std::vector<int64_t>& recv) {
    SY_CHECK(!request_.pending(), "rows depart before the ones before them have arrived");
    arriving_ = ctx.empty(with_rows(x.shape(), std::accumulate(recv.begin(), recv.end(), int64_t{0})), x.dtype());
    const int64_t row_bytes = shape_count(Shape(x.shape().begin() + 1, x.shape().end())) * dtype_bytes(x.dtype());
    const Transfer leaving{.what = "rows",
                           .group = comm_.name(),
                           .ranks = comm_.size(),
                           .bytes = x.bytes() - send[static_cast<std::size_t>(comm_.rank())] * row_bytes};
    request_ = tracked(ctx, leaving, start_all_to_all_rows(ctx, comm_, x, send, arriving_, recv));
  }

  Comm& comm_;
  std::vector<int64_t> send_, recv_;
  Tensor arriving_;
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
