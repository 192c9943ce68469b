// What a rank of a mesh holds: moments and masters of an even share of what it shares with others (ZeRO stage 1), and
// parameters and gradients of its slices only. Bytes are those that the allocator counted.
#include <gtest/gtest.h>

#include <fmt/ranges.h>

#include "tests/parallel/mpi_main.h"
#include "tests/trainer/toy_run.h"
#include "trainer/dry_run.h"

namespace sy::testing {
namespace {

// 12 heads, 6 key-value heads, 12 experts, vocabulary without padding, in bf16: masters, and moments of 4 bytes.
Config mesh_config(const MeshSizes& mesh) {
  std::vector<std::string> all = {"model.vocab_size=96",
                                  "model.hidden_size=96",
                                  "model.intermediate_size=48",
                                  "model.num_attention_heads=12",
                                  "model.num_key_value_heads=6",
                                  "moe.num_experts=12",
                                  "moe.moe_intermediate_size=24",
                                  "moe.router={type: sigmoid_topk}",
                                  "moe.hooks=[{type: selection_bias}]",
                                  "train.dtype=bf16",
                                  "train.micro_batch_size=1",
                                  "train.global_batch_size=12",
                                  fmt::format("parallel.tensor_model_parallel_size={}", mesh.tensor),
                                  fmt::format("parallel.expert_model_parallel_size={}", mesh.expert),
                                  fmt::format("parallel.expert_tensor_parallel_size={}", mesh.expert_tensor)};
  if (mesh.tensor > 1) all.push_back(fmt::format("parallel.sequence_parallel={}", mesh.sequence_parallel));
  return toy_config(all, mesh.ranks);
}

struct RankBytes {
  int64_t parameters, masters, gradients, optimizer;
  int64_t padding;  // at most so many elements of a rank's buckets belong to no parameter
};

// Of each rank of a mesh on the world's first ranks; all ranks of the world call, and get the same.
std::vector<RankBytes> bytes_of(const MeshSizes& mesh) {
  Comm& world = mpi_world();
  const bool takes_part = world.rank() < mesh.ranks;
  const auto comm = world.split(takes_part ? 0 : 1, world.rank(), "first ranks");
  std::vector<RankBytes> all(static_cast<std::size_t>(world.size()));
  RankBytes mine{};
  if (takes_part) {
    ToyRun toy(mesh_config(mesh), comm.get());
    const auto live = toy.ctx().allocator().use().live_bytes;
    const auto of = [&](MemoryKind kind) { return live[static_cast<std::size_t>(kind)]; };
    mine = {of(MemoryKind::parameters), of(MemoryKind::masters), of(MemoryKind::gradients), of(MemoryKind::optimizer),
            64 * static_cast<int64_t>(toy.decoder().parameters().all().size())};
    for (const ParameterBucket& bucket : toy.decoder().parameters().buckets())
      mine.padding += 64 * (bucket.ranks != nullptr ? bucket.ranks->size() : 1);
  }
  world.all_gather(std::span<const RankBytes>(&mine, 1), std::span<RankBytes>(all));
  all.resize(static_cast<std::size_t>(mesh.ranks));
  return all;
}

// Elements of the whole model that ranks share in each way, and those of them that are stored in bf16.
struct Elements {
  int64_t tensor_sharded = 0, expert = 0, whole = 0;
  int64_t in_bf16 = 0;
  int64_t all() const { return tensor_sharded + expert + whole; }
};
Elements elements() {
  Context meta(DeviceType::meta);
  const Config config = mesh_config({});
  Decoder decoder(meta, config.model, config.moe, {.dtype = DType::bf16});
  Elements e;
  for (const Parameter& p : decoder.parameters().all()) {
    const int64_t count = p.value.count();
    const bool is_sharded = p.sharing == Sharing::kTensorSharded || p.sharing == Sharing::kKeyValue;
    (is_sharded ? e.tensor_sharded : p.sharing == Sharing::kExpert ? e.expert : e.whole) += count;
    if (p.value.dtype() == DType::bf16) e.in_bf16 += count;
  }
  return e;
}

TEST(MeshMemory, MomentsAndMastersFallAsOneOverTheDataParallelRanks) {
  const Elements e = elements();
  for (const int64_t ranks : {1, 2, 3, 4, 6}) {
    for (const RankBytes& rank : bytes_of({.ranks = ranks})) {
      // Two moments of 4 bytes; the padding of a bucket is shared as well.
      const int64_t padding = rank.padding / ranks + 64;
      EXPECT_GE(rank.optimizer, e.all() * 8 / ranks) << ranks;
      EXPECT_LE(rank.optimizer, (e.all() / ranks + padding) * 8) << ranks;
      EXPECT_GE(rank.masters, e.in_bf16 * 4 / ranks) << ranks;
      EXPECT_LE(rank.masters, (e.in_bf16 / ranks + padding) * 4) << ranks;
      EXPECT_GE(rank.gradients, e.all() * 4) << ranks;  // whole on every rank
      EXPECT_LT(padding * 10, e.all() / ranks) << "the bounds say nothing";
    }
  }
}

TEST(MeshMemory, OnAnyMeshEachMomentAndMasterIsHeldOnce) {
  const Elements e = elements();
  for (const MeshSizes& mesh :
       std::vector<MeshSizes>{{4, 2, 2, 2}, {4, 1, 4, 1}, {6, 3, 2, 1}, {6, 6, 2, 3}, {6, 2, 1, 6}}) {
    int64_t optimizer = 0, masters = 0, padding = 0, largest = 0;
    for (const RankBytes& rank : bytes_of(mesh)) {
      optimizer += rank.optimizer;
      masters += rank.masters;
      padding += rank.padding;
      largest = std::max(largest, rank.optimizer);
    }
    EXPECT_GE(optimizer, e.all() * 8) << describe(mesh);
    EXPECT_LE(optimizer, (e.all() + padding) * 8) << describe(mesh);
    EXPECT_GE(masters, e.in_bf16 * 4) << describe(mesh);
    EXPECT_LE(masters, (e.in_bf16 + padding) * 4) << describe(mesh);
    EXPECT_LE(largest, (e.all() + padding) * 8 / mesh.ranks) << describe(mesh) << ": uneven";
  }
}

TEST(MeshMemory, ParametersAndGradientsFallWithTensorAndExpertRanks) {
  const Elements e = elements();
  const RankBytes alone = bytes_of({}).front();
  for (const MeshSizes& mesh : std::vector<MeshSizes>{{2, 2},
                                                      {4, 2},
                                                      {6, 6},
                                                      {2, 1, 2},
                                                      {4, 1, 4},
                                                      {6, 1, 2},
                                                      {6, 1, 1, 6},
                                                      {6, 1, 3, 2},
                                                      {6, 2, 3},
                                                      {6, 6, 6, 1, false}}) {
    const int64_t held = e.tensor_sharded / mesh.tensor + e.expert / (mesh.expert * mesh.expert_tensor) + e.whole;
    for (const RankBytes& rank : bytes_of(mesh)) {
      EXPECT_GE(rank.gradients, held * 4) << describe(mesh);
      EXPECT_LE(rank.gradients, (held + rank.padding) * 4) << describe(mesh);
      // Router weights take 4 bytes, the rest 2; router state and the like are those of one rank.
      const int64_t saved = (e.all() - held) * 2;
      EXPECT_NEAR(static_cast<double>(alone.parameters - rank.parameters), static_cast<double>(saved),
                  static_cast<double>(4 * std::max(alone.padding, rank.padding)))
          << describe(mesh);
    }
    EXPECT_LT(held * 10, e.all() * 9) << describe(mesh);
  }
}

// A dry run of rank 0 on a mesh that does not exist: to the byte where the number of rows that travel is known (every
// expert for every token), and nearly so where it is that of even routing.
TEST(MeshMemory, ADryRunPredictsRankZerosPeak) {
  Comm& world = mpi_world();
  const int64_t ranks = world.size();
  for (const MeshSizes& mesh : {MeshSizes{ranks, 1, 1, 1}, MeshSizes{ranks, 2, 1, 1}, MeshSizes{ranks, 3, 1, 1, false},
                                MeshSizes{ranks, 1, 6, 1}, MeshSizes{ranks, 2, 3, 2}, MeshSizes{ranks, 6, 2, 1}})
    for (const bool all_experts : {true, false}) {
      Config config = mesh_config(mesh);
      if (all_experts) config.moe.num_experts_per_tok = 12;
      ToyRun toy(config, &world);
      toy.step(1);
      const MemoryUse real = toy.ctx().allocator().use(), predicted = dry_run(config, ranks).memory;
      if (world.rank() != 0) continue;
      const double ratio = static_cast<double>(predicted.total_peak_bytes) / static_cast<double>(real.total_peak_bytes);
      if (all_experts || mesh.expert * mesh.expert_tensor == 1) {
        EXPECT_EQ(predicted.total_peak_bytes, real.total_peak_bytes) << describe(mesh);
        EXPECT_EQ(predicted.peak_bytes, real.peak_bytes) << describe(mesh);
      } else {
        EXPECT_NEAR(ratio, 1, 0.1) << describe(mesh);
      }
    }
}

}  // namespace
}  // namespace sy::testing
