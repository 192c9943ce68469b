// Sampling by hand-worked numbers, and the loop around it: end of document, limits, batches, refusals.
#include "trainer/generate.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/csrc/io/io_testing.h"
#include "tests/trainer/toy_run.h"

namespace sy::testing {
namespace {

using Texts = std::vector<std::vector<int32_t>>;

// How often each token is drawn in `draws` positions.
std::map<int32_t, int> drawn(const std::vector<double>& logits, SampleOptions options, int draws = 20000) {
  std::map<int32_t, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[sample_token(logits, options, 0, static_cast<uint64_t>(i))];
  return counts;
}

TEST(SampleToken, GreedyTakesTheLargestLogitAndTheLowestIdOfATie) {
  EXPECT_EQ(sample_token({0.5, 2.0, -1.0}, {}, 0, 0), 1);
  EXPECT_EQ(sample_token({3.0, 1.0, 3.0}, {}, 7, 9), 0);
  EXPECT_EQ(sample_token({-5.0}, {}, 0, 0), 0);
  EXPECT_EQ(sample_token({-1e30, -2e30}, {}, 0, 0), 0);
}

TEST(SampleToken, TemperatureOneFollowsTheSoftmax) {
  // Logits log 1, log 2, log 5: probabilities 1/8, 2/8, 5/8.
  const std::map<int32_t, int> counts = drawn({std::log(1.0), std::log(2.0), std::log(5.0)}, {.temperature = 1});
  const double sigma = 5 * std::sqrt(0.25 / 20000);  // five standard deviations at most
  EXPECT_NEAR(counts.at(0) / 20000.0, 0.125, sigma);
  EXPECT_NEAR(counts.at(1) / 20000.0, 0.250, sigma);
  EXPECT_NEAR(counts.at(2) / 20000.0, 0.625, sigma);
}

TEST(SampleToken, TemperatureDividesTheLogits) {
  // At temperature 2 logits log 1 and log 9 weigh 1 and 3; at 1/2, 1 and 81.
  const std::vector<double> logits = {std::log(1.0), std::log(9.0)};
  EXPECT_NEAR(drawn(logits, {.temperature = 2}).at(0) / 20000.0, 0.25, 0.016);
  EXPECT_NEAR(drawn(logits, {.temperature = 0.5}).at(0) / 20000.0, 1.0 / 82, 0.005);
}

TEST(SampleToken, TopPKeepsTheSmallestSetThatReachesIt) {
  // Probabilities 0.5, 0.3, 0.15, 0.05 in the order 1, 3, 0, 2.
  const std::vector<double> logits = {std::log(0.15), std::log(0.5), std::log(0.05), std::log(0.3)};
  const auto kept = [&](double top_p) {
    std::vector<int32_t> ids;
    for (const auto& [id, count] : drawn(logits, {.temperature = 1, .top_p = top_p}, 4000)) ids.push_back(id);
    return ids;
  };
  EXPECT_EQ(kept(0.0), (std::vector<int32_t>{1}));
  EXPECT_EQ(kept(0.4), (std::vector<int32_t>{1}));
  EXPECT_EQ(kept(0.51), (std::vector<int32_t>{1, 3}));
  EXPECT_EQ(kept(0.79), (std::vector<int32_t>{1, 3}));
  EXPECT_EQ(kept(0.81), (std::vector<int32_t>{0, 1, 3}));
  EXPECT_EQ(kept(1.0), (std::vector<int32_t>{0, 1, 2, 3}));
  // Within the set the proportions stay: 5 to 3.
  const auto counts = drawn(logits, {.temperature = 1, .top_p = 0.7});
  EXPECT_NEAR(counts.at(1) / 20000.0, 0.625, 0.018);
}

TEST(SampleToken, IsAFunctionOfSeedPromptAndPosition) {
  const std::vector<double> logits(50, 0.0);
  const auto draw = [&](uint64_t seed, uint64_t prompt) {
    std::vector<int32_t> ids;
    for (uint64_t i = 0; i < 40; ++i) ids.push_back(sample_token(logits, {.temperature = 1, .seed = seed}, prompt, i));
    return ids;
  };
  EXPECT_EQ(draw(1, 0), draw(1, 0));
  EXPECT_NE(draw(1, 0), draw(2, 0));
  EXPECT_NE(draw(1, 0), draw(1, 1));
}

class Generation : public ::testing::Test {
 protected:
  Generation() : toy_(toy_config()) { toy_.curve(1, 10); }
  Texts generate(const Texts& prompts, SampleOptions options, int32_t eod = 36) {
    return generate_tokens(toy_.ctx(), toy_.decoder(), eod, prompts, options);
  }
  ToyRun toy_;
};

TEST_F(Generation, TheCacheChangesNoToken) {
  const Texts prompts = {{1, 2, 3}, {7}, std::vector<int32_t>(100, 5), {}};
  for (const double temperature : {0.0, 0.8}) {
    SampleOptions options{.max_new_tokens = 30, .temperature = temperature, .top_p = 0.9};
    const Texts cached = generate(prompts, options);
    options.use_cache = false;
    EXPECT_EQ(cached, generate(prompts, options)) << temperature;
  }
}

TEST_F(Generation, GreedyContinuationsOfABatchAreThoseOfEachPromptAlone) {
  const Texts prompts = {{1, 2, 3}, {7}, std::vector<int32_t>(50, 5), {9, 8}};
  const Texts together = generate(prompts, {.max_new_tokens = 20});
  for (std::size_t i = 0; i < prompts.size(); ++i)
    EXPECT_EQ(together[i], generate({prompts[i]}, {.max_new_tokens = 20})[0]) << i;
}

TEST_F(Generation, StopsAtTheEndOfDocumentAndLeavesItOut) {
  const std::vector<int32_t> free = generate({{1, 2, 3}}, {.max_new_tokens = 20}, -1)[0];
  ASSERT_EQ(free.size(), 20u);
  const int32_t stop = free[4];  // this token ends documents now
  const auto first = std::find(free.begin(), free.end(), stop);
  const Texts stopped = generate({{1, 2, 3}, {7}}, {.max_new_tokens = 20}, stop);
  EXPECT_EQ(stopped[0], std::vector<int32_t>(free.begin(), first));
  // The other row goes on by itself.
  EXPECT_EQ(stopped[1], generate({{7}}, {.max_new_tokens = 20}, stop)[0]);
}

TEST_F(Generation, AnEmptyPromptStartsFromTheEndOfDocument) {
  std::vector<int32_t> from_eod = generate({{36}}, {.max_new_tokens = 5})[0];
  EXPECT_EQ(generate({{}}, {.max_new_tokens = 5})[0], from_eod);
}

TEST_F(Generation, GivesExactlyTheTokensAskedFor) {
  for (const int64_t n : {0, 1, 7})
    EXPECT_EQ(generate({{1}}, {.max_new_tokens = n}, -1)[0].size(), static_cast<std::size_t>(n));
}

TEST_F(Generation, FillsTheModelsPositionsAndRefusesOneMore) {
  const std::vector<int32_t> prompt(500, 4);
  EXPECT_EQ(generate({{1}, prompt}, {.max_new_tokens = 12}, -1)[1].size(), 12u);
  expect_user_error(
      [&] {
        generate({{1}, prompt}, {.max_new_tokens = 13});
      },
      {"500", "13", "max_position_embeddings: 512"});
}

TEST_F(Generation, LeavesTheTapeAndTheMemoryAsTheyWere) {
  Tape tape;
  toy_.ctx().tape = &tape;
  const int64_t before = toy_.ctx().allocator().use().total_live_bytes;
  generate({{1, 2}}, {.max_new_tokens = 5});
  EXPECT_EQ(toy_.ctx().tape, &tape);
  EXPECT_TRUE(tape.empty());
  EXPECT_EQ(toy_.ctx().allocator().use().total_live_bytes, before);
  toy_.ctx().tape = nullptr;
}

TEST(GenerationRefusal, RoutingThatLooksAtOtherTokensCannotGenerate) {
  for (const char* choice : {"moe.router={type: expert_choice}", "moe.capacity={type: score}"}) {
    ToyRun toy(toy_config({choice, "moe.allow_batch_dependent_routing=true"}));
    EXPECT_FALSE(can_generate(toy.decoder()));
    expect_user_error([&] { generate_tokens(toy.ctx(), toy.decoder(), 36, {{1}}, {}); }, {"routing", "other tokens"});
  }
}

}  // namespace
}  // namespace sy::testing
