// Upcycled models train on every mesh as on one rank: the checkpoint that one process made is loaded by ranks that
// share the experts, the matrices or the data.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/trainer/dense_toy.h"
#include "tests/trainer/rank_groups.h"
#include "trainer/layout_run.h"
#include "trainer/upcycle.h"

namespace sy::testing {
namespace {

Config on_mesh(const std::string& folder, const MeshSizes& mesh) {
  return load_config(folder + "/config.yaml",
                     {fmt::format("parallel.tensor_model_parallel_size={}", mesh.tensor),
                      fmt::format("parallel.expert_model_parallel_size={}", mesh.expert),
                      fmt::format("parallel.expert_tensor_parallel_size={}", mesh.expert_tensor)},
                     mesh.ranks);
}

LayoutRun three_steps(const Config& config, Comm& comm) {
  return run_layout(config, comm, 3,
                    [&](BatchBuilder& builder, int64_t sample) { add_toy_sample(builder, config, sample); });
}

const std::vector<MeshSizes> kMeshes = {{2, 1, 2, 1}, {2, 2, 1, 1}, {2, 2, 1, 2}, {4, 1, 2, 1}, {4, 2, 2, 1}};

class UpcycledOnMeshes : public ::testing::TestWithParam<const char*> {};

TEST_P(UpcycledOnMeshes, LossesGradientsAndParametersAreThoseOfOneRank) {
  const SharedDir dir;
  const std::string folder = dir.file("moe");
  double dense_loss = 0;
  on_first_ranks(1, [&](Comm& comm) {
    ToyRun dense(dense_toy_config({"train.dtype=f64"}), &comm);
    dense.curve(1, 3);
    const std::string input = save_run(dense, dir.file("dense"));
    // The balance loss: equal experts give their router no other gradient, and rounding cannot be compared.
    const std::string moe =
        "{num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 48, router: {type: softmax_topk, "
        "softmax: after}, balance: [{type: load_balancing, coefficient: 0.1, scope: micro_batch}]}";
    upcycle(recipe_of<UpcycleConfig>(
        fmt::format("{{inputs: [{}], output: {}, method: {}, moe: {}}}", input, folder, GetParam(), moe)));
    ToyRun again(dense_toy_config({"train.dtype=f64"}), &comm);
    load_pretrained(again.ctx(), again.decoder(), again.config(), CheckpointReader(resolve_checkpoint(input)));
    dense_loss = again.curve(1, 1).front();
  });
  LayoutRun one;
  on_first_ranks(1, [&](Comm& comm) {
    one = three_steps(on_mesh(folder, {1}), comm);
    const double difference = std::abs(one.steps.front().lm_loss - dense_loss);
    EXPECT_EQ(difference < 1e-12, std::string(GetParam()) == "sparse_upcycling") << difference;
  });
  for (const MeshSizes& mesh : kMeshes) {
    SCOPED_TRACE(describe(mesh));
    on_first_ranks(mesh.ranks, [&](Comm& comm) {
      const LayoutRun run = three_steps(on_mesh(folder, mesh), comm);
      if (mpi_world().rank() != 0) return;
      const LayoutDifference d = compare(run, one);
      EXPECT_LT(d.loss, 1e-10);
      EXPECT_LT(d.grad_norm, 1e-10);
      EXPECT_LT(d.gradient, 1e-10) << d.worst_gradient;
      EXPECT_LT(d.parameter, 1e-10) << d.worst_parameter;
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, UpcycledOnMeshes, ::testing::Values("sparse_upcycling", "drop_upcycling"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace sy::testing
