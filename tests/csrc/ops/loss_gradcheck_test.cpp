// Gradients of the losses in f64 against central differences; the chunks of the fused cross-entropy.
#include <cstring>

#include "tests/csrc/ops/gradcheck_fixture.h"

namespace sy {
namespace {

class LossGradcheck : public OpGradcheck {
 protected:
  LossGradcheck() { set_inv_tokens(1.0 / 7, 1.0 / 24); }

  Var probability_input(int64_t tokens, int64_t experts) {
    Tensor p = random({tokens, experts});
    for (int64_t i = 0; i < p.count(); ++i) p.data<double>()[i] = 0.05 + std::abs(p.data<double>()[i]);
    return input("probability", p);
  }
};

TEST_F(LossGradcheck, LoadBalanceOfTheMicroBatch) {
  const Var p = probability_input(6, 5);
  const Tensor fraction = random({1, 5});
  check_loss([&](const Tensor& slot) { ops::load_balance_loss(ctx, p, fraction, 6, 0.3, slot); });
}

TEST_F(LossGradcheck, LoadBalanceOfEachSequence) {
  const Var p = probability_input(6, 5);
  const Tensor fraction = random({3, 5});
  check_loss([&](const Tensor& slot) { ops::load_balance_loss(ctx, p, fraction, 2, 0.3, slot); });
}

TEST_F(LossGradcheck, ZLoss) {
  const Var logits = input("logits", {6, 5}, 2.0);
  check_loss([&](const Tensor& slot) { ops::z_loss(ctx, logits, 0.3, slot); });
}

TEST_F(LossGradcheck, EntropyLoss) {
  const Var p = probability_input(6, 5);
  check_loss([&](const Tensor& slot) { ops::entropy_loss(ctx, p, 0.3, slot); });
}

TEST_F(LossGradcheck, SquaredCvLoss) {
  const Var v = probability_input(1, 9);
  check_loss([&](const Tensor& slot) { ops::squared_cv_loss(ctx, v, 6, 0.3, slot); });
}

TEST_F(LossGradcheck, ImportanceLoss) {
  const Var weight = input("weight", {8});
  const Tensor expert = ints({2, 0, -1, 2, 1, 0, 2, -1});  // a hole twice; expert 3 without entries
  check_loss([&](const Tensor& slot) { ops::importance_loss(ctx, weight, expert, 4, 4, 0.3, slot); });
}

TEST_F(LossGradcheck, FusedCrossEntropyWithIgnoredTargetsAndAPaddedVocabulary) {
  const Var x = input("x", {7, 5});
  Parameter& weight = parameter("weight", {16, 5});
  const Tensor target = ints({0, -1, 10, 3, -100, 10, 7});
  check_loss([&](const Tensor& slot) { ops::fused_cross_entropy(ctx, x, weight, target, 11, slot); });
  const Tensor added = gradient(weight);
  for (int64_t i = 11 * 5; i < 16 * 5; ++i) EXPECT_EQ(added.data<double>()[i], 0.0) << "a padding row";
}

// A chunk has 2^22 logits and at least 128 rows: 65536 columns make three chunks of 260 tokens, the last of 4.
class FusedCrossEntropyChunks : public LossGradcheck {
 protected:
  static constexpr int64_t kTokens = 260, kChunk = 128, kDim = 2, kVocab = 65450, kPadded = 65536;
  std::vector<int32_t> targets() const {
    std::vector<int32_t> t;
    for (int64_t i = 0; i < kTokens; ++i) t.push_back(i % 9 == 4 ? -1 : static_cast<int32_t>(i * 977 % kVocab));
    return t;
  }
};

TEST_F(FusedCrossEntropyChunks, GradientsAreThoseOfDifferences) {
  const Var x = input("x", {kTokens, kDim});
  Parameter& weight = parameter("weight", {kPadded, kDim});
  const Tensor target = ints(targets());
  samples = 5;
  check_loss([&](const Tensor& slot) { ops::fused_cross_entropy(ctx, x, weight, target, kVocab, slot); });
}

TEST_F(FusedCrossEntropyChunks, GiveTheBitsOfSeparateCalls) {
  const Tensor x = random({kTokens, kDim}), target = ints(targets());
  Parameter whole, parts;
  whole.value = parts.value = random({kPadded, kDim});
  whole.grad = ctx.zeros({kPadded, kDim}, DType::f64);
  parts.grad = ctx.zeros({kPadded, kDim}, DType::f64);
  const Tensor total = ctx.zeros({1}, DType::f64), sum_of_parts = ctx.zeros({1}, DType::f64);
  const Tensor losses = ctx.zeros({kTokens}, DType::f64), part_losses = ctx.zeros({kTokens}, DType::f64);
  Tape tape;
  ctx.tape = &tape;
  const Var all(x, true);
  ops::fused_cross_entropy(ctx, all, whole, target, kVocab, total, losses);
  tape.backward();
  for (int64_t begin = 0; begin < kTokens; begin += kChunk) {
    const int64_t end = std::min(begin + kChunk, kTokens);
    const Var part(x.slice(begin, end), true);
    ops::fused_cross_entropy(ctx, part, parts, target.slice(begin, end), kVocab, sum_of_parts,
                             part_losses.slice(begin, end));
    tape.backward();
    EXPECT_EQ(std::memcmp(part.grad().raw(), all.grad().slice(begin, end).raw(),
                          static_cast<std::size_t>(part.grad().bytes())),
              0)
        << "dx of rows from " << begin;
  }
  ctx.tape = nullptr;
  EXPECT_EQ(std::memcmp(whole.grad.raw(), parts.grad.raw(), static_cast<std::size_t>(whole.grad.bytes())), 0);
  EXPECT_EQ(std::memcmp(losses.raw(), part_losses.raw(), static_cast<std::size_t>(losses.bytes())), 0);
  EXPECT_NEAR(*total.data<double>(), *sum_of_parts.data<double>(), 1e-12 * std::abs(*total.data<double>()));
}

// Losses without a slot leave only gradients: how a recomputed region runs them.
TEST_F(LossGradcheck, ALossWithoutASlotGivesTheSameGradient) {
  const Tensor logits = random({6, 5});
  Tape tape;
  ctx.tape = &tape;
  const Tensor slot = ctx.zeros({1}, DType::f64);
  const Var with(logits, true), without(logits, true);
  ops::z_loss(ctx, with, 0.3, slot);
  ops::z_loss(ctx, without, 0.3, {});
  tape.backward();
  ctx.tape = nullptr;
  EXPECT_GT(*slot.data<double>(), 0.0);
  EXPECT_EQ(ctx.to_host<double>(with.grad()), ctx.to_host<double>(without.grad()));
}

}  // namespace
}  // namespace sy
