// For tests of upcycling methods on one layer: a method from its YAML, the layer to be made, and sums of experts.
#pragma once

#include <gtest/gtest.h>

#include <map>

#include "csrc/core/registry.h"
#include "csrc/io/yaml_fields.h"
#include "csrc/upcycling/upcycling.h"
#include "tests/csrc/upcycling/small_block.h"

namespace sy::upcycling::testing {

inline MoeWeights convert(const std::string& yaml, const LayerPlan& plan, const std::vector<Ffn>& inputs,
                          const LayerSamples& samples = {}) {
  Component<Upcycling> method;
  read_fields(YamlDocument::from_text("method: " + yaml, "x.yaml"), "",
              [&](Fields& f) { f.field("method", method, ""); });
  return method.build(plan)->convert(inputs, samples);
}

inline LayerPlan plan_of(const Ffn& dense, int64_t experts, int64_t per_token, int64_t width, double weight) {
  return {.layer = 1,
          .hidden_size = dense.hidden_size,
          .dense_width = dense.width(),
          .num_experts = experts,
          .num_experts_per_tok = per_token,
          .expert_width = width,
          .weight_at_equal_logits = weight,
          .seed = 5};
}

// weight * sum of experts [begin, end), plus the shared one.
inline std::vector<double> sum_of(const MoeWeights& made, size_t begin, size_t end, double weight,
                                  const std::vector<double>& x) {
  std::vector<double> y = made.shared ? forward(*made.shared, x) : std::vector<double>(x.size(), 0.0);
  for (size_t e = begin; e < end; ++e) {
    const std::vector<double> of_expert = forward(made.experts[e], x);
    for (size_t j = 0; j < y.size(); ++j) y[j] += weight * of_expert[j];
  }
  return y;
}

inline void expect_close(const std::vector<double>& y, const std::vector<double>& expected, double tolerance) {
  ASSERT_EQ(y.size(), expected.size());
  for (size_t j = 0; j < expected.size(); ++j) EXPECT_NEAR(y[j], expected[j], tolerance) << "element " << j;
}

inline std::map<int64_t, int64_t> occurrences(const std::vector<Ffn>& experts) {
  std::map<int64_t, int64_t> count;
  for (const Ffn& expert : experts)
    for (const Origin& origin : expert.origin_F) ++count[origin.neuron];
  return count;
}

inline std::vector<int64_t> neurons_of(const Ffn& expert) {
  std::vector<int64_t> numbers;
  for (const Origin& origin : expert.origin_F) numbers.push_back(origin.neuron);
  return numbers;
}

inline void expect_same(const Ffn& a, const Ffn& b) {
  EXPECT_EQ(a.weight_FD, b.weight_FD);
  EXPECT_EQ(a.origin_F, b.origin_F);
}

// Inputs of a block, each element normal.
inline std::vector<float> random_inputs(int64_t tokens, int64_t hidden_size, uint64_t seed) {
  const std::vector<double> rows = normal_rows(tokens, hidden_size, 1, Stream(seed, "inputs", 0, 0));
  return {rows.begin(), rows.end()};
}

}  // namespace sy::upcycling::testing
