// Switch routing: Fedus, Zoph, Shazeer 2021 (arXiv 2101.03961).
//
//   l = W (x * jitter);  P = softmax(l);  e = argmax P;  y = P_e FFN_e(x)
// The weight is the raw probability, so that the router still gets a gradient with one expert per token. jitter is
// uniform in (1 - eps, 1 + eps), element by element, in training only, and touches the router's copy of x alone.
// Router weights start as a normal of standard deviation sqrt(init_scale / D) cut at two deviations.
//
// Differs from the paper: expert dropout is not part of the router. Capacity is chosen under moe.capacity (the paper:
// position, factor 1.25).
#include <cmath>

#include "csrc/core/launch.h"
#include "csrc/core/registry.h"
#include "csrc/moe/linear_router.h"
#include "csrc/moe/select.h"
#include "kernels/moe/token_noise.h"

namespace sy::moe {
namespace {

Tensor jittered(Context& ctx, const Tensor& x, const RouterInput& input, double epsilon) {
  Tensor y = ctx.empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), [&]<class T>() {
    SY_LAUNCH(ctx, input_jitter,
              (kernels::InputJitter<T>{.x = x.data<T>(),
                                       .y = y.data<T>(),
                                       .sample_id = input.sample_id_B.data<int64_t>(),
                                       .state = ctx.step_state(),
                                       .tokens = x.dim(0),
                                       .columns = x.dim(1),
                                       .seq_length = input.seq_length,
                                       .first_token = input.first_token,
                                       .layer = static_cast<uint32_t>(input.layer),
                                       .epsilon = epsilon}));
  });
  return y;
}

class SwitchTop1 final : public Router {
 public:
  struct Config {
    double jitter_eps = 0.01;
    double init_scale = 0.1;
  };

  SwitchTop1(const Config& c, const Build& b)
      : config_(c),
        scorer_(b, {InitKind::kTruncatedNormal, std::sqrt(c.init_scale / static_cast<double>(b.hidden_size))}) {
    if (b.num_experts_per_tok != 1)
      user_error("moe.router: switch_top1 sends each token to one expert; set moe.num_experts_per_tok: 1 (it is {})",
                 b.num_experts_per_tok);
  }

  Scores score(Context& ctx, const RouterInput& input) const override {
    Scores s;
    s.logits_TE = scorer_.logits(ctx, ctx.training && config_.jitter_eps > 0 ? jitter(ctx, input) : input.x_TD);
    s.score_TE = ops::router_scores(ctx, s.logits_TE, kernels::ScoreLink::kSoftmax);
    return s;
  }
  Assignment select(Context& ctx, const RouterInput&, const Scores& s) const override {
    return topk_select(ctx, s.score_TE.value(), s.select_bias_E, {.k = 1});
  }
  Var weigh(Context& ctx, const Scores& s, const Assignment& a, const Tensor& active) const override {
    return ops::gate_weight(ctx, s.score_TE, a.token_N, a.expert_N, active, {});
  }
  bool reads_selection_bias() const override { return true; }
  double assignments_per_token() const override { return 1.0; }
  int64_t max_assignments(int64_t tokens, int64_t) const override { return tokens; }

 private:
  Var jitter(Context& ctx, const RouterInput& input) const {
    const bool record = needs_record(ctx, {&input.x_TD});
    const Var out(jittered(ctx, input.x_TD.value(), input, config_.jitter_eps), record);
    if (record)
      ctx.tape->record([&ctx, input, out, epsilon = config_.jitter_eps]() {
        const Tensor dy = out.take_grad();
        if (dy.defined()) input.x_TD.add_grad(ctx, jittered(ctx, dy, input, epsilon));
      });
    return out;
  }

  Config config_;
  LinearScorer scorer_;
};

void describe(SwitchTop1::Config& c, Fields& f) {
  f.field("jitter_eps", c.jitter_eps, "router input noise in training, uniform in (1-eps, 1+eps); 0: none",
          {.min = 0, .max = 1});
  f.field("init_scale", c.init_scale, "router weights start with standard deviation sqrt(init_scale / hidden_size)",
          {.min = 0});
}

SY_REGISTER(Router, SwitchTop1, "switch_top1", "one expert per token, weight = raw probability (Switch Transformer)")

}  // namespace
}  // namespace sy::moe
