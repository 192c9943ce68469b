// CUDA bodies of link functions, selectors, combine weights and index tables against their CPU bodies.
#include <limits>

#include "kernels/moe/counts.h"
#include "kernels/moe/gate_weight.h"
#include "kernels/moe/index_build.h"
#include "kernels/moe/router_scores.h"
#include "kernels/moe/select.h"
#include "kernels/moe/table_select.h"
#include "kernels/moe/token_noise.h"
#include "tests/kernels/cuda_check.h"
#include "tests/kernels/moe/ragged_routing.h"

namespace sy {
namespace {

using namespace sy::test;

template <class A>
class RoutingCuda : public testing::Test {};
using AccTypes = testing::Types<float, double>;
TYPED_TEST_SUITE(RoutingCuda, AccTypes);

struct Shape {
  int64_t tokens, experts;
};
const std::vector<Shape> kShapes = {{0, 4}, {1, 1}, {3, 5}, {9, 8}, {17, 32}, {8, 33}, {11, 97}, {2, 300}};

TYPED_TEST(RoutingCuda, ScoresAndTheirGradientsEqualTheCpu) {
  using A = TypeParam;
  using kernels::ScoreLink;
  for (const auto& [T, E] : kShapes)
    for (const ScoreLink link : {ScoreLink::kSoftmax, ScoreLink::kSigmoid, ScoreLink::kNormalisedSigmoid}) {
      SCOPED_TRACE(testing::Message() << T << " tokens, " << E << " experts, link " << static_cast<int>(link));
      std::vector<A> logits = random_normal<A>(T * E, 1);
      for (A& l : logits) l *= 4;
      if (T > 1 && E > 1) logits[E] = -std::numeric_limits<A>::infinity();
      const std::vector<A> dscore = random_normal<A>(T * E, 2);
      expect_cuda_equals_cpu([&](auto& side, auto backend) {
        const A* l = side.in(logits);
        A* score = side.template out<A>(T * E, cuda_tolerance<A>());
        const bool softmax = link == ScoreLink::kSoftmax;
        A* lse = softmax ? side.template out<A>(T, cuda_tolerance<A>()) : nullptr;
        kernels::router_scores_forward<A>(
            backend, {.logits = l, .score = score, .lse = lse, .tokens = T, .experts = E, .link = link});
        kernels::router_scores_backward<A>(backend, {.logits = l,
                                                     .score = score,
                                                     .dscore = side.in(dscore),
                                                     .dlogits = side.template out<A>(T * E, cuda_tolerance<A>()),
                                                     .tokens = T,
                                                     .experts = E,
                                                     .link = link});
      });
    }
}

// Scores with many ties, some NaN and some infinities: the total order must hold.
template <class A>
std::vector<A> awkward_scores(int64_t count) {
  const std::vector<int32_t> dice = random_integers(count, 0, 12, 9);
  std::vector<A> score(count);
  for (int64_t i = 0; i < count; ++i) {
    score[i] = static_cast<A>(dice[i]) / 8;
    if (dice[i] == 11) score[i] = std::numeric_limits<A>::quiet_NaN();
    if (dice[i] == 12) score[i] = -std::numeric_limits<A>::infinity();
  }
  return score;
}

TYPED_TEST(RoutingCuda, TopkPicksTheSameExpertsAsTheCpu) {
  using A = TypeParam;
  for (const auto& [T, E] : kShapes)
    for (const int64_t k : {int64_t{1}, int64_t{2}, int64_t{8}, E}) {
      if (k > E) continue;
      SCOPED_TRACE(testing::Message() << T << " tokens, " << E << " experts, k " << k);
      const std::vector<A> bias = random_normal<A>(E, 3);
      for (const bool awkward : {false, true}) {
        const std::vector<A> score = awkward ? awkward_scores<A>(T * E) : random_normal<A>(T * E, 4);
        expect_cuda_equals_cpu([&](auto& side, auto backend) {
          kernels::topk_select<A>(backend, {.score = side.in(score),
                                            .bias = awkward ? nullptr : side.in(bias),
                                            .token = side.template out<int32_t>(T * k, kExact),
                                            .expert = side.template out<int32_t>(T * k, kExact),
                                            .tokens = T,
                                            .experts = E,
                                            .k = k});
        });
      }
    }
}

TYPED_TEST(RoutingCuda, GroupLimitedTopkPicksTheSameExpertsAsTheCpu) {
  using A = TypeParam;
  struct Case {
    int64_t tokens, experts, k, groups, kept, top;
  };
  for (const Case& c : {Case{0, 8, 2, 4, 2, 2}, Case{13, 16, 4, 4, 2, 2}, Case{9, 96, 8, 8, 3, 2},
                        Case{10, 12, 3, 6, 2, 5}, Case{7, 64, 6, 64, 6, 1}, Case{5, 10, 5, 2, 1, 3}}) {
    SCOPED_TRACE(testing::Message() << c.experts << " experts in " << c.groups << " groups");
    const std::vector<A> bias = random_normal<A>(c.experts, 3);
    for (const bool awkward : {false, true}) {
      const int64_t count = c.tokens * c.experts;
      const std::vector<A> score = awkward ? awkward_scores<A>(count) : random_normal<A>(count, 4);
      expect_cuda_equals_cpu([&](auto& side, auto backend) {
        kernels::topk_select<A>(backend, {.score = side.in(score),
                                          .bias = awkward ? nullptr : side.in(bias),
                                          .token = side.template out<int32_t>(c.tokens * c.k, kExact),
                                          .expert = side.template out<int32_t>(c.tokens * c.k, kExact),
                                          .tokens = c.tokens,
                                          .experts = c.experts,
                                          .k = c.k,
                                          .groups = c.groups,
                                          .groups_kept = c.kept,
                                          .group_top = c.top});
      });
    }
  }
}

TYPED_TEST(RoutingCuda, TopPTakesTheSamePrefixAsTheCpu) {
  using A = TypeParam;
  for (const auto& [T, E] : kShapes)
    for (const double p : {0.0, 0.4, 0.9, 2.0})
      for (const int64_t most : {int64_t{1}, int64_t{3}, E + 2}) {
        if (most > 40 && p > 0.4) continue;  // only long
        SCOPED_TRACE(testing::Message() << T << " tokens, " << E << " experts, p " << p << ", at most " << most);
        std::vector<A> probability = random_normal<A>(T * E, 7);
        for (A& x : probability) x = std::abs(x) / static_cast<A>(E);
        expect_cuda_equals_cpu([&](auto& side, auto backend) {
          kernels::top_p_select<A>(backend, {.probability = side.in(probability),
                                             .token = side.template out<int32_t>(T * most, kExact),
                                             .expert = side.template out<int32_t>(T * most, kExact),
                                             .tokens = T,
                                             .experts = E,
                                             .max_per_token = most,
                                             .p = p});
        });
      }
}

TYPED_TEST(RoutingCuda, ExpertChoiceTakesTheSameTokensAsTheCpu) {
  using A = TypeParam;
  struct Case {
    int64_t tokens, experts, capacity, group;
  };
  for (const Case& c : {Case{0, 4, 2, 1}, Case{12, 3, 2, 12}, Case{12, 3, 5, 4}, Case{300, 2, 40, 300},
                        Case{514, 3, 257, 257}, Case{6, 70, 1, 3}}) {
    SCOPED_TRACE(testing::Message() << c.tokens << " tokens, capacity " << c.capacity << " of " << c.group);
    const int64_t entries = c.tokens / c.group * c.experts * c.capacity;
    for (const bool awkward : {false, true}) {
      const int64_t count = c.tokens * c.experts;
      const std::vector<A> score = awkward ? awkward_scores<A>(count) : random_normal<A>(count, 4);
      expect_cuda_equals_cpu([&](auto& side, auto backend) {
        kernels::expert_choice_select<A>(backend, {.score = side.in(score),
                                                   .token = side.template out<int32_t>(entries, kExact),
                                                   .expert = side.template out<int32_t>(entries, kExact),
                                                   .tokens = c.tokens,
                                                   .experts = c.experts,
                                                   .capacity = c.capacity,
                                                   .group_tokens = c.group});
      });
    }
  }
}

TYPED_TEST(RoutingCuda, GateWeightsAndTheirGradientsEqualTheCpu) {
  using A = TypeParam;
  using kernels::GateWeightMode;
  for (const RaggedRouting& r : ragged_routings())
    for (const GateWeightMode mode : {GateWeightMode::kRaw, GateWeightMode::kRenormalised, GateWeightMode::kSoftmax}) {
      // Expert-major lists have no blocks of one token.
      if (mode != GateWeightMode::kRaw && r.name.find("expert-major") != std::string::npos) continue;
      SCOPED_TRACE(testing::Message() << r.name << ", mode " << static_cast<int>(mode));
      std::vector<A> score = random_normal<A>(r.tokens * r.experts, 8);
      for (A& s : score) s = std::abs(s) + A(0.01);
      const std::vector<A> dweight = random_normal<A>(r.entries, 9);
      for (const bool active : {false, true}) {
        expect_cuda_equals_cpu([&](auto& side, auto backend) {
          const A* s = side.in(score);
          const int32_t *token = side.in(r.token), *expert = side.in(r.expert);
          const uint8_t* kept = active ? side.in(r.kept) : nullptr;
          A* weight = side.template out<A>(r.entries, cuda_tolerance<A>());
          kernels::gate_weight_forward<A>(backend, {.score = s,
                                                    .token = token,
                                                    .expert = expert,
                                                    .active = kept,
                                                    .weight = weight,
                                                    .entries = r.entries,
                                                    .per_token = r.per_token,
                                                    .experts = r.experts,
                                                    .mode = mode,
                                                    .scale = 2.5});
          kernels::gate_weight_backward<A>(backend,
                                           {.score = s,
                                            .weight = weight,
                                            .dweight = side.in(dweight),
                                            .token = token,
                                            .expert = expert,
                                            .active = kept,
                                            .token_start = side.in(r.token_start),
                                            .token_entry = side.in(r.token_entry),
                                            .dscore = side.template out<A>(r.tokens * r.experts, cuda_tolerance<A>()),
                                            .tokens = r.tokens,
                                            .entries = r.entries,
                                            .per_token = r.per_token,
                                            .experts = r.experts,
                                            .mode = mode,
                                            .scale = 2.5});
        });
      }
    }
}

template <class T>
void expect_equal_jitter(int64_t first_token, int64_t tokens, int64_t columns, int64_t length,
                         const std::vector<int64_t>& sample, const StepState& state) {
  const std::vector<T> x = random_normal<T>(tokens * columns, 1);
  expect_cuda_equals_cpu([&](auto& side, auto backend) {
    kernels::input_jitter<T>(backend, {.x = side.in(x),
                                       .y = side.template out<T>(tokens * columns, cuda_tolerance<T>()),
                                       .sample_id = side.in(sample),
                                       .state = side.in(std::vector<StepState>{state}),
                                       .tokens = tokens,
                                       .columns = columns,
                                       .seq_length = length,
                                       .first_token = first_token,
                                       .layer = 3,
                                       .epsilon = 0.1});
  });
}

TYPED_TEST(RoutingCuda, NoiseIsTheSameAsOnTheCpu) {
  using A = TypeParam;
  using kernels::NoiseKind;
  StepState state{};
  state.step = 12;
  state.seed = 99;
  struct Case {
    int64_t samples, length, columns;
  };
  for (const Case& c : {Case{0, 4, 3}, Case{1, 1, 1}, Case{3, 20, 7}}) {
    const int64_t T = c.samples * c.length;
    std::vector<int64_t> sample(c.samples);
    for (int64_t i = 0; i < c.samples; ++i) sample[i] = 1000 - 7 * i;
    for (const NoiseKind kind : {NoiseKind::kUniform, NoiseKind::kNormal, NoiseKind::kGumbel})
      expect_cuda_equals_cpu([&](auto& side, auto backend) {
        kernels::token_noise<A>(backend, {.noise = side.template out<A>(T * c.columns, cuda_tolerance<A>()),
                                          .sample_id = side.in(sample),
                                          .state = side.in(std::vector<StepState>{state}),
                                          .tokens = T,
                                          .columns = c.columns,
                                          .seq_length = c.length,
                                          .layer = 2,
                                          .kind = kind});
      });
    for (const int64_t first : {int64_t{0}, T / 3}) {
      expect_equal_jitter<A>(first, T - first, c.columns, c.length, sample, state);
      expect_equal_jitter<bf16>(first, T - first, c.columns, c.length, sample, state);
    }
  }
}

TYPED_TEST(RoutingCuda, CountsAndTheBiasUpdateEqualTheCpu) {
  using A = TypeParam;
  for (const int64_t E : {0, 1, 8, 97, 600})
    for (const bool empty : {false, true})
      for (const bool center : {false, true}) {
        SCOPED_TRACE(testing::Message() << E << " experts" << (empty ? ", no tokens" : ""));
        std::vector<int64_t> count(E), total(E, int64_t{1} << 40);
        const std::vector<int32_t> random = random_integers(E, 0, 50, 1);
        if (!empty) std::copy(random.begin(), random.end(), count.begin());
        const std::vector<A> bias = random_normal<A>(E, 2);
        for (const int32_t skip : {0, 1}) {
          StepState state{};
          state.skip = skip;
          expect_cuda_equals_cpu([&](auto& side, auto backend) {
            const int64_t* counts = side.in(count);
            kernels::accumulate_counts(backend, {.count = counts, .total = side.inout(total, kExact), .experts = E});
            kernels::count_fraction<A>(backend,
                                       {.count = counts, .fraction = side.template out<A>(E, kExact), .experts = E});
            kernels::bias_update<A>(backend, {.count = counts,
                                              .bias = side.inout(bias, cuda_tolerance<A>()),
                                              .state = side.in(std::vector<StepState>{state}),
                                              .experts = E,
                                              .rate = 0.01,
                                              .center = center});
          });
        }
      }
}

TEST(TableSelectCuda, EntriesEqualTheCpu) {
  for (const int64_t tokens : {0, 1, 300}) {
    const std::vector<int32_t> table = random_integers(17 * 3, 0, 5, 1), id = random_integers(tokens, 0, 16, 2);
    expect_cuda_equals_cpu([&](auto& side, auto backend) {
      kernels::table_select(backend, {.token_id = side.in(id),
                                      .table = side.in(table),
                                      .token = side.template out<int32_t>(tokens * 3, kExact),
                                      .expert = side.template out<int32_t>(tokens * 3, kExact),
                                      .tokens = tokens,
                                      .per_token = 3,
                                      .vocab = 17});
    });
  }
}

void expect_equal_tables(const RaggedRouting& r, int64_t slots, const std::vector<int32_t>& slot_of_expert,
                         bool with_kept) {
  const int64_t rows = kernels::index_build_rows(r.entries, slots, r.alignment);
  expect_cuda_equals_cpu([&](auto& side, auto backend) {
    const auto table = [&](int64_t count) { return side.template out<int32_t>(count, kExact); };
    kernels::index_build(backend, {.token = side.in(r.token),
                                   .expert = side.in(r.expert),
                                   .kept = with_kept ? side.in(r.kept) : nullptr,
                                   .slot_of_expert = slot_of_expert.empty() ? nullptr : side.in(slot_of_expert),
                                   .seg_start = table(slots),
                                   .seg_count = table(slots),
                                   .row_end = table(1),
                                   .row_entry = table(rows),
                                   .row_token = table(rows),
                                   .entry_row = table(r.entries),
                                   .token_start = table(r.tokens + 1),
                                   .token_entry = table(r.entries),
                                   .entries = r.entries,
                                   .tokens = r.tokens,
                                   .experts = r.experts,
                                   .slots = slots,
                                   .rows = rows,
                                   .row_alignment = r.alignment});
    kernels::expert_count(backend, {.expert = side.in(r.expert),
                                    .kept = with_kept ? side.in(r.kept) : nullptr,
                                    .count = side.template out<int64_t>(r.experts, kExact),
                                    .entries = r.entries,
                                    .experts = r.experts});
  });
}

TEST(IndexBuildCuda, TablesEqualTheCpu) {
  for (const RaggedRouting& r : ragged_routings())
    for (const bool with_kept : {false, true}) {
      SCOPED_TRACE(r.name);
      expect_equal_tables(r, r.experts, {}, with_kept);
    }
}

TEST(IndexBuildCuda, SharedSlotsMergeTheirExpertsInEntryOrder) {
  for (const RaggedRouting& r : ragged_routings()) {
    SCOPED_TRACE(r.name);
    std::vector<int32_t> slot(r.experts);
    for (int64_t e = 0; e < r.experts; ++e) slot[e] = static_cast<int32_t>((e * 5 + 1) % 3);
    expect_equal_tables(r, 4, slot, true);
  }
}

TEST(IndexBuildCuda, SeveralChunksOfEntriesKeepTheOrder) {
  expect_equal_tables(ragged("five chunks", 2500, 6, 2, 1, 0, 5, true), 6, {}, true);
  expect_equal_tables(expert_major(ragged("three chunks", 700, 40, 4, 128, 0, 39, true)), 40, {}, true);
  expect_equal_tables(ragged("more slots than a chunk is long", 2200, 1100, 1, 1, 0, 1099, false), 1100, {}, false);
}

}  // namespace
}  // namespace sy
