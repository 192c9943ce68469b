// Hash routing: Roller, Sukhbaatar, Szlam, Weston 2021, "Hash layers for large sparse models" (arXiv 2106.04426).
//
//   e(t) = table[token id of t];  y = FFN_e(x);  nothing is learned in the router, every weight is 1.
// The table is drawn once from (seed, layer) and saved with checkpoints. With num_experts_per_tok = m > 1 there are m
// tables, and a token goes to m experts (distinct within a token) with weight 1/m each.
//
// Differs from the paper: the balanced table is balanced over token ids, not over corpus frequencies; MultiHash slices
// of one expert's width are expressed as m whole experts averaged.
#include <algorithm>
#include <numeric>

#include "csrc/core/launch.h"
#include "csrc/core/registry.h"
#include "csrc/moe/routing.h"
#include "kernels/dense/elementwise.h"
#include "kernels/moe/table_select.h"
#include "kernels/philox.h"

namespace sy::moe {
namespace {

class Hash final : public Router {
 public:
  struct Config {
    bool balanced = true;
  };

  Hash(const Config& c, const Build& b)
      : experts_(b.num_experts),
        per_token_(b.num_experts_per_tok),
        name_(b.prefix + ".hash_table"),
        accumulation_(accumulation_dtype(b.parameters->dtype())) {
    Context& ctx = b.parameters->context();
    table_ = ctx.empty({b.vocab_size, per_token_}, DType::i32, MemoryKind::parameters);
    if (ctx.device() == DeviceType::meta) return;  // sorting a large vocabulary in every layer takes seconds
    std::vector<int32_t> table(static_cast<std::size_t>(b.vocab_size * per_token_));
    const Philox stream = Philox::keyed(b.seed, 0, 0, static_cast<uint32_t>(b.layer), RngPurpose::kRouterSelect);
    if (c.balanced) {
      // A seeded permutation of the vocabulary dealt out in turn: no expert has two more ids than another.
      std::vector<int64_t> order(static_cast<std::size_t>(b.vocab_size));
      std::iota(order.begin(), order.end(), 0);
      std::vector<double> key(order.size());
      for (std::size_t i = 0; i < key.size(); ++i) key[i] = stream.uniform(i);
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t z) {
        return key[static_cast<std::size_t>(a)] < key[static_cast<std::size_t>(z)];
      });
      for (std::size_t i = 0; i < order.size(); ++i) fill_row(table, order[i], static_cast<int64_t>(i) % experts_);
    } else {
      for (int64_t v = 0; v < b.vocab_size; ++v)
        fill_row(table, v,
                 static_cast<int64_t>(stream.uniform(static_cast<uint64_t>(v)) * static_cast<double>(experts_)));
    }
    ctx.copy_from_host(table_, table.data());
  }

  Scores score(Context&, const RouterInput&) const override { return {}; }
  Assignment select(Context& ctx, const RouterInput& input, const Scores&) const override {
    Assignment a;
    a.token_N = ctx.empty({input.tokens() * per_token_}, DType::i32);
    a.expert_N = ctx.empty({input.tokens() * per_token_}, DType::i32);
    a.per_token = per_token_;
    SY_LAUNCH(ctx, table_select,
              (kernels::TableSelect{.token_id = input.token_id_T.data<int32_t>(),
                                    .table = table_.data<int32_t>(),
                                    .token = a.token_N.data<int32_t>(),
                                    .expert = a.expert_N.data<int32_t>(),
                                    .tokens = input.tokens(),
                                    .per_token = per_token_,
                                    .vocab = table_.dim(0)}));
    return a;
  }
  Var weigh(Context& ctx, const Scores&, const Assignment& a, const Tensor&) const override {
    if (per_token_ == 1) return {};
    Tensor w = ctx.empty(a.token_N.shape(), accumulation_);
    dispatch_accumulation(accumulation_, [&]<class A>() {
      SY_LAUNCH(
          ctx, fill,
          (kernels::Fill<A>{.y = w.data<A>(), .count = w.count(), .value = 1.0 / static_cast<double>(per_token_)}));
    });
    return Var(w);
  }
  Var balance_probability(Context&, const Scores&) const override { return {}; }
  double assignments_per_token() const override { return static_cast<double>(per_token_); }
  int64_t max_assignments(int64_t tokens, int64_t) const override { return tokens * per_token_; }
  std::vector<StateTensor> state() override { return {{name_, table_}}; }

 private:
  void fill_row(std::vector<int32_t>& table, int64_t id, int64_t first) const {
    for (int64_t j = 0; j < per_token_; ++j) {
      const int64_t stride = std::max<int64_t>(1, experts_ / per_token_);
      table[static_cast<std::size_t>(id * per_token_ + j)] = static_cast<int32_t>((first + j * stride) % experts_);
    }
  }

  int64_t experts_, per_token_;
  std::string name_;
  DType accumulation_;
  Tensor table_;
};

void describe(Hash::Config& c, Fields& f) {
  f.field("balanced", c.balanced, "deal token ids out evenly; false: draw each id's expert independently");
}

SY_REGISTER(Router, Hash, "hash", "the token id decides the expert; nothing is learned (Hash layers)")

}  // namespace
}  // namespace sy::moe
