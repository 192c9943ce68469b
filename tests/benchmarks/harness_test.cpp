#include <gtest/gtest.h>

#include <set>

#include "benchmarks/compare.h"
#include "benchmarks/harness/measure.h"
#include "benchmarks/harness/pattern.h"
#include "benchmarks/harness/routing_cases.h"
#include "benchmarks/harness/sampled_check.h"

namespace sy::bench {
namespace {

nlohmann::json row(const char* contender, double p10, double median, double p90, const char* benchmark = "combine") {
  return {{"benchmark", benchmark}, {"shape", "s"},  {"tokens", 64},        {"routing", "zipf"}, {"dtype", "f32"},
          {"contender", contender}, {"p10_us", p10}, {"median_us", median}, {"p90_us", p90}};
}
nlohmann::json results(std::vector<nlohmann::json> rows) { return {{"rows", rows}}; }

TEST(BenchCompare, AMedianMoreThanThreePercentAboveOutsideTheBandsIsSlower) {
  const auto older = results({row("switchyard", 99, 100, 101)});
  EXPECT_EQ(compare_results(older, results({row("switchyard", 103.5, 104, 105)})).slower, 1);
  EXPECT_EQ(compare_results(older, results({row("switchyard", 102, 102.9, 104)})).slower, 0);
  EXPECT_EQ(compare_results(older, results({row("switchyard", 49, 50, 51)})).slower, 0);
}

TEST(BenchCompare, WhatTheNoiseBandsCannotTellApartIsNotSlower) {
  const auto older = results({row("switchyard", 80, 100, 130)});
  EXPECT_FALSE(compare_results(older, results({row("switchyard", 129, 140, 150)})).failed());
  EXPECT_TRUE(compare_results(older, results({row("switchyard", 131, 140, 150)})).failed());
}

TEST(BenchCompare, ARowThatIsGoneFailsANewOneAndAPeerDoNot) {
  const auto older = results({row("switchyard", 9, 10, 11), row("gemm per expert", 9, 10, 11)});
  EXPECT_EQ(compare_results(older, results({})).missing, 1);
  EXPECT_FALSE(compare_results(older, results({row("switchyard", 9, 10, 11), row("gemm per expert", 90, 100, 110),
                                               row("switchyard", 1, 2, 3, "new")}))
                   .failed());
}

TEST(BenchMeasure, PercentilesAreNearestRanks) {
  const Timing t = summarise({10, 1, 9, 2, 8, 3, 7, 4, 6, 5});
  EXPECT_EQ(t.p10_us, 1);
  EXPECT_EQ(t.median_us, 5);
  EXPECT_EQ(t.p90_us, 9);
}

TEST(BenchMeasure, ContendersTakeTurnsForwardsThenBackwards) {
  // A clock on which every launch takes more than a sample: one launch per sample.
  struct SlowTimer final : Timer {
    void start() override {}
    double stop_us() override { return 1e6; }
  } timer;
  std::string order;
  measure(timer, {{"a", {[&] { order += 'a'; }}}, {"b", {[&] { order += 'b'; }}}}, {.rounds = 2, .sample_us = 1});
  EXPECT_EQ(order,
            "aabb"
            "abba"
            "abba");
}

TEST(BenchCheck, OneWrongElementAndNanAreSeen) {
  Context ctx(DeviceType::cpu);
  const Pattern pattern(7, 1.0);
  const Tensor t = pattern.tensor(ctx, {5, 8}, DType::f32);
  const auto expected = [&](int64_t i) { return pattern(i); };
  EXPECT_TRUE(check_samples(ctx, {t, expected, 0}).passed);
  t.data<float>()[39] += 0.5f;
  EXPECT_FALSE(check_samples(ctx, {t, expected, 1e-3}).passed);
  t.data<float>()[39] = NAN;
  EXPECT_FALSE(check_samples(ctx, {t, expected, 1e-3}).passed);
}

TEST(BenchPattern, EveryTypeHoldsTheValuesOfTheFunction) {
  Context ctx(DeviceType::cpu);
  const Pattern pattern(3, 0.02);
  const int64_t count = 1000010;  // past the period
  const std::vector<double> f64 = ctx.to_host<double>(pattern.tensor(ctx, {count}, DType::f64));
  const std::vector<bf16> narrow = ctx.to_host<bf16>(pattern.tensor(ctx, {count}, DType::bf16));
  for (const int64_t i : {int64_t{0}, int64_t{1}, int64_t{999999}, int64_t{1000003}, count - 1}) {
    EXPECT_EQ(f64[static_cast<std::size_t>(i)], pattern(i)) << i;
    EXPECT_EQ(static_cast<float>(narrow[static_cast<std::size_t>(i)]), pattern(i)) << i;
  }
}

std::vector<int64_t> counts(const std::string& routing, int64_t tokens, int64_t experts, int64_t k) {
  std::vector<int64_t> count(static_cast<std::size_t>(experts), 0);
  const std::vector<int32_t> drawn = draw_experts(routing, tokens, experts, k, 1);
  for (int64_t t = 0; t < tokens; ++t) {
    const std::set<int32_t> distinct(drawn.begin() + t * k, drawn.begin() + (t + 1) * k);
    EXPECT_EQ(static_cast<int64_t>(distinct.size()), k) << routing << " token " << t;
    for (const int32_t e : distinct) ++count.at(static_cast<std::size_t>(e));
  }
  return count;
}

TEST(BenchRouting, EveryTokenHasDifferentExpertsAndEachRoutingItsShape) {
  const int64_t tokens = 4000, experts = 16, k = 2, all = tokens * k;
  for (const int64_t n : counts("uniform", tokens, experts, k)) EXPECT_EQ(n, all / experts);
  // Six standard deviations of a binomial count around 500.
  for (const int64_t n : counts("multinomial", tokens, experts, k)) EXPECT_NEAR(static_cast<double>(n), 500, 130);
  const auto zipf = counts("zipf", tokens, experts, k);
  EXPECT_GT(zipf[0], 4 * zipf[7]);
  EXPECT_GT(zipf[0], zipf[1]);
  EXPECT_NEAR(static_cast<double>(counts("hot", tokens, experts, k)[0]) / static_cast<double>(all), 0.3, 0.02);
  const auto empty = counts("empty", tokens, experts, k);
  for (std::size_t e = 0; e < 16; ++e) EXPECT_EQ(empty[e] > 0, e < 12) << e;
  // More experts per token than a share of 30 % can have: once per token.
  EXPECT_EQ(counts("hot", 100, 16, 4)[0], 100);
}

TEST(BenchRouting, TheSameSeedDrawsTheSame) {
  EXPECT_EQ(draw_experts("zipf", 50, 8, 2, 5), draw_experts("zipf", 50, 8, 2, 5));
  EXPECT_NE(draw_experts("zipf", 50, 8, 2, 5), draw_experts("zipf", 50, 8, 2, 6));
  EXPECT_THROW(draw_experts("even", 50, 8, 2, 5), UserError);
}

}  // namespace
}  // namespace sy::bench
