// The context's two streams: independent but for events, and the rule that keeps memory in flight whole (context.h).
#include "csrc/core/stream.h"

#include <gtest/gtest.h>

#include "csrc/core/context.h"
#if defined(SY_CUDA_SIM)
#include <cuda_runtime_api.h>

#include "tests/cuda_sim/executor.h"
#endif

namespace sy {
namespace {

TEST(Stream, OnTheCpuWorkIsDoneWhenItsCallReturns) {
  Context ctx(DeviceType::cpu);
  Event event(DeviceType::cpu);
  event.record(ctx.compute_stream());
  ctx.communication_stream().wait_for(event);
  EXPECT_TRUE(event.is_reached());
}

#if defined(SY_CUDA_SIM)
constexpr uint64_t kLazy = 1;

// A tensor travels on the communication stream and is then let go. Returns what arrived.
std::vector<float> travel(bool compute_waits_before_the_free) {
  Context ctx(DeviceType::cuda);
  Event ready(DeviceType::cuda), arrived(DeviceType::cuda);
  const std::vector<float> values{1, 2, 3, 4};
  Tensor source = ctx.zeros({4}, DType::f32);
  const Tensor target = ctx.zeros({4}, DType::f32);
  ctx.copy(source, ctx.from_host<float>(values, {4}, MemoryKind::data));
  ready.record(ctx.compute_stream());
  ctx.communication_stream().wait_for(ready);
  device_api::copy_on_device(target.raw(), source.raw(), source.bytes(), ctx.communication_stream().handle());
  arrived.record(ctx.communication_stream());
  if (!compute_waits_before_the_free) {
    source = Tensor();
    ctx.synchronize();
  }
  ctx.compute_stream().wait_for(arrived);
  source = Tensor();
  return ctx.to_host<float>(target);
}

class StreamCuda : public testing::TestWithParam<uint64_t> {
 protected:
  void SetUp() override { cuda_sim::set_schedule_seed(GetParam()); }
  void TearDown() override { cuda_sim::set_schedule_seed(before_); }

 private:
  uint64_t before_ = cuda_sim::schedule_seed();
};
INSTANTIATE_TEST_SUITE_P(Seeds, StreamCuda, testing::Values(0, kLazy, 2, 3, 4, 5));

TEST_P(StreamCuda, ATensorInFlightIsWholeWhenTheComputeStreamWaitsBeforeItIsLetGo) {
  EXPECT_EQ(travel(true), (std::vector<float>{1, 2, 3, 4}));
  if (GetParam() == kLazy) {
    EXPECT_THROW(travel(false), cuda_sim::Fault) << "the copy comes after the free here";
  }
}

TEST_P(StreamCuda, AnEventThatIsNotReachedLeavesNoErrorBehind) {
  Context ctx(DeviceType::cuda);
  Event event(DeviceType::cuda);
  EXPECT_TRUE(event.is_reached()) << "never recorded";
  const Tensor t = ctx.zeros({1000}, DType::f32);
  event.record(ctx.compute_stream());
  int polls = 0;
  while (!event.is_reached()) {
    EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
    ASSERT_LT(++polls, 1000);
  }
  if (GetParam() == kLazy) {
    EXPECT_GT(polls, 0);
  }
}
#endif

}  // namespace
}  // namespace sy
