#include "csrc/autograd/checkpoint.h"

#include <algorithm>

namespace sy {

std::vector<Tensor> Replay::next() {
  SY_CHECK(!saved_.empty(), "recomputation asks for a routing decision that was not saved");
  std::vector<Tensor> decision = std::move(saved_.front());
  saved_.pop_front();
  return decision;
}

Var checkpoint(Context& ctx, const Var& x, std::function<Var(Context&, const Var&)> fn) {
  // Inside another region, in either of its runs, fn is simply part of that region.
  if (ctx.tape == nullptr || ctx.replay != nullptr) return fn(ctx, x);
  Tape* outer = ctx.tape;
  auto replay = std::make_shared<Replay>();

  // First run: ops see a tape (so that they note the parameters they use and register state) but nothing is kept.
  std::vector<Parameter*> uses;
  Tape discarded;
  discarded.collect_uses = &uses;
  ctx.tape = &discarded;
  ctx.replay = replay.get();
  Var y(fn(ctx, Var(x.value(), x.requires_grad())).value(), true);
  ctx.tape = outer;
  ctx.replay = nullptr;

  // In the order of their last uses, from the end, gradients are complete without recomputation: the same on all ranks.
  std::reverse(uses.begin(), uses.end());
  outer->record(
      [&ctx, x, y, replay, fn = std::move(fn), outer]() {
        Tensor dy = y.take_grad();
        if (!dy.defined()) dy = ctx.zeros(y.shape(), y.dtype());  // losses inside fn still have gradients
        Tape inner;
        Var leaf(x.value(), true);
        ctx.tape = &inner;
        ctx.replay = replay.get();
        replay->begin_replay();
        {
          const Var again = fn(ctx, leaf);
          again.add_grad(ctx, std::move(dy));
        }
        inner.backward();
        ctx.tape = outer;
        ctx.replay = nullptr;
        if (x.requires_grad() && leaf.grad().defined()) x.add_grad(ctx, leaf.take_grad());
      },
      std::move(uses));
  return y;
}

}  // namespace sy
