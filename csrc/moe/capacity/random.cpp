// Capacity in random token order (RTS): Kim et al. 2021, "Scalable and efficient MoE training" (arXiv 2109.10465).
//
// Tokens of a routing group claim places in an order drawn anew each step, keyed by (seed, step, sample, layer): no
// position is favoured, and the draw does not depend on the rank. Differs from the paper: nothing.
#include "csrc/core/launch.h"
#include "csrc/core/registry.h"
#include "csrc/moe/capacity_limit.h"
#include "kernels/moe/token_noise.h"

namespace sy::moe {
namespace {

class CapacityRandom final : public CapacityPolicy {
 public:
  struct Config : CapacityOptions {};
  CapacityRandom(const Config& c, const Build& b) : CapacityPolicy(c, b, kernels::CapacityOrder::kRandom) {}

 protected:
  Tensor priority(Context& ctx, const RouterInput& input, DType type) const override {
    Tensor rank = ctx.empty({input.tokens()}, type);
    dispatch_accumulation(type, [&]<class A>() {
      SY_LAUNCH(ctx, token_noise,
                (kernels::TokenNoise<A>{.noise = rank.data<A>(),
                                        .sample_id = input.sample_id_B.data<int64_t>(),
                                        .state = ctx.step_state(),
                                        .tokens = input.tokens(),
                                        .columns = 1,
                                        .seq_length = input.seq_length,
                                        .layer = static_cast<uint32_t>(input.layer),
                                        .purpose = RngPurpose::kCapacityOrder,
                                        .kind = kernels::NoiseKind::kUniform}));
    });
    return rank;
  }
};

void describe(CapacityRandom::Config& c, Fields& f) { describe(static_cast<CapacityOptions&>(c), f); }

SY_REGISTER(Capacity, CapacityRandom, "random", "places go to tokens in a random order (random token selection)")

}  // namespace
}  // namespace sy::moe
