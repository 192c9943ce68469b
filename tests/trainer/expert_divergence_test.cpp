// The divergence of experts is the mean over all pairs, whatever ranks hold of them, and nothing between copies.
#include "trainer/expert_divergence.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/trainer/rank_groups.h"
#include "tests/trainer/toy_run.h"

namespace sy::testing {
namespace {

Config on_mesh(const MeshSizes& mesh, const std::string& dtype) {
  return toy_config({"train.dtype=" + dtype, "moe.moe_intermediate_size=8", "train.micro_batch_size=1",
                     "train.global_batch_size=12", fmt::format("parallel.tensor_model_parallel_size={}", mesh.tensor),
                     fmt::format("parallel.expert_model_parallel_size={}", mesh.expert),
                     fmt::format("parallel.expert_tensor_parallel_size={}", mesh.expert_tensor)},
                    mesh.ranks);
}

// All weights of an expert in one row.
std::vector<double> expert_row(const NamedValues& parameters, int64_t layer, int64_t expert) {
  std::vector<double> row;
  for (const char* matrix : {"gate_proj", "up_proj", "down_proj"}) {
    const auto& values = parameters.at(fmt::format("model.layers.{}.mlp.experts.{}.{}.weight", layer, expert, matrix));
    row.insert(row.end(), values.begin(), values.end());
  }
  return row;
}

double cosine(const std::vector<double>& a, const std::vector<double>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return ab / std::sqrt(aa * bb);
}

double mean_over_pairs(const NamedValues& parameters, int64_t layer, int64_t experts) {
  double sum = 0;
  for (int64_t i = 0; i < experts; ++i)
    for (int64_t j = 0; j < i; ++j)
      sum += 1 - cosine(expert_row(parameters, layer, i), expert_row(parameters, layer, j));
  return sum / static_cast<double>(experts * (experts - 1) / 2);
}

const std::vector<MeshSizes> kMeshes = {{1},          {2, 1, 2, 1}, {2, 2, 1, 2}, {3, 1, 3, 1},
                                        {4, 2, 2, 1}, {4, 1, 2, 2}, {4, 1, 1, 4}, {4, 2, 2, 2}};

TEST(ExpertDivergence, IsTheMeanOverAllPairsOnEveryMesh) {
  for (const MeshSizes& mesh : kMeshes) {
    SCOPED_TRACE(describe(mesh));
    on_first_ranks(mesh.ranks, [&](Comm& comm) {
      ToyRun toy(on_mesh(mesh, "f64"), &comm);
      toy.curve(1, 2);
      const std::vector<LayerDivergence> got = expert_divergence(toy.ctx(), toy.decoder());
      const NamedValues parameters = toy.parameters();
      EXPECT_EQ(got.size(), 2u);  // the first of the three layers is dense
      for (const LayerDivergence& d : got)
        EXPECT_NEAR(d.mean_cosine_distance, mean_over_pairs(parameters, d.layer, 6), 1e-12) << "layer " << d.layer;
    });
  }
}

// Copies in all experts of this rank what stands in the first of them; on one rank, that makes all experts equal.
void make_copies(ToyRun& toy) {
  for (Parameter& p : toy.decoder().parameters().all()) {
    if (p.sharing != Sharing::kExpert) continue;
    std::vector<float> values = toy.ctx().to_host<float>(p.value);
    const auto count = static_cast<std::size_t>(p.value.count() / p.value.shape()[0]);
    for (std::size_t i = count; i < values.size(); ++i) values[i] = values[i - count];
    toy.ctx().copy_from_host(p.value, values.data());
  }
}

TEST(ExpertDivergence, CopiesHaveNoneAndOneStepTellsThemApart) {
  on_first_ranks(1, [](Comm& comm) {
    ToyRun toy(on_mesh({1}, "f32"), &comm);
    EXPECT_GT(expert_divergence(toy.ctx(), toy.decoder()).front().mean_cosine_distance, 0.9);
    make_copies(toy);
    for (const LayerDivergence& d : expert_divergence(toy.ctx(), toy.decoder()))
      EXPECT_LT(d.mean_cosine_distance, 1e-28);  // rounding of f64, squared
    toy.curve(1, 1);
    for (const LayerDivergence& d : expert_divergence(toy.ctx(), toy.decoder()))
      EXPECT_GT(d.mean_cosine_distance, 1e-6);
  });
}

}  // namespace
}  // namespace sy::testing
