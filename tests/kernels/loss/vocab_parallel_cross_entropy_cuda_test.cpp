// CUDA bodies of the vocabulary-parallel cross-entropy against their CPU bodies.
#include "kernels/loss/vocab_parallel_cross_entropy.h"

#include "tests/kernels/cuda_check.h"
#include "tests/kernels/moe/numeric_check.h"

namespace sy {
namespace {

using namespace sy::test;

struct Split {
  int64_t ranks, rows, vocab, columns, ld;
};
// With vocabulary 7 in fours the last ranks hold pads alone.
const std::vector<Split> kSplits = {{1, 0, 5, 8, 8}, {1, 3, 1, 1, 1},        {2, 7, 100, 64, 64},
                                    {4, 5, 7, 4, 6}, {3, 3, 1500, 512, 520}, {2, 40, 300, 192, 192}};

std::vector<StepState> step_state() {
  StepState state{};
  state.inv_loss_tokens = 1.0 / 123;
  return {state};
}

// The partials of all ranks, then every rank's loss and gradient from them.
template <class T, bool kInPlace>
void expect_equal(const Split& s, bool with_gradient) {
  using A = Acc<T>;
  SCOPED_TRACE(testing::Message() << s.ranks << " ranks, " << s.rows << " x " << s.vocab);
  // A third of the targets is ignored.
  const std::vector<int32_t> target =
      random_integers(s.rows, -static_cast<int32_t>(s.vocab) / 2 - 1, static_cast<int32_t>(s.vocab) - 1, 2);
  expect_cuda_equals_cpu([&](auto& side, auto backend) {
    const int32_t* targets = side.in(target);
    const StepState* state = with_gradient ? side.in(step_state()) : nullptr;
    A* partials = side.template out<A>(s.ranks * s.rows * 3, cuda_tolerance<A>());
    std::vector<A*> shards;
    for (int64_t k = 0; k < s.ranks; ++k) {
      std::vector<A> logits = random_normal<A>(s.rows * s.ld, 10 + k);
      for (int64_t i = 0; i < s.rows * s.ld; ++i) {
        logits[i] *= 5;
        if (i % s.ld >= s.columns || k * s.columns + i % s.ld >= s.vocab) logits[i] = static_cast<A>(kNaN);
      }
      shards.push_back(kInPlace ? side.inout(logits, cuda_tolerance<A>()) : side.in(logits));
      kernels::cross_entropy_partial<A>(backend, {.logits = shards[k],
                                                  .target = targets,
                                                  .partial = partials + k * s.rows * 3,
                                                  .rows = s.rows,
                                                  .ld = s.ld,
                                                  .columns = s.columns,
                                                  .first_column = k * s.columns,
                                                  .vocab = s.vocab});
    }
    for (int64_t k = 0; k < s.ranks; ++k) {
      T* dlogits = nullptr;
      if constexpr (kInPlace) dlogits = shards[k];
      else if (with_gradient) dlogits = side.template out<T>(s.rows * s.ld, cuda_tolerance<T>());
      kernels::cross_entropy_merge<T>(backend, {.logits = with_gradient ? shards[k] : nullptr,
                                                .target = targets,
                                                .partials = partials,
                                                .loss = side.template out<A>(s.rows, cuda_tolerance<A>()),
                                                .dlogits = dlogits,
                                                .state = state,
                                                .ranks = s.ranks,
                                                .rows = s.rows,
                                                .ld = s.ld,
                                                .columns = s.columns,
                                                .first_column = k * s.columns,
                                                .vocab = s.vocab});
    }
  });
}

template <class T>
class VocabParallelCrossEntropyCuda : public testing::Test {};
using ElementTypes = testing::Types<float, bf16, double>;
TYPED_TEST_SUITE(VocabParallelCrossEntropyCuda, ElementTypes);

TYPED_TEST(VocabParallelCrossEntropyCuda, PartialsLossAndGradientEqualTheCpu) {
  for (const Split& s : kSplits)
    for (const bool with_gradient : {true, false}) expect_equal<TypeParam, false>(s, with_gradient);
}

TEST(VocabParallelCrossEntropyCudaInPlace, TheGradientMayOverwriteTheLogits) {
  for (const Split& s : kSplits) {
    expect_equal<float, true>(s, true);
    expect_equal<double, true>(s, true);
  }
}

TEST(VocabParallelCrossEntropyCudaLoss, AShardOfMinusInfinityAddsNothingAndNaNReachesTheLoss) {
  const double lowest = -std::numeric_limits<double>::infinity();
  const std::vector<double> logits = {lowest, lowest, lowest, kNaN, 2, 3};
  expect_cuda_equals_cpu([&](auto& side, auto backend) {
    const int32_t* target = side.in(std::vector<int32_t>{1, 1, 1});
    double* partials = side.template out<double>(18, cuda_tolerance<double>());
    const auto partial = [&](const std::vector<double>& shard, int64_t rank) {
      kernels::cross_entropy_partial<double>(backend, {.logits = side.in(shard),
                                                       .target = target,
                                                       .partial = partials + rank * 9,
                                                       .rows = 3,
                                                       .ld = 2,
                                                       .columns = 2,
                                                       .first_column = rank * 2,
                                                       .vocab = 4});
    };
    partial(logits, 0);
    partial({1, 2, 3, 4, lowest, lowest}, 1);
    kernels::cross_entropy_merge<double>(backend, {.target = target,
                                                   .partials = partials,
                                                   .loss = side.template out<double>(3, cuda_tolerance<double>()),
                                                   .ranks = 2,
                                                   .rows = 3,
                                                   .ld = 2,
                                                   .columns = 2,
                                                   .vocab = 4});
  });
}

}  // namespace
}  // namespace sy
