// The tape: accumulation of gradients, freeing of closures, and when a parameter's gradient is announced complete.
#include "csrc/autograd/tape.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <utility>

#include "csrc/autograd/checkpoint.h"
#include "csrc/ops/ops.h"

namespace sy {
namespace {

class TapeTest : public ::testing::Test {
 protected:
  TapeTest() { ctx.tape = &tape; }

  Tensor tensor(const std::vector<double>& values) {
    return ctx.from_host<double>(values, {static_cast<int64_t>(values.size())}, MemoryKind::data);
  }
  Tensor matrix(int64_t rows, int64_t columns, double first = 1.0) {
    Tensor t = ctx.empty({rows, columns}, DType::f64, MemoryKind::data);
    for (int64_t i = 0; i < t.count(); ++i) t.data<double>()[i] = first + 0.25 * static_cast<double>(i % 7);
    return t;
  }
  std::vector<double> host(const Tensor& t) { return ctx.to_host<double>(t); }

  Parameter& parameter(const std::string& name, const Shape& shape) {
    Parameter& p = parameters.emplace_back();
    p.name = name;
    p.value = matrix(shape[0], shape_count(shape) / shape[0]).reshape(shape);
    p.grad = ctx.zeros(shape, DType::f64, MemoryKind::gradients);
    return p;
  }
  // Records names in order of announcement.
  void watch(bool every_parameter) {
    std::vector<Parameter*> all;
    if (every_parameter)
      for (Parameter& p : parameters) all.push_back(&p);
    tape.set_grad_ready([this](Parameter& p) { ready.push_back(p.name); }, all);
  }
  // One micro-batch whose only output is y.
  void backward(const Var& y) {
    y.set_grad(matrix(y.dim(0), y.shape().size() > 1 ? y.dim(1) : 1).reshape(y.shape()));
    tape.backward();
  }

  Context ctx{DeviceType::cpu};
  Tape tape;
  std::deque<Parameter> parameters;
  std::vector<std::string> ready;
};

using Names = std::vector<std::string>;

TEST_F(TapeTest, AValueUsedTwiceGetsTheSumOfBothGradients) {
  const Var x(tensor({1, 2, 3}), true), y(tensor({10, 20, 30}), true);
  const Var a = ops::add(ctx, x, y), b = ops::add(ctx, x, x);
  a.set_grad(tensor({1, 1, 2}));
  b.set_grad(tensor({5, 7, 9}));
  tape.backward();
  EXPECT_EQ(host(x.grad()), (std::vector<double>{11, 15, 20}));
  EXPECT_EQ(host(y.grad()), (std::vector<double>{1, 1, 2}));
}

TEST_F(TapeTest, AGradientSharedByTwoValuesIsNeverOverwritten) {
  const Tensor shared = tensor({1, 2, 3});
  const Var a(tensor({0, 0, 0}), true), b(tensor({0, 0, 0}), true);
  a.add_grad(ctx, shared);
  b.add_grad(ctx, shared);
  a.add_grad(ctx, tensor({10, 10, 10}));
  EXPECT_EQ(host(a.grad()), (std::vector<double>{11, 12, 13}));
  EXPECT_EQ(host(b.grad()), (std::vector<double>{1, 2, 3}));
  EXPECT_EQ(host(shared), (std::vector<double>{1, 2, 3})) << "the upstream tensor is the caller's";
  a.add_grad(ctx, shared);
  a.add_grad(ctx, shared);
  EXPECT_EQ(host(a.grad()), (std::vector<double>{13, 16, 19}));
  EXPECT_EQ(host(shared), (std::vector<double>{1, 2, 3}));
}

TEST_F(TapeTest, ASecondGradientIsAddedIntoStorageThatNobodyElseHolds) {
  const Var a(tensor({0, 0, 0}), true);
  Tensor own = tensor({1, 2, 3});
  const void* storage = own.raw();
  a.add_grad(ctx, std::move(own));
  a.add_grad(ctx, tensor({1, 1, 1}));
  EXPECT_EQ(a.grad().raw(), storage);
}

TEST_F(TapeTest, AValueWithoutGradientKeepsNone) {
  const Var x(tensor({1, 2}), false), y(tensor({1, 2}), true);
  const Var sum = ops::add(ctx, x, y);
  sum.set_grad(tensor({1, 1}));
  tape.backward();
  EXPECT_FALSE(x.grad().defined());
  EXPECT_TRUE(y.grad().defined());
}

TEST_F(TapeTest, AGradientOfTheWrongShapeOrTypeIsRefused) {
  const Var x(tensor({1, 2}), true);
  EXPECT_THROW(x.add_grad(ctx, tensor({1, 2, 3})), Error);
  EXPECT_THROW(x.add_grad(ctx, ctx.zeros({2}, DType::f32)), Error);
}

TEST_F(TapeTest, NothingIsRecordedWithoutAGradientToGive) {
  const Var x(tensor({1, 2})), y(tensor({1, 2}));
  ops::add(ctx, x, y);
  EXPECT_TRUE(tape.empty());
  ctx.tape = nullptr;
  const Var z = ops::add(ctx, Var(tensor({1, 2}), true), y);
  EXPECT_TRUE(tape.empty());
  EXPECT_FALSE(z.requires_grad());
}

TEST_F(TapeTest, ClosuresAreFreedBeforeTheNextOneRuns) {
  std::weak_ptr<int> last;
  bool freed = false;
  tape.record([&] { freed = last.expired(); });
  {
    auto kept = std::make_shared<int>(1);
    last = kept;
    tape.record([kept] { EXPECT_EQ(*kept, 1); });
  }
  EXPECT_FALSE(last.expired()) << "the tape keeps what the closure captured";
  tape.backward();
  EXPECT_TRUE(freed);
  EXPECT_TRUE(tape.empty());
}

TEST_F(TapeTest, BackwardReturnsEveryByteOfActivationsAsItGoes) {
  const auto live = [&] { return ctx.allocator().use().live_bytes[static_cast<int>(MemoryKind::activations)]; };
  Parameter& w = parameter("w", {64, 64});
  const int64_t before = live();
  std::vector<int64_t> seen;
  {
    Var h(matrix(32, 64), true);
    for (int i = 0; i < 4; ++i) {
      h = ops::linear(ctx, h, w);
      tape.record([&] { seen.push_back(live()); });  // runs before the linear it follows
    }
    h.set_grad(matrix(32, 64));
  }
  EXPECT_GE(live() - before, 4 * 32 * 64 * 8) << "every output is kept for backward";
  tape.backward();
  EXPECT_EQ(live(), before);
  ASSERT_EQ(seen.size(), 4u);
  // After each linear's backward its output and that output's gradient are gone, and one gradient is made.
  for (std::size_t i = 1; i < seen.size(); ++i) EXPECT_LT(seen[i], seen[i - 1] + (i == 1 ? 32 * 64 * 8 : 0)) << i;
}

TEST_F(TapeTest, ATiedParameterIsReadyOnceAfterItsLastUse) {
  Parameter &table = parameter("tied", {5, 3}), &middle = parameter("middle", {3, 3});
  watch(true);
  const Tensor id = ctx.from_host<int32_t>(std::vector<int32_t>{0, 4, 2}, {3}, MemoryKind::data);
  const Var h = ops::linear(ctx, ops::embedding(ctx, id, table), middle);
  backward(ops::linear(ctx, h, table));
  EXPECT_EQ(ready, (Names{"middle", "tied"})) << "the embedding's backward is the tied weight's last";
}

TEST_F(TapeTest, AParameterIsReadyOnlyInTheLastMicroBatch) {
  Parameter& w = parameter("w", {3, 3});
  watch(true);
  for (int micro_batch = 0; micro_batch < 3; ++micro_batch) {
    tape.set_last_micro_batch(micro_batch == 2);
    backward(ops::linear(ctx, Var(matrix(2, 3), true), w));
    EXPECT_EQ(ready.size(), micro_batch == 2 ? 1u : 0u);
  }
  // Gradients of the three micro-batches add up.
  const std::vector<double> three = host(w.grad);
  ctx.set_zero(w.grad);
  backward(ops::linear(ctx, Var(matrix(2, 3), true), w));
  const std::vector<double> one = host(w.grad);
  for (std::size_t i = 0; i < one.size(); ++i) EXPECT_DOUBLE_EQ(three[i], 3 * one[i]);
}

TEST_F(TapeTest, EveryStepAnnouncesAgain) {
  Parameter &w = parameter("w", {3, 3}), &unused = parameter("unused", {3, 3});
  (void)unused;
  watch(true);
  for (int step = 0; step < 2; ++step) backward(ops::linear(ctx, Var(matrix(2, 3), true), w));
  EXPECT_EQ(ready, (Names{"w", "unused", "w", "unused"}));
}

TEST_F(TapeTest, UnusedParametersAreReadyAtTheEndInRegistrationOrder) {
  parameter("first", {2, 2});
  Parameter& used = parameter("used", {3, 3});
  parameter("second", {2, 2});
  Parameter& early = parameter("early", {3, 3});
  watch(true);
  // `early` is used, but not in the last micro-batch.
  tape.set_last_micro_batch(false);
  backward(ops::linear(ctx, Var(matrix(2, 3), true), early));
  EXPECT_EQ(ready, Names{});
  tape.set_last_micro_batch(true);
  backward(ops::linear(ctx, Var(matrix(2, 3), true), used));
  EXPECT_EQ(ready, (Names{"used", "first", "second", "early"}));
}

TEST_F(TapeTest, AParameterWhoseOutputsReachedNoLossIsReadyToo) {
  Parameter& w = parameter("w", {3, 3});
  watch(false);
  ops::linear(ctx, Var(matrix(2, 3), true), w);  // its output is thrown away
  tape.backward();
  EXPECT_EQ(ready, Names{"w"});
}

TEST_F(TapeTest, AHeldParameterWaitsForItsRelease) {
  Parameter& w = parameter("w", {3, 3});
  watch(true);
  tape.hold(w);
  backward(ops::linear(ctx, Var(matrix(2, 3), true), w));
  EXPECT_EQ(ready, Names{});
  tape.release(w);
  EXPECT_EQ(ready, Names{"w"});
  EXPECT_THROW(tape.release(w), Error);
}

TEST_F(TapeTest, ABankWithAnExpertWithoutTokensIsReadyOnceAndItsGradientIsZero) {
  Parameter& bank = parameter("bank", {3, 2, 3});
  watch(true);
  const auto list = [&](const std::vector<int32_t>& v) {
    return ctx.from_host<int32_t>(v, {static_cast<int64_t>(v.size())}, MemoryKind::data);
  };
  const ops::RowIndex index = ops::index_build(ctx, list({0, 1, 2}), list({0, 2, 0}), {}, {}, 3, 3, 3);
  backward(ops::grouped_linear(ctx, ops::gather_rows(ctx, Var(matrix(3, 3), true), index), bank, index, 0));
  EXPECT_EQ(ready, Names{"bank"});
  const std::vector<double> grad = host(bank.grad);
  for (int expert = 0; expert < 3; ++expert)
    for (int i = 0; i < 6; ++i) EXPECT_EQ(grad[static_cast<std::size_t>(6 * expert + i)] == 0, expert == 1) << expert;
}

TEST_F(TapeTest, UsesInsideAndOutsideARecomputedRegionAreOneAnnouncement) {
  Parameter &shared = parameter("shared", {3, 3}), &inner = parameter("inner", {3, 3});
  watch(true);
  const auto region = [&](Context& c, const Var& x) { return ops::linear(c, ops::linear(c, x, shared), inner); };
  const Var before = ops::linear(ctx, Var(matrix(2, 3), true), shared);
  backward(ops::linear(ctx, checkpoint(ctx, before, region), shared));
  EXPECT_EQ(ready, (Names{"inner", "shared"}));
}

TEST_F(TapeTest, TwoRecomputedRegionsWithOneParameterAreOneAnnouncement) {
  Parameter& shared = parameter("shared", {3, 3});
  watch(true);
  int regions_run = 0;
  const auto region = [&](Context& c, const Var& x) {
    ++regions_run;
    EXPECT_EQ(ready, Names{}) << "announced before its last use";
    return ops::linear(c, ops::linear(c, x, shared), shared);
  };
  const Var h = checkpoint(ctx, Var(matrix(2, 3), true), region);
  backward(checkpoint(ctx, h, region));
  EXPECT_EQ(ready, Names{"shared"});
  EXPECT_EQ(regions_run, 4) << "each forward and again";
}

// Ranks reduce gradients in the order of their announcements, so it may depend on nothing but the program.
TEST_F(TapeTest, ARecomputedRegionAnnouncesInTheOrderWithoutRecomputation) {
  std::vector<Parameter*> w;
  for (const char* name : {"a", "b", "c", "d"}) w.push_back(&parameter(name, {3, 3}));
  watch(true);
  for (const std::vector<int>& uses : {std::vector<int>{0, 1, 2, 3}, {3, 2, 1, 0}, {2, 0, 3, 1, 0}}) {
    const auto region = [&](Context& c, Var x) {
      for (const int i : uses) x = ops::linear(c, x, *w[static_cast<std::size_t>(i)]);
      return x;
    };
    backward(region(ctx, Var(matrix(2, 3), true)));
    const Names without = std::exchange(ready, {});
    backward(checkpoint(ctx, Var(matrix(2, 3), true), region));
    EXPECT_EQ(std::exchange(ready, {}), without);
    EXPECT_EQ(without.size(), w.size());
  }
}

TEST_F(TapeTest, ARecomputedRegionAnnouncesOnlyInTheLastMicroBatch) {
  Parameter& w = parameter("w", {3, 3});
  watch(true);
  for (int micro_batch = 0; micro_batch < 2; ++micro_batch) {
    tape.set_last_micro_batch(micro_batch == 1);
    backward(checkpoint(ctx, Var(matrix(2, 3), true), [&](Context& c, const Var& x) { return ops::linear(c, x, w); }));
    EXPECT_EQ(ready.size(), micro_batch == 1 ? 1u : 0u);
  }
}

}  // namespace
}  // namespace sy
