// Fitting router rows: gradients of the losses, and a router that finds what a hidden one selects.
#include "csrc/upcycling/router_fit.h"

#include <algorithm>

#include "csrc/upcycling/samples.h"
#include "tests/csrc/upcycling/method_testing.h"

namespace sy::upcycling {
namespace {

using testing::expect_close;

const std::vector<double> kLogits = {.3, -1.2, 2, .1};

template <class Loss>
void expect_gradient(const Loss& loss) {
  std::vector<double> gradient(4), unused(4);
  loss(kLogits, gradient);
  for (size_t e = 0; e < 4; ++e) {
    std::vector<double> above = kLogits, below = kLogits;
    above[e] += 1e-5;
    below[e] -= 1e-5;
    EXPECT_NEAR(gradient[e], (loss(above, unused) - loss(below, unused)) / 2e-5, 1e-8) << e;
  }
}

TEST(RouterFit, GradientsAreThoseOfTheLosses) {
  const std::vector<double> target = {0, .25, 1, .6}, label = softmax(std::vector<double>{1, 0, 1, 0});
  expect_gradient([&](auto& z, auto& dz) { return binary_cross_entropy(target, z, dz); });
  expect_gradient([&](auto& z, auto& dz) { return divergence_from(label, z, dz); });
}

TEST(RouterFit, DivergenceOfTheUniformDistributionFromTwoOfFour) {
  std::vector<double> dz(4);
  const std::vector<double> label = softmax(std::vector<double>{1, 0, 1, 0});
  expect_close(label, {.365529, .134471, .365529, .134471}, 5e-7);
  EXPECT_NEAR(divergence_from(label, std::vector<double>(4, 0.7), dz), 0.120115, 5e-7);
}

TEST(RouterFit, SmallestTakesTheFirstOfEqualValues) {
  expect_close(smallest(std::vector<double>{1.165438, 7.502017, .765933, 12.602138}, 2), {1, 0, 1, 0}, 0);
  expect_close(smallest(std::vector<double>{2, 1, 1, 1}, 2), {0, 1, 1, 0}, 0);
}

TEST(RouterFit, FindsTheHiddenRoutersChoices) {
  const int64_t tokens = 400, experts = 4;
  const std::vector<float> x_TD = testing::random_inputs(tokens, 8, 3);
  const std::vector<double> hidden_TE = products(x_TD, normal_rows(experts, 8, 1, Stream(4, "hidden", 0, 0)), 8);
  const auto best = [&](const std::vector<double>& z_TE, int64_t t) {
    const auto row = z_TE.begin() + t * experts;
    return std::max_element(row, row + experts) - row;
  };
  std::vector<double> target_TE(hidden_TE.size(), 0.0);
  for (int64_t t = 0; t < tokens; ++t) target_TE[static_cast<size_t>(t * experts + best(hidden_TE, t))] = 1;
  const auto share_right = [&](int64_t epochs) {
    const std::vector<double> rows =
        fit_router(normal_rows(experts, 8, .02, Stream(5, "router", 0, 0)), x_TD, target_TE, 8,
                   {.epochs = epochs, .batch_size = 32}, binary_cross_entropy, Stream(6, "order", 0, 0));
    const std::vector<double> z_TE = products(x_TD, rows, 8);
    double right = 0;
    for (int64_t t = 0; t < tokens; ++t) right += best(z_TE, t) == best(hidden_TE, t) ? 1 : 0;
    return right / static_cast<double>(tokens);
  };
  EXPECT_LT(share_right(0), 0.5);
  EXPECT_GT(share_right(60), 0.9);
}

TEST(RouterFit, LogitsGetTheDeviationAndKeepTheirOrder) {
  const std::vector<float> x_TD = testing::random_inputs(50, 8, 3);
  std::vector<double> rows = normal_rows(4, 8, 1, Stream(4, "rows", 0, 0));
  const std::vector<double> before = products(x_TD, rows, 8);
  set_logit_deviation(rows, x_TD, 8, 0.01);
  const std::vector<double> after = products(x_TD, rows, 8);
  double squares = 0;
  for (size_t t = 0; t < after.size(); t += 4) {
    const double mean = (after[t] + after[t + 1] + after[t + 2] + after[t + 3]) / 4;
    for (size_t e = t; e < t + 4; ++e) squares += (after[e] - mean) * (after[e] - mean);
    for (size_t e = t + 1; e < t + 4; ++e) EXPECT_EQ(before[e] < before[t], after[e] < after[t]);
  }
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(after.size())), 0.01, 1e-12);
}

}  // namespace
}  // namespace sy::upcycling
