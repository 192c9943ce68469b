// Dispatch, grouped products and combine against PyTorch, and the index tables against their definition.
#include <limits>

#include "tests/csrc/ops/golden_fixture.h"

namespace sy {
namespace {

using golden::Golden;

class MoeGolden : public OpGolden {
 protected:
  // The routing stored in gather_rows and combine, through our own index_build, which must give the stored tables.
  ops::RowIndex index_of(const Golden& g) {
    ctx.row_alignment = g.integer("row_alignment");
    const ops::RowIndex index = ops::index_build(ctx, g.load("token"), g.load("expert"), g.load("kept"), {},
                                                 g.integer("tokens"), g.integer("experts"), g.integer("slots"));
    EXPECT_EQ(index.rows, g.integer("rows"));
    g.expect_equal("seg_start", index.seg_start);
    g.expect_equal("seg_count", index.seg_count);
    g.expect_equal("row_end", index.row_end);
    g.expect_equal("row_entry", index.row_entry);
    g.expect_equal("row_token", index.row_token);
    g.expect_equal("entry_row", index.entry_row);
    g.expect_equal("token_start", index.token_start);
    g.expect_equal("token_entry", index.token_entry);
    return index;
  }

  // Rows r of a [rows, columns] list with live[r].
  static std::vector<double> live_rows(const std::vector<double>& values, const std::vector<bool>& live) {
    std::vector<double> out;
    const std::size_t columns = values.size() / live.size();
    for (std::size_t i = 0; i < values.size(); ++i)
      if (live[i / columns]) out.push_back(values[i]);
    return out;
  }
  static std::vector<bool> below(const std::vector<double>& row_end, int64_t rows) {
    std::vector<bool> live(static_cast<std::size_t>(rows));
    for (std::size_t r = 0; r < live.size(); ++r) live[r] = static_cast<double>(r) < row_end[0];
    return live;
  }
  void expect_rows(const Golden& g, const std::string& name, const Tensor& got, const std::vector<bool>& live) {
    golden::expect_close(live_rows(golden::widened(ctx, got), live), live_rows(g.values(name), live),
                         golden::bounds_of(type()), name);
  }
  // The stored rows, with NaN in the rows that nothing may read.
  Tensor load_with_nan(const Golden& g, const std::string& name, const std::vector<bool>& live) {
    std::vector<double> values = g.values(name);
    const std::size_t columns = values.size() / live.size();
    for (std::size_t i = 0; i < values.size(); ++i)
      if (!live[i / columns]) values[i] = std::numeric_limits<double>::quiet_NaN();
    const auto rows = static_cast<int64_t>(live.size());
    return golden::rounded(ctx, values, {rows, static_cast<int64_t>(columns)}, type());
  }
};
INSTANTIATE_TEST_SUITE_P(Types, MoeGolden, ::testing::Values(DType::f32, DType::f64, DType::bf16), dtype_test_name);

TEST_P(MoeGolden, GatherRowsEqualsPytorch) {
  const Golden g(ctx, "gather_rows");
  const ops::RowIndex index = index_of(g);
  // Rows behind the last segment belong to nobody; pads below it are zero in forward.
  const std::vector<bool> written = below(golden::widened(ctx, index.row_end), index.rows);
  const Var x(g.load("x", type()), true);
  const Var y = ops::gather_rows(ctx, x, index);
  expect_rows(g, "y", y.value(), written);
  backward(y, g.load("dy", type()));
  g.expect("dx", x.grad(), type());
}

TEST_P(MoeGolden, WeightedGatherRowsEqualsPytorch) {
  const Golden g(ctx, "gather_rows");
  const ops::RowIndex index = index_of(g);
  const std::vector<bool> written = below(golden::widened(ctx, index.row_end), index.rows);
  const Var x(g.load("x", type()), true), weight(g.load("weight", accumulation()), true);
  const Var y = ops::gather_rows(ctx, x, index, weight);
  expect_rows(g, "y_weighted", y.value(), written);
  backward(y, g.load("dy", type()));
  g.expect("dx_weighted", x.grad(), type());
  g.expect("dweight", weight.grad(), type());
}

TEST_P(MoeGolden, CombineEqualsPytorch) {
  const Golden g(ctx, "combine");
  const ops::RowIndex index = index_of(g);
  std::vector<bool> live;
  for (const double token : golden::widened(ctx, index.row_token)) live.push_back(token >= 0);
  const Var y(load_with_nan(g, "y", live), true), weight(g.load("weight", accumulation()), true);
  const Var out = ops::combine(ctx, y, weight, {}, index);
  g.expect("out", out.value(), type());
  backward(out, g.load("dout", type()));
  // dy is zero in the pads below row_end.
  expect_rows(g, "dy", y.grad(), below(golden::widened(ctx, index.row_end), index.rows));
  g.expect("dweight", weight.grad(), type());
}

TEST_P(MoeGolden, CombineWithIdentityOverflowEqualsPytorch) {
  const Golden g(ctx, "combine");
  const ops::RowIndex index = index_of(g);
  const Var y(g.load("y", type()), true), weight(g.load("weight", accumulation()), true);
  const Var identity(g.load("identity", type()), true);
  const Var out = ops::combine(ctx, y, weight, identity, index);
  g.expect("out_identity", out.value(), type());
  backward(out, g.load("dout", type()));
  expect_rows(g, "dy", y.grad(), below(golden::widened(ctx, index.row_end), index.rows));
  g.expect("dweight_identity", weight.grad(), type());
  g.expect("didentity", identity.grad(), type());
}

TEST_P(MoeGolden, GroupedLinearEqualsPytorch) {
  const Golden g(ctx, "grouped_linear");
  ops::RowIndex index;
  index.seg_start = g.load("seg_start");
  index.seg_count = g.load("seg_count");
  index.rows = g.integer("rows");
  index.slots = g.integer("experts");
  std::vector<bool> live;
  for (const double flag : golden::widened(ctx, g.load("live"))) live.push_back(flag != 0);
  const Var x(load_with_nan(g, "x", live), true);
  Parameter& bank = parameter(g.load("w", type()));
  const Var y = ops::grouped_linear(ctx, x, bank, index, 0);
  expect_rows(g, "y", y.value(), live);
  backward(y, load_with_nan(g, "dy", live));
  expect_rows(g, "dx", x.grad(), live);
  g.expect("dw", bank.grad, type());
}

}  // namespace
}  // namespace sy
