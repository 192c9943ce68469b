// E experts of a layer, n elements of each that this rank holds, S ranks that share each expert's matrices.
#include "trainer/expert_divergence.h"

#include <charconv>
#include <cmath>
#include <map>

#include "parallel/mesh.h"
#include "parallel/tracked_transfer.h"

namespace sy {

namespace {

// Over the ranks that together hold the layer's experts once.
void sum_over_experts(const Context& ctx, std::vector<double>& values) {
  if (ctx.mesh != nullptr) all_reduce_sum_on_host(ctx, ctx.mesh->expert(), std::span<double>(values), "divergence");
}

// This rank's experts of a layer by id, each a row of what it holds of their weights; all rows in the same order.
std::map<int64_t, std::vector<double>> own_experts(Context& ctx, Decoder& decoder, int64_t layer) {
  const std::string prefix = fmt::format("model.layers.{}.mlp.experts.", layer);
  std::map<int64_t, std::vector<double>> row_n;
  for (const Parameter& p : decoder.parameters().all()) {
    if (p.sharing != Sharing::kExpert || !p.parts.front().name.starts_with(prefix)) continue;
    dispatch_float(p.value.dtype(), [&]<class T>() {
      const std::vector<T> values = ctx.to_host<T>(p.value);
      for (const ParameterPart& part : p.parts) {
        int64_t expert = 0;
        std::from_chars(part.name.data() + prefix.size(), part.name.data() + part.name.size(), expert);
        const auto first = values.begin() + part.offset;
        row_n[expert].insert(row_n[expert].end(), first, first + part.box.count());
      }
    });
  }
  return row_n;
}

// This rank's part of sum_e |u_e - u|^2.
double own_deviation(Context& ctx, Decoder& decoder, int64_t layer, int64_t num_experts) {
  std::map<int64_t, std::vector<double>> row_n = own_experts(ctx, decoder, layer);
  std::vector<double> squares_E(static_cast<std::size_t>(num_experts), 0.0);
  for (const auto& [expert, row] : row_n)
    for (const double w : row) squares_E.at(static_cast<std::size_t>(expert)) += w * w;
  sum_over_experts(ctx, squares_E);

  // Each slice of the experts' matrices has its place in the sum.
  const std::size_t n = row_n.begin()->second.size();
  const int64_t slices = ctx.mesh == nullptr ? 1 : ctx.mesh->sizes().expert_tensor;
  const int64_t slice = ctx.mesh == nullptr ? 0 : ctx.mesh->expert_tensor_rank();
  std::vector<double> mean_Sn(static_cast<std::size_t>(slices) * n, 0.0);
  double* mean_n = mean_Sn.data() + static_cast<std::size_t>(slice) * n;
  for (auto& [expert, row] : row_n) {
    SY_CHECK(row.size() == n, "expert {} of layer {} has {} elements, another {}", expert, layer, row.size(), n);
    const double norm = std::sqrt(squares_E[static_cast<std::size_t>(expert)]);
    for (std::size_t i = 0; i < n; ++i) {
      if (norm > 0) row[i] /= norm;
      mean_n[i] += row[i] / static_cast<double>(num_experts);
    }
  }
  sum_over_experts(ctx, mean_Sn);
  double sum = 0;
  for (const auto& [expert, row] : row_n)
    for (std::size_t i = 0; i < n; ++i) sum += (row[i] - mean_n[i]) * (row[i] - mean_n[i]);
  return sum;
}

}  // namespace

std::vector<LayerDivergence> expert_divergence(Context& ctx, Decoder& decoder) {
  decoder.parameters().await(0, static_cast<int64_t>(decoder.parameters().all().size()));
  std::vector<LayerDivergence> layers;
  std::vector<double> sums;
  for (const auto& block : decoder.moe_layers()) {
    const int64_t experts = block.moe->num_experts();
    if (experts < 2) continue;
    layers.push_back({block.layer, 0});
    sums.push_back(own_deviation(ctx, decoder, block.layer, experts) / static_cast<double>(experts - 1));
  }
  sum_over_experts(ctx, sums);
  for (std::size_t i = 0; i < layers.size(); ++i) layers[i].mean_cosine_distance = sums[i];
  return layers;
}

}  // namespace sy
