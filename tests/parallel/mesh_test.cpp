// Which meshes are legal and why not, and who belongs to which group.
#include "parallel/mesh.h"

#include <gtest/gtest.h>

#include "tests/parallel/mpi_main.h"

namespace sy::testing {
namespace {

const MeshDemands kModel{.heads = 12,
                         .kv_heads = 6,
                         .padded_vocab = 384,
                         .seq_length = 24,
                         .dense_widths = {144},
                         .expert_widths = {48},
                         .experts = {12, 24}};

TEST(Legal, MeshesWhoseFactorsDivideTheModelAreLegal) {
  for (const MeshSizes& sizes : {MeshSizes{1}, MeshSizes{8}, MeshSizes{6, 6, 1, 1}, MeshSizes{6, 3, 2, 3},
                                 MeshSizes{4, 2, 4, 1}, MeshSizes{12, 2, 12, 1}, MeshSizes{8, 1, 2, 4}})
    EXPECT_EQ(why_illegal(sizes, kModel), "") << describe(sizes);
}

TEST(Legal, EveryRefusalGivesTheNumbers) {
  const auto why = [](const MeshSizes& sizes, MeshDemands model = kModel) { return why_illegal(sizes, model); };
  EXPECT_EQ(why({8, 3}), "3 needs a multiple of 3 ranks, there are 8: ranks = data x tensor");
  EXPECT_EQ(
      why({6, 1, 4, 1}),
      "4 x expert_tensor_parallel_size 1 needs a multiple of 4 ranks, there are 6: ranks = expert data x expert x "
      "expert tensor");
  EXPECT_EQ(why({8, 8}), "num_attention_heads 12 cannot be divided among 8 tensor-parallel ranks");
  MeshDemands norms = kModel;
  norms.norms_all_heads = true;
  EXPECT_EQ(why({8, 2}, norms),
            "qk_norm_scope: all_heads norms all heads of a token together, which tensor-parallel ranks cannot share");
  EXPECT_EQ(why({8, 1, 4, 1}, norms), "");
  EXPECT_EQ(why({4, 4}),
            "num_key_value_heads 6 and 4 tensor-parallel ranks: one must be a multiple of the other (each rank holds "
            "whole heads, or several ranks hold the same one)");
  EXPECT_EQ(why({8, 1, 8, 1}), "num_experts 12 cannot be divided among 8 expert-parallel ranks");
  EXPECT_EQ(why({5, 1, 1, 5}), "expert width 48 cannot be divided among 5 expert-tensor-parallel ranks");
  MeshDemands model = kModel;
  model.seq_length = 25;
  EXPECT_EQ(why({2, 2}, model), "seq_length 25 cannot be divided among 2 tensor-parallel ranks");
  model = kModel;
  model.dense_widths = {144, 7};
  EXPECT_EQ(why({3, 3}, model), "intermediate size 7 cannot be divided among 3 tensor-parallel ranks");
  model = kModel;
  model.padded_vocab = 257;
  EXPECT_EQ(why({3, 3}, model), "the padded vocabulary 257 cannot be divided among 3 tensor-parallel ranks");
  model = kModel;
  model.experts = {};
  EXPECT_EQ(why({2, 1, 2, 1}, model), "the model has no experts that expert-parallel ranks could share");
}

TEST(Legal, KeyValueHeadsMayBeFewerThanTensorRanks) {
  MeshDemands model = kModel;
  model.kv_heads = 2;
  EXPECT_EQ(why_illegal({6, 6}, model), "");
}

// World ranks of a group, in the group's order.
std::vector<int64_t> members(Comm& group) {
  const auto mine = static_cast<int64_t>(mpi_world().rank());
  std::vector<int64_t> all(static_cast<std::size_t>(group.size()));
  group.all_gather<int64_t>(std::span<const int64_t>(&mine, 1), all);
  return all;
}

TEST(Groups, FollowTheTwoFactorisationsOfTheRank) {
  Comm& world = mpi_world();
  const int64_t ranks = world.size(), rank = world.rank();
  for (int64_t tensor = 1; tensor <= ranks; ++tensor)
    for (int64_t expert = 1; expert <= ranks; ++expert)
      for (int64_t slices = 1; slices <= ranks; ++slices) {
        if (ranks % tensor != 0 || ranks % (expert * slices) != 0) continue;
        const Mesh mesh(world, {ranks, tensor, expert, slices});
        const int64_t exchange = expert * slices;
        std::vector<int64_t> same_tensor_group, same_data_group, same_expert_group, same_experts;
        for (int64_t r = 0; r < ranks; ++r) {
          if (r / tensor == rank / tensor) same_tensor_group.push_back(r);
          if (r % tensor == rank % tensor) same_data_group.push_back(r);
          if (r / exchange == rank / exchange) same_expert_group.push_back(r);
          if (r % exchange == rank % exchange) same_experts.push_back(r);
        }
        EXPECT_EQ(members(mesh.tensor()), same_tensor_group);
        EXPECT_EQ(members(mesh.data()), same_data_group);
        EXPECT_EQ(members(mesh.expert()), same_expert_group);
        EXPECT_EQ(members(mesh.expert_data()), same_experts);
        EXPECT_EQ(members(mesh.key_value()), same_data_group) << "without heads to share";
        for (Comm* group : {&mesh.tensor(), &mesh.data(), &mesh.expert(), &mesh.expert_data(), &mesh.world()})
          EXPECT_EQ(members(*group), group_ranks(mesh.sizes(), 0, group->name(), rank)) << group->name();
        EXPECT_EQ(mesh.expert_rank() * slices + mesh.expert_tensor_rank(), rank % exchange);
        EXPECT_EQ(mesh.tensor_rank(), rank % tensor);
        EXPECT_EQ(mesh.data_rank(), rank / tensor);
      }
}

TEST(Groups, RanksThatShareAKeyValueHeadAreNeighbours) {
  Comm& world = mpi_world();
  const int64_t ranks = world.size(), rank = world.rank();
  const Mesh all_share(world, {ranks, ranks}, /*kv_heads=*/1);
  EXPECT_EQ(all_share.key_value().size(), ranks);
  if (ranks % 2 != 0) return;
  const Mesh pairs_share(world, {ranks, ranks}, /*kv_heads=*/ranks / 2);
  EXPECT_EQ(members(pairs_share.key_value()), (std::vector<int64_t>{rank / 2 * 2, rank / 2 * 2 + 1}));
  EXPECT_EQ(members(pairs_share.key_value()), group_ranks(pairs_share.sizes(), ranks / 2, "kv", rank));
}

}  // namespace
}  // namespace sy::testing
