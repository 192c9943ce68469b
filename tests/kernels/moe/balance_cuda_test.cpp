// CUDA bodies of the capacity limit and of the balance losses against their CPU bodies.
#include "kernels/moe/balance.h"

#include "kernels/moe/capacity.h"
#include "tests/kernels/cuda_check.h"
#include "tests/kernels/moe/ragged_routing.h"

namespace sy {
namespace {

using namespace sy::test;

template <class A>
class BalanceCuda : public testing::Test {};
using AccTypes = testing::Types<float, double>;
TYPED_TEST_SUITE(BalanceCuda, AccTypes);

// Scores with ties, so that the tie rules decide.
template <class A>
std::vector<A> coarse_scores(int64_t count, uint64_t seed) {
  std::vector<A> score(count);
  const std::vector<int32_t> dice = random_integers(count, -6, 9, seed);
  for (int64_t i = 0; i < count; ++i) score[i] = dice[i] == 9 ? static_cast<A>(kNaN) : static_cast<A>(dice[i]) / 8;
  return score;
}

TYPED_TEST(BalanceCuda, CapacityKeepsAndMovesTheSameEntriesAsTheCpu) {
  using A = TypeParam;
  using kernels::CapacityOrder;
  std::vector<RaggedRouting> routings = ragged_routings();
  routings.push_back(ragged("more entries than a block", 300, 7, 2, 1, 0, 6, true));
  for (const RaggedRouting& r : routings)
    for (const CapacityOrder order :
         {CapacityOrder::kPosition, CapacityOrder::kScore, CapacityOrder::kRandom, CapacityOrder::kTokenScore})
      for (const bool next_choice : {false, true})
        for (const int64_t capacity : {0, 2, 15})
          for (const int64_t group : {r.tokens, (r.tokens + 2) / 3}) {
            SCOPED_TRACE(testing::Message() << r.name << ", order " << static_cast<int>(order) << ", capacity "
                                            << capacity << " per " << group << (next_choice ? ", next choice" : ""));
            if (capacity == 0 && order != CapacityOrder::kPosition) continue;  // nothing is left to order
            const std::vector<A> score = coarse_scores<A>(r.tokens * r.experts, 1),
                                 priority = coarse_scores<A>(r.tokens, 2);
            expect_cuda_equals_cpu([&](auto& side, auto backend) {
              kernels::capacity_limit<A>(backend, {.token = side.in(r.token),
                                                   .expert = side.inout(r.expert, kExact),
                                                   .score = side.in(score),
                                                   .priority = side.in(priority),
                                                   .kept = side.template out<uint8_t>(r.entries, kExact),
                                                   .entries = r.entries,
                                                   .tokens = r.tokens,
                                                   .experts = r.experts,
                                                   .per_token = r.per_token,
                                                   .group_tokens = std::max<int64_t>(group, 1),
                                                   .capacity = capacity,
                                                   .order = order,
                                                   .next_choice = next_choice});
            });
          }
}

std::vector<StepState> step_state() {
  StepState state{};
  state.inv_batch_tokens = 1.0 / 777;
  return {state};
}

struct Shape {
  int64_t tokens, experts, group;
};
const std::vector<Shape> kShapes = {{0, 4, 1}, {1, 1, 1}, {6, 5, 3}, {40, 33, 40}, {24, 97, 8}, {1500, 3, 500}};

// A loss starts at 0.25 and is added to.
constexpr double kLossTolerance = 1e-6;  // f32 terms, summed in f64 by both sides

TYPED_TEST(BalanceCuda, LossesOnScoresAndTheirGradientsEqualTheCpu) {
  using A = TypeParam;
  for (const auto& [T, E, group] : kShapes) {
    SCOPED_TRACE(testing::Message() << T << " tokens, " << E << " experts");
    std::vector<A> logits = random_normal<A>(T * E, 1), probability = random_normal<A>(T * E, 2);
    for (A& p : probability) p = p > A(1.5) ? A(0) : std::abs(p) / 3;
    const std::vector<A> fraction = random_normal<A>(T / group * E, 3);
    expect_cuda_equals_cpu([&](auto& side, auto backend) {
      const StepState* state = side.in(step_state());
      const auto loss = [&] { return side.inout(std::vector<double>{0.25}, kLossTolerance); };
      const auto gradient = [&] { return side.template out<A>(T * E, cuda_tolerance<A>()); };
      const A *p = side.in(probability), *f = side.in(fraction), *l = side.in(logits);
      for (const bool with_loss : {true, false}) {
        kernels::load_balance<A>(backend, {.probability = p,
                                           .fraction = f,
                                           .state = state,
                                           .loss = with_loss ? loss() : nullptr,
                                           .dprobability = gradient(),
                                           .tokens = T,
                                           .experts = E,
                                           .group_tokens = group,
                                           .coefficient = 0.3});
      }
      kernels::z_loss<A>(backend, {.logits = l,
                                   .state = state,
                                   .loss = loss(),
                                   .dlogits = gradient(),
                                   .tokens = T,
                                   .experts = E,
                                   .coefficient = 0.2});
      kernels::entropy_loss<A>(backend, {.probability = p,
                                         .state = state,
                                         .loss = loss(),
                                         .dprobability = gradient(),
                                         .tokens = T,
                                         .experts = E,
                                         .coefficient = 0.7});
      kernels::squared_cv<A>(backend, {.values = l,
                                       .state = state,
                                       .loss = loss(),
                                       .dvalues = gradient(),
                                       .count = T * E,
                                       .tokens = T,
                                       .coefficient = 0.5});
    });
  }
}

TYPED_TEST(BalanceCuda, SquaredCvOfZerosIsZero) {
  using A = TypeParam;
  expect_cuda_equals_cpu([&](auto& side, auto backend) {
    kernels::squared_cv<A>(backend, {.values = side.in(std::vector<A>(40)),
                                     .state = side.in(step_state()),
                                     .loss = side.inout(std::vector<double>{0.25}, kExact),
                                     .dvalues = side.template out<A>(40, kExact),
                                     .count = 40,
                                     .tokens = 8,
                                     .coefficient = 0.5});
  });
}

TYPED_TEST(BalanceCuda, FractionsAndImportanceEqualTheCpu) {
  using A = TypeParam;
  for (const RaggedRouting& r : ragged_routings())
    for (const double divisor : {0.0, 2.0}) {
      SCOPED_TRACE(testing::Message() << r.name << ", divisor " << divisor);
      const int64_t group = r.tokens % 5 == 0 && r.tokens > 0 ? r.tokens / 5 : std::max<int64_t>(r.tokens, 1);
      const std::vector<A> weight = random_normal<A>(r.entries, 1), dimportance = random_normal<A>(r.experts, 2);
      expect_cuda_equals_cpu([&](auto& side, auto backend) {
        const int32_t* expert = side.in(r.expert);
        kernels::assignment_fraction<A>(
            backend, {.token = side.in(r.token),
                      .expert = expert,
                      .fraction = side.template out<A>(r.tokens / group * r.experts, cuda_tolerance<A>()),
                      .entries = r.entries,
                      .tokens = r.tokens,
                      .experts = r.experts,
                      .group_tokens = group,
                      .divisor = divisor});
        kernels::importance_forward<A>(backend, {.expert = expert,
                                                 .weight = side.in(weight),
                                                 .importance = side.template out<A>(r.experts, cuda_tolerance<A>()),
                                                 .entries = r.entries,
                                                 .experts = r.experts});
        kernels::importance_backward<A>(backend, {.expert = expert,
                                                  .dimportance = side.in(dimportance),
                                                  .dweight = side.template out<A>(r.entries, kExact),
                                                  .entries = r.entries,
                                                  .experts = r.experts});
      });
    }
}

}  // namespace
}  // namespace sy
