// Recomputation: a region with an MoE layer inside gives the same bits as without, keeps no activations, replays its
// routing, and adds losses and counts once.
#include "csrc/autograd/checkpoint.h"

#include <gtest/gtest.h>

#include <map>

#include "csrc/moe/capacity_limit.h"
#include "csrc/moe/layer.h"
#include "kernels/philox.h"

namespace sy {
namespace {

// A router that never decides the same way twice: run again without replay, it sends every token elsewhere.
class Restless final : public moe::Router {
 public:
  struct Config {};
  Restless(const Config&, const Build& b)
      : gate_(b.parameters->add(b.prefix + ".gate.weight", {b.num_experts, b.hidden_size}, {})) {}

  moe::Scores score(Context& ctx, const moe::RouterInput& input) const override {
    moe::Scores s;
    s.logits_TE = ops::linear(ctx, input.x_TD, gate_);
    s.score_TE = ops::router_scores(ctx, s.logits_TE, kernels::ScoreLink::kSoftmax);
    return s;
  }
  moe::Assignment select(Context& ctx, const moe::RouterInput& input, const moe::Scores& s) const override {
    const auto experts = static_cast<int32_t>(s.score_TE.dim(1));
    std::vector<int32_t> token, expert;
    for (int32_t t = 0; t < static_cast<int32_t>(input.tokens()); ++t)
      for (int32_t k = 0; k < 2; ++k) {
        token.push_back(t);
        expert.push_back((t + k + selections) % experts);
      }
    ++selections;
    const auto count = static_cast<int64_t>(token.size());
    return {ctx.from_host<int32_t>(token, {count}, MemoryKind::activations),
            ctx.from_host<int32_t>(expert, {count}, MemoryKind::activations),
            {},
            2};
  }
  Var weigh(Context& ctx, const moe::Scores& s, const moe::Assignment& a, const Tensor& active) const override {
    return ops::gate_weight(ctx, s.score_TE, a.token_N, a.expert_N, active,
                            {.mode = kernels::GateWeightMode::kRenormalised, .per_token = 2});
  }
  double assignments_per_token() const override { return 2; }
  int64_t max_assignments(int64_t tokens, int64_t) const override { return 2 * tokens; }

  static inline int32_t selections = 0;

 private:
  Parameter& gate_;
};
void describe(Restless::Config&, Fields&) {}
SY_REGISTER(moe::Router, Restless, "test_restless", "for this test: another expert each time it is asked")

// Half of what is asked for: many entries are dropped and leave the weights' normalisation.
class Tight final : public moe::CapacityPolicy {
 public:
  struct Config : moe::CapacityOptions {
    Config() { factor = 0.5, renormalise_after_drop = true; }
  };
  Tight(const Config& c, const Build& b) : CapacityPolicy(c, b, kernels::CapacityOrder::kPosition) {}
};
void describe(Tight::Config&, Fields&) {}
SY_REGISTER(moe::Capacity, Tight, "test_tight", "for this test: drops half of the assignments")

// Exactly what balanced routing asks for: entries move to other experts.
class Moving final : public moe::CapacityPolicy {
 public:
  struct Config : moe::CapacityOptions {
    Config() { factor = 1.0, overflow = moe::Overflow::kNextChoice; }
  };
  Moving(const Config& c, const Build& b) : CapacityPolicy(c, b, kernels::CapacityOrder::kPosition) {}
};
void describe(Moving::Config&, Fields&) {}
SY_REGISTER(moe::Capacity, Moving, "test_moving", "for this test: moves entries to experts with room")

constexpr int64_t kTokens = 24, kHidden = 8, kExperts = 4;

// One context with a region: norm -> MoE layer -> add -> linear.
struct Region {
  explicit Region(const std::string& router, const std::string& capacity) {
    moe::MoeChoices choices;
    EXPECT_TRUE(choices.router.select(router));
    EXPECT_TRUE(choices.capacity.select(capacity));
    for (const char* loss : {"load_balancing", "z_loss", "entropy", "squared_cv"})
      EXPECT_TRUE(choices.balance.append().select(loss)) << loss;
    const InitSpec init{InitKind::kNormal, 0.5};
    norm = &parameters.add("norm", {kHidden}, {InitKind::kOnes});
    out = &parameters.add("out", {kHidden, kHidden}, init);
    layer = std::make_unique<moe::MoeLayer>(
        choices,
        moe::MoeLayerPlan{.expert_intermediate_sizes = std::vector<int64_t>(kExperts, 6),
                          .num_experts_per_tok = 2,
                          .shared_expert_intermediate_size = 4},
        moe::LayerBuild{
            .parameters = &parameters, .prefix = "mlp", .hidden_size = kHidden, .initializer_range = 0.5, .seed = 5});
    parameters.initialise(5);
    parameters.make_training_buffers();
    ctx.host_step_state.inv_batch_tokens = 1.0 / kTokens;
    ctx.upload_step_state();
    ctx.training = true;
    sample_id = ctx.from_host<int64_t>(std::vector<int64_t>{3, 9}, {2}, MemoryKind::data);
  }

  Tensor random(uint64_t seed) {
    Tensor t = ctx.empty({kTokens, kHidden}, DType::f32, MemoryKind::data);
    const Philox stream = Philox::keyed(seed, 0, 0, 0, RngPurpose::kTest);
    for (int64_t i = 0; i < t.count(); ++i)
      t.data<float>()[i] = static_cast<float>(stream.normal(static_cast<uint64_t>(i)));
    return t;
  }
  Var body(Context& c, const Var& x) {
    ++bodies_run;
    const moe::RouterInput input{.x_TD = ops::rms_norm(c, x, *norm, 1e-6),
                                 .token_id_T = {},
                                 .sample_id_B = sample_id,
                                 .sequences = 2,
                                 .seq_length = kTokens / 2};
    return ops::linear(c, ops::add(c, x, layer->forward(c, input, sink)), *out);
  }
  // Two regions over one layer, forward and backward.
  void step(const std::function<Var(Context&, const Var&, const std::function<Var(Context&, const Var&)>&)>& run) {
    const auto fn = [this](Context& c, const Var& v) { return body(c, v); };
    Tape tape;
    ctx.tape = &tape;
    const Var x(random(1), true);
    const Var middle = run(ctx, x, fn), y = run(ctx, middle, fn);
    values["y"] = ctx.to_host<float>(y.value());
    live_after_forward = ctx.allocator().use().live_bytes[static_cast<int>(MemoryKind::activations)];
    y.set_grad(random(2));
    tape.backward();
    ctx.tape = nullptr;
    EXPECT_EQ(ctx.replay, nullptr);
    values["dx"] = ctx.to_host<float>(x.grad());
    for (const Parameter& p : parameters.all()) values["d" + p.name] = ctx.to_host<float>(p.grad);
    losses = ctx.to_host<double>(sink.totals());
    losses.push_back(ctx.to_host<double>(layer->stats().entropy)[0]);
    demand = ctx.to_host<int64_t>(layer->stats().demand_E);
    kept = ctx.to_host<int64_t>(layer->stats().kept_E);
  }

  Context ctx{DeviceType::cpu};
  ParameterList parameters{ctx, DType::f32};
  LossSink sink{ctx};
  Parameter *norm = nullptr, *out = nullptr;
  std::unique_ptr<moe::MoeLayer> layer;
  Tensor sample_id;
  int bodies_run = 0;
  int64_t live_after_forward = 0;
  std::map<std::string, std::vector<float>> values;
  std::vector<double> losses;
  std::vector<int64_t> demand, kept;
};

using Body = std::function<Var(Context&, const Var&)>;
Var plain(Context& ctx, const Var& x, const Body& fn) { return fn(ctx, x); }
Var recomputed(Context& ctx, const Var& x, const Body& fn) { return checkpoint(ctx, x, fn); }
Var nested(Context& ctx, const Var& x, const Body& fn) {
  return checkpoint(ctx, x, [fn](Context& c, const Var& v) { return checkpoint(c, v, fn); });
}

struct Choice {
  const char *router, *capacity;
};
class Checkpoint : public ::testing::TestWithParam<Choice> {
 protected:
  static void expect_equal(const Region& a, const Region& b) {
    for (const auto& [name, values] : a.values) EXPECT_EQ(values, b.values.at(name)) << name;
    EXPECT_EQ(a.losses, b.losses);
    EXPECT_EQ(a.demand, b.demand);
    EXPECT_EQ(a.kept, b.kept);
  }
  static Region region() { return Region(GetParam().router, GetParam().capacity); }
};
INSTANTIATE_TEST_SUITE_P(Layers, Checkpoint,
                         ::testing::Values(Choice{"softmax_topk", "dropless"}, Choice{"softmax_topk", "test_tight"},
                                           Choice{"softmax_topk", "test_moving"}, Choice{"test_restless", "dropless"},
                                           Choice{"test_restless", "test_tight"}),
                         [](const auto& info) { return std::string(info.param.router) + "_" + info.param.capacity; });

TEST_P(Checkpoint, GivesTheSameBitsLossesAndCountsAsWithout) {
  Restless::selections = 0;
  Region without = region();
  without.step(plain);
  Restless::selections = 0;
  Region with = region();
  with.step(recomputed);
  EXPECT_EQ(without.bodies_run, 2);
  EXPECT_EQ(with.bodies_run, 4) << "each region again in backward";
  expect_equal(without, with);
  for (const auto& [name, values] : with.values) {
    double largest = 0;
    for (const float v : values) largest = std::max(largest, std::abs(static_cast<double>(v)));
    EXPECT_GT(largest, 0) << name << " is zero: nothing was compared";
  }
  int64_t total = 0;
  for (const int64_t n : with.demand) total += n;
  EXPECT_EQ(total, 2 * kTokens * 2) << "two regions of top-2, each counted once";
  EXPECT_EQ(with.kept == with.demand, std::string(GetParam().capacity) == "dropless");
  EXPECT_LT(with.live_after_forward, without.live_after_forward / 2) << "activations were kept";
}

TEST_P(Checkpoint, InsideAnotherRegionGivesTheSameBits) {
  Restless::selections = 0;
  Region without = region();
  without.step(plain);
  Restless::selections = 0;
  Region with = region();
  with.step(nested);
  expect_equal(without, with);
}

TEST(CheckpointRouting, IsDecidedOncePerRegion) {
  Restless::selections = 0;
  Region region("test_restless", "dropless");
  region.step(recomputed);
  EXPECT_EQ(Restless::selections, 2);
}

TEST(CheckpointRegion, WhoseResultIsNotUsedStillGivesTheGradientsOfItsLosses) {
  Region region("softmax_topk", "dropless");
  Tape tape;
  region.ctx.tape = &tape;
  const Var x(region.random(1), true);
  checkpoint(region.ctx, x, [&](Context& c, const Var& v) { return region.body(c, v); });
  tape.backward();
  region.ctx.tape = nullptr;
  ASSERT_TRUE(x.grad().defined());
  double gate = 0;
  for (const float v : region.ctx.to_host<float>(region.parameters.find("mlp.gate.weight")->grad))
    gate = std::max(gate, std::abs(static_cast<double>(v)));
  EXPECT_GT(gate, 0);
}

TEST(CheckpointRegion, WithoutATapeIsTheFunction) {
  Region region("softmax_topk", "dropless");
  const Var x(region.random(1), true);
  const Var y = checkpoint(region.ctx, x, [&](Context& c, const Var& v) { return region.body(c, v); });
  EXPECT_EQ(region.bodies_run, 1);
  EXPECT_FALSE(y.requires_grad());
}

TEST(CheckpointRegion, RefusesTheHeadLossWhichWouldAddTwice) {
  Region region("softmax_topk", "dropless");
  Tape tape;
  region.ctx.tape = &tape;
  const Tensor target = region.ctx.zeros({kTokens}, DType::i32);
  EXPECT_THROW(checkpoint(region.ctx, Var(region.random(1), true),
                          [&](Context& c, const Var& v) {
                            ops::fused_cross_entropy(c, v, *region.out, target, kHidden, region.sink.slot("lm_loss"));
                            return v;
                          }),
               Error);
}

}  // namespace
}  // namespace sy
