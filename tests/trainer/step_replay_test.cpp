// Replays of steps: exposed time against sums by hand, durations against the cost file's figures, and what a model's
// layout does to them.
#include "trainer/step_replay.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/csrc/io/io_testing.h"
#include "tests/trainer/toy_run.h"
#include "trainer/dry_run.h"

namespace sy::testing {
namespace {

// A byte computed or sent takes a nanosecond; nothing else costs anything.
Hardware one_gb_per_second() {
  return {.bf16_tflops = 4,
          .f32_tflops = 2,
          .f64_tflops = 1,
          .memory_gb_per_s = 1,
          .ranks_per_node = 2,
          .inside_node = {.gb_per_s = 1},
          .between_nodes = {.gb_per_s = 0.5}};
}

// Durations in seconds on that hardware, on two ranks.
struct HandMadeStep : StepTrace {
  void work(double seconds) { compute("kernel", {.bytes = 1e9 * seconds}); }
  void send(const char* what, int64_t number, double seconds) {
    start({.what = what, .group = "world", .ranks = 2, .bytes = static_cast<int64_t>(1e9 * seconds)}, number);
  }
  StepReplay replay() const { return replay_step(events(), one_gb_per_second(), {.ranks = 2}); }
};

TEST(Replay, AWaitIsAsLongAsWhatComputationDoesNotCover) {
  HandMadeStep step;
  step.send("rows", 1, 3);
  step.work(2);
  step.wait("rows", 1);
  step.work(4);
  const StepReplay replay = step.replay();
  EXPECT_DOUBLE_EQ(replay.exposed_seconds, 1);
  EXPECT_DOUBLE_EQ(replay.compute_seconds, 6);
  EXPECT_DOUBLE_EQ(replay.step_seconds, 7);
  EXPECT_DOUBLE_EQ(replay.transfer_seconds, 3);
}

TEST(Replay, ATransferThatHasArrivedIsNotWaitedFor) {
  HandMadeStep step;
  step.send("rows", 1, 3);
  step.work(5);
  step.wait("rows", 1);
  EXPECT_DOUBLE_EQ(step.replay().exposed_seconds, 0);
  EXPECT_DOUBLE_EQ(step.replay().step_seconds, 5);
}

TEST(Replay, TransfersFollowEachOtherOnOneStream) {
  HandMadeStep step;
  step.send("gradients", 0, 2);
  step.send("rows", 1, 2);
  step.work(1);
  step.wait("rows", 1);  // at 4: behind the gradients
  step.wait("gradients", 0);
  const StepReplay replay = step.replay();
  ASSERT_EQ(replay.transfers.size(), 2u);
  EXPECT_EQ(replay.transfers[0].what, "gradients");
  EXPECT_DOUBLE_EQ(replay.transfers[0].exposed_seconds, 0);
  EXPECT_DOUBLE_EQ(replay.transfers[1].exposed_seconds, 3);
  EXPECT_DOUBLE_EQ(replay.step_seconds, 4);
}

TEST(Replay, TheLongestWaitOfAKindIsNamed) {
  HandMadeStep step;
  for (const auto& [bucket, seconds] : std::vector<std::pair<int64_t, double>>{{0, 1}, {1, 4}, {2, 2}}) {
    step.send("gradients", bucket, seconds);
    step.work(0.5);
    step.wait("gradients", bucket);
  }
  const ReplayedTransfers gradients = step.replay().transfers.at(0);
  EXPECT_EQ(gradients.count, 3);
  EXPECT_DOUBLE_EQ(gradients.bytes, 7e9);
  EXPECT_DOUBLE_EQ(gradients.exposed_seconds, 0.5 + 3.5 + 1.5);
  EXPECT_DOUBLE_EQ(gradients.longest_wait_seconds, 3.5);
  EXPECT_EQ(gradients.longest_wait_number, 1);
}

TEST(Replay, AStepWaitsForWhatTheStepBeforeHasSent) {
  HandMadeStep step;
  step.work(1);
  step.wait("parameters", 0);
  step.work(2);
  step.send("parameters", 0, 5);
  const StepReplay replay = step.replay();
  EXPECT_DOUBLE_EQ(replay.exposed_seconds, 4);
  EXPECT_DOUBLE_EQ(replay.step_seconds, 7);
}

TEST(Durations, AKernelTakesAsLongAsItsProductsOrItsBytesAfterItsLaunch) {
  Hardware hardware = one_gb_per_second();
  EXPECT_DOUBLE_EQ(kernel_seconds(hardware, {.flops = 8e12, .bytes = 1e9, .factor_bytes = 2}), 2);
  EXPECT_DOUBLE_EQ(kernel_seconds(hardware, {.flops = 8e12, .bytes = 1e9, .factor_bytes = 4}), 4);
  EXPECT_DOUBLE_EQ(kernel_seconds(hardware, {.flops = 8e12, .bytes = 1e9, .factor_bytes = 8}), 8);
  EXPECT_DOUBLE_EQ(kernel_seconds(hardware, {.flops = 8e12, .bytes = 9e9, .factor_bytes = 8}), 9);
  hardware.launch_us = 3e6;
  EXPECT_DOUBLE_EQ(kernel_seconds(hardware, {.bytes = 9e9}), 12);
}

TEST(Durations, NodesExchangeOverTheSlowerLink) {
  Hardware hardware = one_gb_per_second();
  const Transfer transfer{.what = "rows", .group = "world", .ranks = 4, .bytes = 3'000'000'000};
  EXPECT_DOUBLE_EQ(transfer_seconds(hardware, transfer, {.inside_node = 3}), 3);
  EXPECT_DOUBLE_EQ(transfer_seconds(hardware, transfer, {.inside_node = 1, .on_other_nodes = 2}), 4);
  hardware.inside_node.latency_us = 1e6;
  hardware.between_nodes.latency_us = 5e6;
  EXPECT_DOUBLE_EQ(transfer_seconds(hardware, transfer, {.inside_node = 3}), 4);
  EXPECT_DOUBLE_EQ(transfer_seconds(hardware, transfer, {.inside_node = 1, .on_other_nodes = 2}), 9);
  Transfer sum = transfer;
  sum.exchanges = 2;
  EXPECT_DOUBLE_EQ(transfer_seconds(hardware, sum, {.inside_node = 3}), 5);
}

// Tensor-parallel neighbours share a node, data-parallel ranks do not.
TEST(Durations, TheMeshSaysWhichRanksShareANode) {
  const auto seconds = [](const char* group) {
    StepTrace trace;
    trace.start({.what = "sums", .group = group, .ranks = 2, .bytes = 1'000'000'000}, 1);
    trace.wait("sums", 1);
    return replay_step(trace.events(), one_gb_per_second(), {.ranks = 4, .tensor = 2}).step_seconds;
  };
  EXPECT_DOUBLE_EQ(seconds("tp"), 1);
  EXPECT_DOUBLE_EQ(seconds("dp"), 2);
}

constexpr const char* kCosts =
    "matmul_tflops: {bf16: 2, f32: 1, f64: 1}\nmemory_gb_per_s: 10\nlaunch_us: 1\nranks_per_node: 2\n"
    "inside_node: {latency_us: 1, gb_per_s: 1}\n";

TEST(CostFile, AnUnknownKeyIsAnErrorThatNamesTheLine) {
  const TempDir folder;
  write_bytes(folder.file("slow.yaml"), std::string(kCosts) + "between_nodes: {latency: 3}\n");
  expect_user_error([&] { load_hardware(folder.file("slow.yaml")); }, {"slow.yaml:6", "latency_us"});
}

TEST(CostFile, OfOneNodeCannotSayWhatMoreRanksTake) {
  const TempDir folder;
  write_bytes(folder.file("node.yaml"), kCosts);
  EXPECT_EQ(load_hardware(folder.file("node.yaml"), 2).ranks_per_node, 2);
  expect_user_error([&] { load_hardware(folder.file("node.yaml"), 3); },
                    {"node.yaml:4", "3 ranks are more than one node"});
}

TEST(CostFile, TheCommittedOnesAreComplete) {
  int64_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(SY_SOURCE_DIR) + "/configs/hardware")) {
    const Hardware hardware = load_hardware(entry.path());
    EXPECT_GE(hardware.bf16_tflops, hardware.f64_tflops) << entry.path();
    ++files;
  }
  EXPECT_GE(files, 2);
}

// 6 operations per parameter and token, and the scores: what the products of the kernels add up to. Attention forms
// its scores once more in backward, which the model's count leaves out.
TEST(DryRunTrace, ProductsAreThoseOfTheModel) {
  const Config config = toy_config({"model.vocab_size=48"});
  StepTrace trace;
  const DryRun dry = dry_run(config, 0, &trace);
  double flops = 0;
  for (const StepEvent& e : trace.events())
    flops += e.work.flops * (e.what == "causal_attention_backward" ? 2.0 / 2.5 : 1.0);
  const double tokens = static_cast<double>(config.train.global_batch_size * config.train.seq_length);
  EXPECT_NEAR(flops / (tokens * dry.model.training_flops_per_token), 1, 1e-12);
}

TEST(DryRunTrace, PartsOfADispatchLowerTheWaitsWhereTravelDominates) {
  const int64_t ranks = 4;
  const auto replay = [&](int64_t chunks) {
    const Config config =
        toy_config({"train.seq_length=48", "train.micro_batch_size=8", "train.global_batch_size=32",
                    "moe.num_experts=8", "moe.moe_intermediate_size=256", "parallel.expert_model_parallel_size=4",
                    fmt::format("parallel.dispatch_chunks={}", chunks)},
                   ranks);
    StepTrace trace;
    dry_run(config, ranks, &trace);
    Hardware hardware = one_gb_per_second();
    hardware.ranks_per_node = ranks;
    hardware.f32_tflops = 1;
    hardware.memory_gb_per_s = 1000;
    return replay_step(trace.events(), hardware, mesh_sizes(config.parallel, ranks), config.model.kv_heads());
  };
  const StepReplay whole = replay(1), parts = replay(4);
  EXPECT_GT(whole.exposed_seconds, whole.compute_seconds) << "travel does not dominate";
  EXPECT_NEAR(parts.compute_seconds, whole.compute_seconds, 0.05 * whole.compute_seconds);
  EXPECT_LT(parts.exposed_seconds, whole.exposed_seconds);
}

}  // namespace
}  // namespace sy::testing
