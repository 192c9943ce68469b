// Cross-entropy over a split vocabulary against cross_entropy of the whole one, in f64: for up to four ranks, of which
// the last ones may hold padding alone.
#include "kernels/loss/vocab_parallel_cross_entropy.h"

#include <limits>

#include "kernels/loss/cross_entropy.h"
#include "tests/kernels/compare.h"

namespace sy {
namespace {

using namespace kernel_test;
using kernels::Cpu;

// Rank k holds the ids [k * columns, (k+1) * columns). Vocabulary 7 in fours: the second rank's last column is a pad, a
// third and a fourth rank hold pads alone.
struct Split {
  int64_t ranks, rows, vocab, columns, ld;
};
std::vector<Split> splits() {
  return {{1, 0, 5, 5, 5},        {1, 3, 7, 16, 16},       {1, 37, 1031, 1152, 1152},
          {2, 5, 7, 4, 6},        {3, 9, 7, 4, 4},         {4, 6, 7, 4, 5},
          {4, 8, 1, 1, 1},        {2, 37, 1031, 576, 576}, {3, 21, 1031, 384, 390},
          {4, 12, 300, 128, 128}, {4, 0, 9, 3, 3}};
}

std::vector<int32_t> targets(const Split& s) {
  std::vector<int32_t> out;
  for (int64_t r = 0; r < s.rows; ++r) out.push_back(r % 4 == 2 ? -1 : static_cast<int32_t>((r * 331 + 5) % s.vocab));
  return out;
}

template <class A>
std::vector<A> random_logits(const Split& s, double scale = 4.0) {
  return random_vector<A>(s.rows * s.vocab, 1, scale);  // [rows, vocab]
}

StepState state_with(double inv_loss_tokens) {
  StepState state{};
  state.inv_loss_tokens = inv_loss_tokens;
  return state;
}

template <class T>
struct Results {
  std::vector<std::vector<Acc<T>>> shards, losses;  // per rank
  std::vector<std::vector<T>> dlogits;              // per rank, [rows, ld]
  std::vector<Acc<T>> partials;                     // [ranks, rows, 3]
};

// What every rank computes from its shard of `logits` [rows, vocab]. Masked columns and pads hold NaN; they must reach
// nothing.
template <class T>
Results<T> run(const Split& s, const std::vector<Acc<T>>& logits, const StepState& state, bool in_place = false) {
  using A = Acc<T>;
  const std::vector<int32_t> target = targets(s);
  Results<T> out;
  out.partials.assign(static_cast<size_t>(s.ranks * s.rows * 3), A(-77));
  for (int64_t k = 0; k < s.ranks; ++k) {
    std::vector<A> shard(static_cast<size_t>(s.rows * s.ld), std::numeric_limits<A>::quiet_NaN());
    for (int64_t r = 0; r < s.rows; ++r)
      for (int64_t i = 0; i < s.columns && k * s.columns + i < s.vocab; ++i)
        shard[r * s.ld + i] = logits[r * s.vocab + k * s.columns + i];
    kernels::cross_entropy_partial<A>(Cpu{}, {.logits = shard.data(),
                                              .target = target.data(),
                                              .partial = out.partials.data() + k * s.rows * 3,
                                              .rows = s.rows,
                                              .ld = s.ld,
                                              .columns = s.columns,
                                              .first_column = k * s.columns,
                                              .vocab = s.vocab});
    out.shards.push_back(std::move(shard));
  }
  for (int64_t k = 0; k < s.ranks; ++k) {
    std::vector<A> loss(static_cast<size_t>(s.rows), A(-77));
    std::vector<T> dlogits(out.shards[k].size(), from_double<T>(5));
    T* gradient = dlogits.data();
    if constexpr (std::is_same_v<T, A>) gradient = in_place ? out.shards[k].data() : gradient;
    kernels::cross_entropy_merge<T>(Cpu{}, {.logits = out.shards[k].data(),
                                            .target = target.data(),
                                            .partials = out.partials.data(),
                                            .loss = loss.data(),
                                            .dlogits = gradient,
                                            .state = &state,
                                            .ranks = s.ranks,
                                            .rows = s.rows,
                                            .ld = s.ld,
                                            .columns = s.columns,
                                            .first_column = k * s.columns,
                                            .vocab = s.vocab});
    out.losses.push_back(std::move(loss));
    if constexpr (std::is_same_v<T, A>) out.dlogits.push_back(in_place ? out.shards[k] : dlogits);
    else out.dlogits.push_back(dlogits);
  }
  return out;
}

template <class T>
struct Whole {
  std::vector<Acc<T>> loss;
  std::vector<T> dlogits;  // [rows, vocab]
};

template <class T>
Whole<T> whole(const Split& s, const std::vector<Acc<T>>& logits, const StepState& state) {
  const std::vector<int32_t> target = targets(s);
  Whole<T> out{std::vector<Acc<T>>(static_cast<size_t>(s.rows)), std::vector<T>(logits.size())};
  kernels::cross_entropy<T>(Cpu{}, {.logits = logits.data(),
                                    .target = target.data(),
                                    .loss = out.loss.data(),
                                    .dlogits = out.dlogits.data(),
                                    .state = &state,
                                    .rows = s.rows,
                                    .vocab = s.vocab,
                                    .ld = s.vocab});
  return out;
}

template <class T>
class VocabParallelCrossEntropyTest : public ::testing::Test {};
TYPED_TEST_SUITE(VocabParallelCrossEntropyTest, ElementTypes);

TYPED_TEST(VocabParallelCrossEntropyTest, EveryRankGetsTheSameBitsOfTheWholeVocabularysLoss) {
  using T = TypeParam;
  for (const Split& s : splits()) {
    SCOPED_TRACE(testing::Message() << s.ranks << " ranks, " << s.rows << " x " << s.vocab);
    const auto logits = random_logits<Acc<T>>(s);
    const Results<T> got = run<T>(s, logits, state_with(0.125));
    const Whole<double> want = whole<double>(s, widened(logits), state_with(0.125));
    expect_close<Acc<T>>(got.losses[0], want.loss, "loss");
    for (const auto& loss : got.losses) EXPECT_TRUE(same_bits(loss, got.losses[0]));
  }
}

TYPED_TEST(VocabParallelCrossEntropyTest, TheRanksGradientsAreTheColumnsOfTheWholeOneAndZeroInPads) {
  using T = TypeParam;
  for (const Split& s : splits()) {
    SCOPED_TRACE(testing::Message() << s.ranks << " ranks, " << s.rows << " x " << s.vocab);
    const auto logits = random_logits<Acc<T>>(s);
    const Results<T> got = run<T>(s, logits, state_with(0.125));
    const Whole<double> want = whole<double>(s, widened(logits), state_with(0.125));
    std::vector<T> joined(logits.size());
    for (int64_t k = 0; k < s.ranks; ++k)
      for (int64_t i = 0; i < s.rows * s.ld; ++i) {
        const int64_t row = i / s.ld, column = i % s.ld, id = k * s.columns + column;
        if (column < s.columns && id < s.vocab) joined[row * s.vocab + id] = got.dlogits[k][i];
        else ASSERT_EQ(to_double(got.dlogits[k][i]), 0.0) << "rank " << k << " column " << column;
      }
    expect_close<T>(joined, want.dlogits, "dlogits");
  }
}

TYPED_TEST(VocabParallelCrossEntropyTest, OneRankGivesTheBitsOfCrossEntropy) {
  using T = TypeParam;
  for (const int64_t vocab : {1, 7, 1031}) {
    const Split s{1, 13, vocab, vocab, vocab};
    const auto logits = random_logits<Acc<T>>(s);
    const Results<T> got = run<T>(s, logits, state_with(0.125));
    const Whole<T> want = whole<T>(s, logits, state_with(0.125));
    EXPECT_TRUE(same_bits(got.losses[0], want.loss) && same_bits(got.dlogits[0], want.dlogits)) << vocab;
  }
}

TYPED_TEST(VocabParallelCrossEntropyTest, LossAloneNeedsNeitherStateNorLogits) {
  using T = TypeParam;
  const Split s{3, 21, 1031, 384, 390};
  const Results<T> got = run<T>(s, random_logits<Acc<T>>(s), state_with(1));
  const std::vector<int32_t> target = targets(s);
  std::vector<Acc<T>> loss(static_cast<size_t>(s.rows));
  kernels::cross_entropy_merge<T>(Cpu{}, {.target = target.data(),
                                          .partials = got.partials.data(),
                                          .loss = loss.data(),
                                          .ranks = s.ranks,
                                          .rows = s.rows,
                                          .ld = s.ld,
                                          .columns = s.columns,
                                          .vocab = s.vocab});
  EXPECT_TRUE(same_bits(loss, got.losses[0]));
}

TYPED_TEST(VocabParallelCrossEntropyTest, LogitsOfAThousandStayFinite) {
  using T = TypeParam;
  const Split s{2, 2, 4, 2, 2};  // targets 1 and 0
  const std::vector<Acc<T>> logits{-5000, 999, 1000, -1000, 1000, 0, -1000, 1};
  const Results<T> got = run<T>(s, logits, state_with(1));
  EXPECT_NEAR(static_cast<double>(got.losses[0][0]), 1 + std::log1p(std::exp(-1.0)), 1e-4);  // f32: lse to 6e-5
  EXPECT_EQ(static_cast<double>(got.losses[0][1]), 0.0);
  for (const auto& dlogits : got.dlogits)
    for (const T value : dlogits) EXPECT_TRUE(std::isfinite(to_double(value)));
}

TYPED_TEST(VocabParallelCrossEntropyTest, ARankWhoseLogitsAreAllMinusInfinityAddsNothing) {
  using T = TypeParam;
  using A = Acc<T>;
  const Split s{2, 1, 4, 2, 2};  // target 1
  constexpr A kLowest = -std::numeric_limits<A>::infinity();
  const Results<T> got = run<T>(s, {A(0), A(0), kLowest, kLowest}, state_with(1));
  EXPECT_NEAR(static_cast<double>(got.losses[1][0]), std::log(2.0), 1e-6);
  EXPECT_NEAR(to_double(got.dlogits[0][0]), 0.5, 1e-6);
  EXPECT_EQ(to_double(got.dlogits[1][0]), 0.0);
}

TYPED_TEST(VocabParallelCrossEntropyTest, ANaNInOneRanksLogitsReachesTheLossOfAll) {
  using T = TypeParam;
  const Split s{4, 4, 12, 3, 3};
  for (const int64_t at : {0, 4, 11}) {
    auto logits = random_logits<Acc<T>>(s);
    logits[s.vocab + at] = std::numeric_limits<Acc<T>>::quiet_NaN();
    for (const auto& loss : run<T>(s, logits, state_with(1)).losses) {
      EXPECT_TRUE(std::isfinite(loss[0]));
      EXPECT_TRUE(std::isnan(loss[1])) << "column " << at;
    }
  }
}

TYPED_TEST(VocabParallelCrossEntropyTest, BitsDoNotDependOnTheNumberOfThreads) {
  using T = TypeParam;
  const Split s{3, 67, 2048, 768, 768};
  const auto logits = random_logits<Acc<T>>(s);
  const auto one = with_threads(1, [&] { return run<T>(s, logits, state_with(0.5)); });
  const auto many = with_threads(3, [&] { return run<T>(s, logits, state_with(0.5)); });
  EXPECT_TRUE(same_bits(one.partials, many.partials));
  for (int64_t k = 0; k < s.ranks; ++k)
    EXPECT_TRUE(same_bits(one.losses[k], many.losses[k]) && same_bits(one.dlogits[k], many.dlogits[k]));
}

TEST(VocabParallelCrossEntropy, PartialsHoldMaximumSumAndTheTargetsLogitWhereItLies) {
  const double lowest = -std::numeric_limits<double>::infinity();
  const Split s{3, 3, 3, 2, 2};  // targets 2, 0 and one ignored; the third rank holds pads alone
  const double two = std::log(2.0);
  const Results<double> got = run<double>(s, {0, two, 5, two, two, -3, 1, 1, 1}, state_with(1));
  const std::vector<double> want{two,    1.5, 0, two,    2, two, lowest, 0, 0,  // rank 0, rows 0 to 2
                                 5,      1,   5, -3,     1, 0,   lowest, 0, 0,  // rank 1
                                 lowest, 0,   0, lowest, 0, 0,   lowest, 0, 0};
  ASSERT_EQ(got.partials.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    if (std::isfinite(want[i])) EXPECT_NEAR(got.partials[i], want[i], 1e-15) << i;
    else EXPECT_EQ(got.partials[i], want[i]) << i;
  }
}

TEST(VocabParallelCrossEntropy, TheGradientMayTakeTheLogitsPlace) {
  const auto check = [&]<class A>() {
    for (const Split& s : splits()) {
      const auto logits = random_logits<A>(s);
      const Results<A> apart = run<A>(s, logits, state_with(0.5)), in_place = run<A>(s, logits, state_with(0.5), true);
      for (int64_t k = 0; k < s.ranks; ++k)
        EXPECT_TRUE(same_bits(apart.losses[k], in_place.losses[k]) && same_bits(apart.dlogits[k], in_place.dlogits[k]));
    }
  };
  check.operator()<float>();
  check.operator()<double>();
}

}  // namespace
}  // namespace sy
