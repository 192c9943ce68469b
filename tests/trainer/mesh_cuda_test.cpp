// Training on a mesh with device.type: cuda, on simulated CUDA and NCCL: the CPU's numbers, the same bits in every
// order of the streams, and no matter whether NCCL carries device memory or MPI does.
#include <gtest/gtest.h>

#include "tests/cuda_sim/streams.h"
#include "tests/parallel/mpi_main.h"
#include "tests/trainer/toy_run.h"
#include "trainer/layout_run.h"

namespace sy::testing {
namespace {

constexpr int64_t kSteps = 3;

LayoutRun run(const std::vector<std::string>& overrides, moe::RoutingLog* log = nullptr) {
  std::vector<std::string> all = {"train.global_batch_size=8", "train.micro_batch_size=1",
                                  "parallel.expert_model_parallel_size=2", "parallel.ddp_bucket_size=2000"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  const Config config = toy_config(all, mpi_world().size());
  return run_layout(
      config, mpi_world(), kSteps,
      [&](BatchBuilder& builder, int64_t sample) { add_toy_sample(builder, config, sample); }, log);
}

void expect_same_run(const LayoutRun& got, const LayoutRun& want, const std::string& what) {
  for (std::size_t s = 0; s < want.steps.size(); ++s) {
    EXPECT_EQ(got.steps[s].lm_loss, want.steps[s].lm_loss) << what << ", step " << s + 1;
    EXPECT_EQ(got.steps[s].grad_norm, want.steps[s].grad_norm) << what << ", step " << s + 1;
  }
  expect_same_bits(got.first_gradients, want.first_gradients, what);
  expect_same_bits(got.parameters, want.parameters, what);
}

TEST(MeshCuda, ExpertAndDataParallelStepsEqualTheCpu) {
  moe::RoutingLog log;
  const LayoutRun cpu = run({}, &log);
  log.set_mode(moe::RoutingLog::Mode::kReplay);
  const LayoutRun cuda = run({"device.type=cuda", "comm.backend=nccl"}, &log);
  EXPECT_LE(log.largest_gap(), 1e-5) << log.differing() << " of " << log.assignments() << " assignments differ";
  EXPECT_GT(log.assignments(), 0);
  const LayoutDifference d = compare(cuda, cpu);
  EXPECT_LE(d.loss, 1e-5);
  EXPECT_LE(d.gradient, 1e-5) << "gradient of step 1: " << d.worst_gradient;
}

TEST(MeshCuda, EveryOrderOfTheStreamsAndEitherBackendGivesTheSameBits) {
  const std::vector<std::string> nccl = {"device.type=cuda", "comm.backend=nccl", "parallel.dispatch_chunks=2"};
  const LayoutRun plain = run(nccl);
  for (const uint64_t seed : {1, 5, 6}) {
    cuda_sim::set_schedule_seed(seed < 2 ? seed : seed * 16 + static_cast<uint64_t>(mpi_world().rank()));
    expect_same_run(run(nccl), plain, "seed " + std::to_string(seed));
  }
  cuda_sim::set_schedule_seed(0);
  expect_same_run(run({"device.type=cuda", "comm.backend=mpi", "parallel.dispatch_chunks=2"}), plain,
                  "through the host");
}

}  // namespace
}  // namespace sy::testing
