// Windows by counting, rows against the softmax of whole logits.
#include "trainer/score.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/csrc/io/io_testing.h"
#include "tests/trainer/toy_run.h"

namespace sy::testing {
namespace {

TEST(SlidingWindows, ScoreEveryTargetOnceWithTheContextThatTheStridePromises) {
  for (int64_t targets = 0; targets < 30; ++targets)
    for (int64_t length = 1; length <= 12; ++length)
      for (int64_t stride = 1; stride <= length; ++stride) {
        int64_t scored = 0;
        for (const ScoreWindow& w : sliding_windows(targets, length, stride)) {
          EXPECT_EQ(w.first_scored, scored);
          EXPECT_GT(w.end, w.first_scored);
          EXPECT_EQ(w.end - w.begin, std::min(length, w.end));  // as long as the stream allows
          EXPECT_LE(w.begin, w.first_scored);
          if (w.first_scored > 0) {
            EXPECT_GE(w.first_scored - w.begin, std::min(length - stride, w.first_scored));
          }
          scored = w.end;
        }
        EXPECT_EQ(scored, targets);
      }
}

TEST(SlidingWindows, HandWorked) {
  const std::vector<ScoreWindow> windows = sliding_windows(11, 4, 3);
  ASSERT_EQ(windows.size(), 4u);
  const int64_t expected[4][3] = {{0, 0, 4}, {3, 4, 7}, {6, 7, 10}, {7, 10, 11}};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(windows[i].begin, expected[i][0]) << i;
    EXPECT_EQ(windows[i].first_scored, expected[i][1]) << i;
    EXPECT_EQ(windows[i].end, expected[i][2]) << i;
  }
}

// log softmax(logits after tokens[.. i])[tokens[i + 1]] summed over the counted targets, in f64 on the host.
double from_logits(ToyRun& toy, const ScoredRow& row) {
  const auto n = static_cast<int64_t>(row.document_start.size());
  const std::vector<int32_t> ignored(row.document_start.size(), -1);
  BatchBuilder builder(n);
  builder.add(row.tokens.data(), ignored.data(), row.document_start.data(), 0);
  const Tensor logits = toy.decoder().logits(builder.build(toy.ctx()));
  const std::vector<float> host = toy.ctx().to_host<float>(logits);
  double sum = 0;
  for (int64_t i = row.first_scored; i < n; ++i) {
    double total = 0;
    const float* at = host.data() + i * logits.dim(1);
    for (int64_t v = 0; v < toy.config().model.vocab_size; ++v) total += std::exp(static_cast<double>(at[v]));
    sum += static_cast<double>(at[row.tokens[static_cast<std::size_t>(i) + 1]]) - std::log(total);
  }
  return sum;
}

TEST(ScoreRows, EqualTheLogSoftmaxOfEachRowsLogits) {
  // A tight capacity: a training batch would drop tokens, scores must not.
  ToyRun toy(toy_config({"moe.capacity={type: position, factor: 0.5, eval_factor: 0.5}"}));
  toy.curve(1, 5);
  const std::vector<ScoredRow> rows = {
      {{1, 2, 3, 4, 5, 6, 7, 8}, {0, 0, 0, 3, 3, 3, 3}, 0},
      {{9, 9, 9, 9, 9, 9}, {0, 0, 0, 0, 0}, 4},
      {{36, 0, 35}, {0, 1}, 1},
      {{5, 30}, {0}, 0},
  };
  for (const int64_t batch_size : {1, 3}) {
    std::vector<int64_t> reported;
    const std::vector<double> scores = score_rows(
        toy.ctx(), toy.decoder(), 4, batch_size, [&](int64_t i) { return rows[static_cast<std::size_t>(i)]; },
        [&](int64_t done) { reported.push_back(done); });
    ASSERT_EQ(scores.size(), rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i)
      EXPECT_NEAR(scores[i], from_logits(toy, rows[i]), 1e-5 * std::abs(scores[i])) << i;
    EXPECT_EQ(reported, batch_size == 1 ? (std::vector<int64_t>{1, 2, 3, 4}) : (std::vector<int64_t>{3, 4}));
  }
}

TEST(ScoreRows, RefuseRoutingThatLooksAtOtherTokensAndForeignIds) {
  const auto row = [](int64_t) { return ScoredRow{{1, 37}, {0}, 0}; };
  ToyRun choice(toy_config({"moe.router={type: expert_choice}", "moe.allow_batch_dependent_routing=true"}));
  expect_user_error([&] { score_rows(choice.ctx(), choice.decoder(), 1, 1, row, [](int64_t) {}); },
                    {"routing", "other tokens"});
  ToyRun toy(toy_config());
  expect_user_error([&] { score_rows(toy.ctx(), toy.decoder(), 1, 1, row, [](int64_t) {}); },
                    {"token id 37", "model.vocab_size: 37"});
}

}  // namespace
}  // namespace sy::testing
