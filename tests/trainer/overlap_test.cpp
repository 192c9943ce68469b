// That communication is hidden behind computation, shown by structure: the order in which a rank computes, starts
// transfers and waits for them. No wait stands before work that does not need its result.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "csrc/core/step_trace.h"
#include "tests/parallel/mpi_main.h"
#include "tests/trainer/toy_run.h"
#include "trainer/dry_run.h"

namespace sy::testing {
namespace {

using Kind = StepEvent::Kind;

Config small_run(const std::string& device, const std::vector<std::string>& overrides) {
  const int64_t ranks = mpi_world().size();
  std::vector<std::string> all = {fmt::format("train.global_batch_size={}", 4 * ranks), "parallel.ddp_bucket_size=2000",
                                  "device.type=" + device};
  all.insert(all.end(), overrides.begin(), overrides.end());
  return toy_config(all, ranks);
}

// The events of the second step of a small run: the first one has no parameters on their way.
std::vector<StepEvent> second_step(const std::string& device, const std::vector<std::string>& overrides,
                                   bool overlap = true) {
  ToyRun toy(small_run(device, overrides), &mpi_world());
  toy.ctx().overlap = overlap;
  toy.step(1);
  StepTrace trace;
  toy.ctx().trace = &trace;
  toy.step(2);
  toy.ctx().trace = nullptr;
  return trace.events();
}

// On a GPU the events are what the host gives to the compute stream, which waits where the host says "wait".
class Overlap : public ::testing::TestWithParam<const char*> {};
#if defined(SY_CUDA_SIM)
INSTANTIATE_TEST_SUITE_P(On, Overlap, ::testing::Values("cpu", "cuda"));
#else
INSTANTIATE_TEST_SUITE_P(On, Overlap, ::testing::Values("cpu"));
#endif

struct Span {
  std::size_t start, wait;
};
// Start and wait of every transfer of a kind, in the order of their starts; parameters start in the step before.
std::vector<Span> spans(const std::vector<StepEvent>& events, const std::string& what) {
  std::vector<Span> all;
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (events[i].kind != Kind::kStart || events[i].what != what) continue;
    for (std::size_t j = i + 1; j < events.size(); ++j)
      if (events[j].kind == Kind::kWait && events[j].what == what && events[j].number == events[i].number) {
        all.push_back({i, j});
        break;
      }
  }
  return all;
}

// How often kernels whose name begins like this ran in (begin, end).
int64_t computed(const std::vector<StepEvent>& events, std::size_t begin, std::size_t end,
                 const std::string& kernel = "") {
  if (end <= begin) return 0;
  return std::count_if(events.begin() + static_cast<std::ptrdiff_t>(begin) + 1,
                       events.begin() + static_cast<std::ptrdiff_t>(end),
                       [&](const StepEvent& e) { return e.kind == Kind::kCompute && e.what.starts_with(kernel); });
}

TEST_P(Overlap, EveryBucketOfGradientsIsReducedWhileBackwardGoesOn) {
  const std::vector<StepEvent> events = second_step(GetParam(), {});
  const std::vector<Span> buckets = spans(events, "gradients");
  EXPECT_GT(buckets.size(), 5u);
  if (buckets.empty()) return;
  std::size_t first_wait = events.size();
  for (const Span& b : buckets) first_wait = std::min(first_wait, b.wait);
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    EXPECT_LT(buckets[i].start, first_wait) << "a wait stands before the start of bucket " << i;
    // Work goes on behind every start but the last one's.
    if (i + 1 < buckets.size()) {
      EXPECT_GT(computed(events, buckets[i].start, buckets.back().start), 0) << "behind bucket " << i;
    }
  }
  // Backward is over at the first wait.
  EXPECT_EQ(computed(events, first_wait, events.size(), "gemm"), 0);
  EXPECT_EQ(computed(events, first_wait, events.size(), "grouped_gemm"), 0);
}

TEST_P(Overlap, BucketsStartInTheSameOrderOnAllRanks) {
  std::string order;
  for (const StepEvent& e : second_step(GetParam(), {}))
    if (e.kind == Kind::kStart && e.what == "gradients") order += std::to_string(e.number) + " ";
  const std::string of_root = mpi_world().broadcast_string(order, 0);
  EXPECT_EQ(order, of_root);
  EXPECT_NE(order, "");
}

TEST_P(Overlap, ALayersParametersAreAwaitedNoSoonerThanTheLayerComes) {
  const std::vector<StepEvent> events = second_step(GetParam(), {});
  std::vector<std::size_t> waits;
  std::set<int64_t> awaited;
  for (std::size_t i = 0; i < events.size(); ++i)
    if (events[i].kind == Kind::kWait && events[i].what == "parameters") {
      waits.push_back(i);
      EXPECT_TRUE(awaited.insert(events[i].number).second) << "bucket " << events[i].number << " twice";
    }
  EXPECT_GT(waits.size(), 5u);
  if (waits.empty()) return;
  // The products of the first two blocks (a dense one has four, an MoE one five) stand before the last wait.
  EXPECT_GE(computed(events, waits.front(), waits.back(), "gemm"), 4 + 5);
  EXPECT_EQ(computed(events, 0, waits.front(), "gemm"), 0);
}

TEST_P(Overlap, SharedExpertsAreComputedWhileTokensTravel) {
  const std::vector<StepEvent> events = second_step(GetParam(), {"parallel.expert_model_parallel_size=2"});
  int64_t hidden = 0;
  for (const Span& s : spans(events, "rows")) hidden += computed(events, s.start, s.wait, "swiglu_forward") > 0 ? 1 : 0;
  // Two MoE layers, two waves; rows, entries and weights travel at once.
  EXPECT_GE(hidden, 2 * 2 * 3);
}

// With every expert for every token, a token's row goes to each other rank of the expert group exactly once, whichever
// tensor-parallel ranks hold it.
TEST(DispatchedBytes, CountEachTokenOncePerOtherRank) {
  const int64_t ranks = mpi_world().size();
  for (const char* sequence_parallel : {"true", "false"}) {
    const Config config = toy_config(
        {fmt::format("train.global_batch_size={}", 4 * ranks), "moe.num_experts=4", "moe.num_experts_per_tok=4",
         "parallel.tensor_model_parallel_size=2", fmt::format("parallel.sequence_parallel={}", sequence_parallel),
         fmt::format("parallel.expert_model_parallel_size={}", ranks)},
        ranks);
    ToyRun toy(config, &mpi_world());
    const int64_t tokens = 4 * ranks * config.train.seq_length, layers = 2;
    EXPECT_EQ(toy.step(1).dispatch_bytes, layers * tokens * (ranks - 1) * config.model.hidden_size * 4)
        << sequence_parallel;
  }
}

TEST_P(Overlap, ExpertsOfOnePartComputeWhileAnotherTravels) {
  const auto behind_travel = [&](int64_t chunks) {
    const std::vector<StepEvent> events = second_step(
        GetParam(), {"parallel.expert_model_parallel_size=2", fmt::format("parallel.dispatch_chunks={}", chunks)});
    int64_t hidden = 0;
    for (const Span& s : spans(events, "rows")) hidden += computed(events, s.start, s.wait, "grouped_gemm") > 0 ? 1 : 0;
    return hidden;
  };
  EXPECT_EQ(behind_travel(1), 0);
  EXPECT_GT(behind_travel(3), 0);
}

TEST_P(Overlap, SwitchedOffAwaitsEveryTransferWhereItStarts) {
  const std::vector<StepEvent> events = second_step(
      GetParam(), {"parallel.expert_model_parallel_size=2", "parallel.dispatch_chunks=3"}, /*overlap=*/false);
  int64_t starts = 0;
  for (std::size_t i = 0; i + 1 < events.size(); ++i) {
    if (events[i].kind != Kind::kStart) continue;
    ++starts;
    EXPECT_EQ(events[i + 1].kind, Kind::kWait);
    EXPECT_EQ(events[i + 1].what, events[i].what);
    EXPECT_EQ(events[i + 1].number, events[i].number);
  }
  EXPECT_GT(starts, 20);
}

std::string text(const StepEvent& e) {
  return fmt::format("{} {} {}: {} flops, {} bytes; to {} ranks of '{}' {} bytes", static_cast<int>(e.kind), e.what,
                     e.number, e.work.flops, e.work.bytes, e.transfer.ranks, e.transfer.group, e.transfer.bytes);
}

// Rank 0's events of a real step and of the dry run. `uneven_routing`: rows and the work on them are as many as chance
// has it in one and as many for every expert in the other.
void expect_events_of_the_dry_run(const std::vector<std::string>& overrides, bool uneven_routing) {
  const std::vector<StepEvent> real = second_step("cpu", overrides);
  if (mpi_world().rank() != 0) return;
  StepTrace trace;
  dry_run(small_run("cpu", overrides), mpi_world().size(), &trace);
  ASSERT_EQ(trace.events().size(), real.size());
  for (std::size_t i = 0; i < real.size(); ++i) {
    StepEvent want = real[i], got = trace.events()[i];
    if (uneven_routing) want.work = got.work = {};
    if (uneven_routing && want.what == "rows") want.transfer.bytes = got.transfer.bytes = 0;
    ASSERT_EQ(text(got), text(want)) << "event " << i;
    ASSERT_TRUE(got == want) << "event " << i << ": " << text(got);
  }
}

TEST(DryRunTrace, HasTheEventsAndTheWorkOfARealStep) {
  expect_events_of_the_dry_run({}, false);
  expect_events_of_the_dry_run({"train.dtype=bf16", "train.recompute=full"}, false);
  expect_events_of_the_dry_run({"parallel.tensor_model_parallel_size=2"}, false);
  expect_events_of_the_dry_run({"parallel.tensor_model_parallel_size=2", "parallel.sequence_parallel=false"}, false);
  expect_events_of_the_dry_run({"moe.balance=[{type: load_balancing, scope: global_batch}]"}, false);
}

TEST(DryRunTrace, HasTheEventsOfARealStepWhoseRowsTravel) {
  expect_events_of_the_dry_run({"parallel.expert_model_parallel_size=2"}, true);
  expect_events_of_the_dry_run(
      {"parallel.expert_model_parallel_size=2", "parallel.dispatch_chunks=3", "parallel.tensor_model_parallel_size=2"},
      true);
}

}  // namespace
}  // namespace sy::testing
