// Gradients of dispatch, experts, combine and the router ops in f64 against central differences, with the assignment
// frozen. Every case runs with row alignment 1 and 128.
#include "tests/csrc/ops/gradcheck_fixture.h"

namespace sy {
namespace {

class MoeGradcheck : public OpGradcheck, public ::testing::WithParamInterface<int64_t> {
 protected:
  MoeGradcheck() { ctx.row_alignment = GetParam(); }

  // Top-2 of 5 experts for 6 tokens: expert 2 has nothing, token 1 has a hole, token 4 lost both entries and token 5
  // one to capacity. (Capacity drops are in kept; with `dropped` false everything is kept.)
  static constexpr int64_t kTokens = 6, kExperts = 5, kEntries = 12;
  ops::RowIndex index(bool dropped, const std::vector<int32_t>& slot_of_expert = {}) {
    token_ = ints({0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5});
    expert_ = ints({3, 1, 1, -1, 4, 0, 0, 3, 1, 0, 3, 4});
    const Tensor kept = dropped ? flags({1, 1, 1, 0, 1, 1, 1, 1, 0, 0, 0, 1}) : Tensor();
    return ops::index_build(ctx, token_, expert_, kept, slot_of_expert.empty() ? Tensor() : ints(slot_of_expert),
                            kTokens, kExperts, kExperts);
  }
  // Rows that belong to an entry.
  static std::vector<bool> live(const ops::RowIndex& index) {
    std::vector<bool> rows;
    for (int64_t r = 0; r < index.rows; ++r) rows.push_back(index.row_token.data<int32_t>()[r] >= 0);
    return rows;
  }
  // An input of expert rows: random where a row is live, NaN in pads; only the live rows are checked.
  Var rows_input(const std::string& name, const ops::RowIndex& index, int64_t columns) {
    const Tensor x = random({index.rows, columns});
    const std::vector<bool> is_live = live(index);
    std::vector<std::pair<int64_t, int64_t>> ranges;
    for (int64_t r = 0; r < index.rows; ++r) {
      if (is_live[static_cast<std::size_t>(r)]) {
        ranges.emplace_back(r, r + 1);
        continue;
      }
      for (int64_t c = 0; c < columns; ++c)
        x.data<double>()[r * columns + c] = std::numeric_limits<double>::quiet_NaN();
    }
    restrict_rows(name, merged(ranges));
    return input(name, x);
  }
  static std::vector<std::pair<int64_t, int64_t>> merged(const std::vector<std::pair<int64_t, int64_t>>& rows) {
    std::vector<std::pair<int64_t, int64_t>> out;
    for (const auto& [begin, end] : rows) {
      if (!out.empty() && out.back().second == begin) out.back().second = end;
      else out.emplace_back(begin, end);
    }
    return out;
  }

  Tensor token_, expert_;
};
INSTANTIATE_TEST_SUITE_P(RowAlignment, MoeGradcheck, ::testing::Values(1, 128));

TEST_P(MoeGradcheck, GatherRows) {
  const ops::RowIndex rows = index(true);
  const Var x = input("x", {kTokens, 4});
  check([&] { return ops::gather_rows(ctx, x, rows); }, live(rows));
}

TEST_P(MoeGradcheck, GatherRowsWithWeights) {
  const ops::RowIndex rows = index(true);
  const Var x = input("x", {kTokens, 4}), weight = input("weight", {kEntries});
  check([&] { return ops::gather_rows(ctx, x, rows, weight); }, live(rows));
}

TEST_P(MoeGradcheck, CombineWithoutWeights) {
  const ops::RowIndex rows = index(true);
  const Var y = rows_input("y", rows, 4);
  check([&] { return ops::combine(ctx, y, {}, {}, rows); });
}

TEST_P(MoeGradcheck, CombineWithWeightsAndDroppedEntries) {
  const ops::RowIndex rows = index(true);
  const Var y = rows_input("y", rows, 4), weight = input("weight", {kEntries});
  check([&] { return ops::combine(ctx, y, weight, {}, rows); });
}

TEST_P(MoeGradcheck, CombineWithIdentityOverflow) {
  const ops::RowIndex rows = index(true);
  const Var y = rows_input("y", rows, 4), weight = input("weight", {kEntries}), x = input("identity", {kTokens, 4});
  check([&] { return ops::combine(ctx, y, weight, x, rows); });
}

TEST_P(MoeGradcheck, CombineWithIdentityOverflowAndNoWeights) {
  const ops::RowIndex rows = index(true);
  const Var y = rows_input("y", rows, 4), x = input("identity", {kTokens, 4});
  check([&] { return ops::combine(ctx, y, {}, x, rows); });
}

TEST_P(MoeGradcheck, GroupedLinearWithAnEmptyExpertAndNanPads) {
  const ops::RowIndex rows = index(true);
  ASSERT_EQ(rows.seg_count.data<int32_t>()[2], 0);
  const Var x = rows_input("x", rows, 4);
  Parameter& bank = parameter("bank", {kExperts, 3, 4});
  check([&] { return ops::grouped_linear(ctx, x, bank, rows, 0); }, live(rows));
}

// Experts 1 and 3 (slots 3 and 4) are wider: each bank does its own slots, and the outputs are added.
TEST_P(MoeGradcheck, TwoBanksOfDifferentWidthsInOneLayer) {
  const ops::RowIndex rows = index(false, {0, 3, 1, 4, 2});
  const Var x = rows_input("x", rows, 4);
  Parameter &up = parameter("narrow.up", {3, 2 * 3, 4}), &down = parameter("narrow.down", {3, 4, 3});
  Parameter &wide_up = parameter("wide.up", {2, 2 * 5, 4}), &wide_down = parameter("wide.down", {2, 4, 5});
  check(
      [&] {
        const auto expert = [&](Parameter& first, Parameter& second, int64_t slot) {
          const Var a = ops::swiglu(ctx, ops::grouped_linear(ctx, x, first, rows, slot), rows.row_end);
          return ops::grouped_linear(ctx, a, second, rows, slot);
        };
        return ops::add(ctx, expert(up, down, 0), expert(wide_up, wide_down, 3));
      },
      live(rows));
}

// The whole path of one layer with frozen assignment; no memory but the inputs' holds numbers before it runs.
TEST_P(MoeGradcheck, RouterToCombine) {
  const ops::RowIndex rows = index(true);
  const Var x = input("x", {kTokens, 4});
  Parameter &gate = parameter("gate", {kExperts, 4}), &up = parameter("up", {kExperts, 2 * 3, 4});
  Parameter& down = parameter("down", {kExperts, 4, 3});
  check([&] {
    const Var score = ops::router_scores(ctx, ops::linear(ctx, x, gate), kernels::ScoreLink::kSoftmax);
    const Var weight = ops::gate_weight(ctx, score, token_, expert_, {},
                                        {.mode = kernels::GateWeightMode::kRenormalised, .per_token = 2, .scale = 1.5});
    const Var h = ops::grouped_linear(ctx, ops::gather_rows(ctx, x, rows), up, rows, 0);
    const Var y = ops::grouped_linear(ctx, ops::swiglu(ctx, h, rows.row_end), down, rows, 0);
    return ops::combine(ctx, y, weight, x, rows);
  });
}

class RouterGradcheck : public OpGradcheck {
 protected:
  void check_scores(kernels::ScoreLink link) {
    const Var logits = input("logits", {5, 70}, 2.0);
    check([&] { return ops::router_scores(ctx, logits, link); });
  }
  // Three entries per token with holes and inactive entries; of token 3 nothing counts.
  void check_weights(kernels::GateWeightMode mode) {
    Tensor values = random({4, 6});
    if (mode != kernels::GateWeightMode::kSoftmax)
      for (int64_t i = 0; i < values.count(); ++i) values.data<double>()[i] = 0.1 + std::abs(values.data<double>()[i]);
    const Var score = input("score", values);
    const Tensor token = ints({0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3});
    const Tensor expert = ints({5, 0, 3, 2, -1, 4, 1, 1, 0, -1, 2, 5});  // token 2 names expert 1 twice
    const Tensor active = flags({1, 0, 1, 1, 1, 1, 1, 1, 0, 1, 0, 0});
    check([&] {
      return ops::gate_weight(ctx, score, token, expert, active, {.mode = mode, .per_token = 3, .scale = 2.5});
    });
  }
};

TEST_F(RouterGradcheck, SoftmaxScores) { check_scores(kernels::ScoreLink::kSoftmax); }
TEST_F(RouterGradcheck, SigmoidScores) { check_scores(kernels::ScoreLink::kSigmoid); }
TEST_F(RouterGradcheck, NormalisedSigmoidScores) { check_scores(kernels::ScoreLink::kNormalisedSigmoid); }
TEST_F(RouterGradcheck, RawWeights) { check_weights(kernels::GateWeightMode::kRaw); }
TEST_F(RouterGradcheck, RenormalisedWeights) { check_weights(kernels::GateWeightMode::kRenormalised); }
TEST_F(RouterGradcheck, SoftmaxWeights) { check_weights(kernels::GateWeightMode::kSoftmax); }

}  // namespace
}  // namespace sy
