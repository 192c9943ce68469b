// Layout invariance over data-parallel ranks: the same global batches on one rank and on all ranks of mpirun, in f64.
// Gradients of the first step, ten steps of losses and gradient norms, parameters and router state afterwards agree to
// 1e-10; counts agree exactly. Micro-batches are the same samples everywhere, only who runs them differs - except for
// scope global_batch, whose value depends on the number of waves: there one rank takes micro-batches as many times
// larger.
#include <gtest/gtest.h>

#include "tests/csrc/io/io_testing.h"
#include "tests/parallel/mpi_main.h"
#include "tests/trainer/toy_run.h"
#include "trainer/checkpointing.h"

namespace sy::testing {
namespace {

using Overrides = std::vector<std::string>;

struct Outcome {
  std::vector<double> curve;  // losses and gradient norms of ten steps
  std::vector<int64_t> counts;
  NamedValues first_gradients, parameters, router_state;
};

Outcome run(const Config& config, Comm* comm) {
  ToyRun toy(config, comm);
  Outcome out;
  for (int64_t s = 1; s <= 10; ++s) {
    const StepReport report = toy.step(s);
    out.curve.push_back(report.lm_loss);
    for (const auto& extra : report.extra_losses) out.curve.push_back(extra.second);
    out.curve.push_back(report.grad_norm);
    out.counts.push_back(report.target_tokens);
    out.counts.push_back(report.batch_tokens);
    for (const auto& moe : report.moe) {
      out.curve.push_back(moe.entropy);
      out.curve.push_back(moe.max_vio);
      out.curve.push_back(moe.dropped_fraction);
      out.counts.insert(out.counts.end(), moe.load.begin(), moe.load.end());
    }
    if (s == 1) out.first_gradients = toy.gradients();
  }
  out.parameters = toy.parameters();
  out.router_state = toy.router_state();
  return out;
}

void expect_same_run(const Outcome& got, const Outcome& want, const std::string& what) {
  expect_close({{"losses", got.curve}}, {{"losses", want.curve}}, 1e-10, what);
  for (std::size_t i = 0; i < want.curve.size() && i < got.curve.size(); ++i)
    EXPECT_LE(std::abs(got.curve[i] - want.curve[i]), 1e-10 * std::max(1e-3, std::abs(want.curve[i]))) << what << i;
  EXPECT_EQ(got.counts, want.counts) << what;
  expect_close(got.first_gradients, want.first_gradients, 1e-10, what + ": gradient of step 1");
  expect_close(got.parameters, want.parameters, 1e-10, what + ": parameters after ten steps");
  expect_same_bits(got.router_state, want.router_state, what + ": router state");
}

class Layout : public ::testing::TestWithParam<std::pair<const char*, Overrides>> {
 protected:
  // Two samples per micro-batch, two waves on each of the world's ranks.
  Config config(int64_t num_ranks = 1) const {
    Overrides overrides = {"train.dtype=f64", "train.micro_batch_size=2",
                           fmt::format("train.global_batch_size={}", 4 * mpi_world().size())};
    overrides.insert(overrides.end(), GetParam().second.begin(), GetParam().second.end());
    return toy_config(overrides, num_ranks);
  }
};

TEST_P(Layout, AllRanksTogetherGiveTheOneRankRun) {
  Config one_rank = config();
  if (GetParam().first == std::string("global_batch"))
    one_rank.train.micro_batch_size *= mpi_world().size();  // as many waves as each of the ranks has
  const Outcome alone = run(one_rank, nullptr);
  const Outcome together = run(config(mpi_world().size()), &mpi_world());
  expect_same_run(together, alone, GetParam().first);
}

INSTANTIATE_TEST_SUITE_P(
    Routings, Layout,
    ::testing::Values(
        std::pair{"top-k dropless", Overrides{"moe.balance=[{type: z_loss}, {type: entropy}]"}},
        std::pair{"recomputation", Overrides{"train.recompute=full", "moe.balance=[{type: load_balancing}]"}},
        std::pair{"capacity by position", Overrides{"moe.capacity={type: position, factor: 0.9}"}},
        std::pair{"random capacity, next choice",
                  Overrides{"moe.capacity={type: random, factor: 0.9, overflow: next_choice}"}},
        std::pair{"switch with jitter",
                  Overrides{"moe.router={type: switch_top1, jitter_eps: 0.3}", "moe.num_experts_per_tok=1",
                            "moe.balance=[{type: load_balancing}]", "moe.capacity={type: position, factor: 1.0}"}},
        std::pair{"hash", Overrides{"moe.router={type: hash}"}},
        std::pair{"norms over all heads", Overrides{"model.qk_norm_scope=all_heads"}},
        std::pair{"micro_batch",
                  Overrides{"moe.balance=[{type: load_balancing, coefficient: 0.1, scope: micro_batch}]"}},
        std::pair{"sequence", Overrides{"moe.balance=[{type: load_balancing, coefficient: 0.1, scope: sequence}]"}},
        std::pair{"global_batch",
                  Overrides{"moe.balance=[{type: load_balancing, coefficient: 0.1, scope: global_batch}]"}},
        std::pair{"global_batch_lagged",
                  Overrides{"moe.balance=[{type: load_balancing, coefficient: 0.1, scope: global_batch_lagged}]"}},
        std::pair{"selection bias", Overrides{"moe.router={type: sigmoid_topk}",
                                              "moe.hooks=[{type: selection_bias, update_rate: 0.05}]"}},
        // More experts than a micro-batch can fill: some have no token on one rank and some on another.
        std::pair{"experts without tokens", Overrides{"moe.num_experts=40", "moe.num_experts_per_tok=1",
                                                      "moe.router={type: softmax_topk, norm_topk_prob: false}"}}));

TEST(Ranks, EveryRankHoldsTheSameBits) {
  ToyRun toy(toy_config({fmt::format("train.global_batch_size={}", 4 * mpi_world().size())}), &mpi_world());
  toy.curve(1, 3);
  int64_t different = 0;
  for (const auto& [name, values] : toy.parameters()) {
    std::vector<double> of_root = values;
    mpi_world().broadcast(std::as_writable_bytes(std::span(of_root)), 0);
    different += same_bits(of_root, values) ? 0 : 1;
  }
  EXPECT_EQ(different, 0);
}

TEST(Ranks, TheSameRanksGiveTheSameBitsAgain) {
  const Config config = toy_config({fmt::format("train.global_batch_size={}", 4 * mpi_world().size())});
  const Outcome first = run(config, &mpi_world()), again = run(config, &mpi_world());
  EXPECT_TRUE(same_bits(first.curve, again.curve));
  expect_same_bits(first.parameters, again.parameters, "parameters");
}

// f32 adds in another order on every layout: one step from equal parameters agrees to rounding.
TEST(Ranks, OneStepInF32AgreesWithOneRankToRounding) {
  const Config config = toy_config({fmt::format("train.global_batch_size={}", 4 * mpi_world().size()),
                                    "moe.balance=[{type: load_balancing}, {type: z_loss}]"});
  ToyRun alone(config), together(config, &mpi_world());
  expect_close({{"losses", together.curve(1, 1)}}, {{"losses", alone.curve(1, 1)}}, 1e-6, "f32");
  expect_close(together.gradients(), alone.gradients(), 1e-5, "f32 gradient");
}

// A stop signal on one rank is seen by all in the same step.
TEST(Ranks, AStopRequestOfOneRankReachesAll) {
  const Config config = toy_config({fmt::format("train.global_batch_size={}", 4 * mpi_world().size())});
  Comm& comm = mpi_world();
  ToyRun toy(config, &comm);
  const bool last = comm.rank() + 1 == comm.size();
  EXPECT_EQ(toy.step(1, last).stop_requests, 1);
  EXPECT_EQ(toy.step(2, false).stop_requests, 0);
}

// Ranks that resume from a checkpoint of all ranks go on to the bit; one rank reads the same checkpoint exactly.
TEST(Ranks, ACheckpointOfAllRanksResumesToTheBitAndLoadsOnOneRank) {
  Comm& comm = mpi_world();
  const Config config =
      toy_config({fmt::format("train.global_batch_size={}", 4 * comm.size()), "moe.router={type: sigmoid_topk}",
                  "moe.hooks=[{type: selection_bias, update_rate: 0.05}]"});
  std::unique_ptr<TempDir> temp;
  if (comm.rank() == 0) temp = std::make_unique<TempDir>();
  const std::string folder = comm.broadcast_string(temp ? temp->path() : "", 0);
  ToyRun straight(config, &comm);
  straight.curve(1, 3);
  CheckpointState state;
  state.step = 3;
  state.config_text = print_config(config);
  const std::string directory =
      save_checkpoint(straight.ctx(), straight.decoder(), straight.optimizer(), folder, state, 2);
  const NamedValues saved = straight.parameters();
  const CheckpointReader reader(directory);

  ToyRun resumed(config, &comm);
  load_checkpoint(resumed.ctx(), resumed.decoder(), &resumed.optimizer(), reader);
  EXPECT_TRUE(same_bits(resumed.curve(4, 6), straight.curve(4, 6)));
  expect_same_bits(resumed.parameters(), straight.parameters(), "resumed parameters");

  ToyRun one(config);
  load_checkpoint(one.ctx(), one.decoder(), &one.optimizer(), reader);
  expect_same_bits(one.parameters(), saved, "parameters on one rank");
  comm.barrier();  // nobody deletes the folder before all have read it
}

}  // namespace
}  // namespace sy::testing
