// Every method of configs/methods and its variants inside a small decoder: recomputation, state, determinism, learning.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/conformance/method_cases.h"
#include "trainer/session.h"
#include "trainer/train_step.h"

namespace sy::test {
namespace {

// A model with its optimizer, stepping over fixed samples.
class TinyRun {
 public:
  explicit TinyRun(const Config& config) : config_(config), ctx_(config.device.type), decoder_(make_decoder()) {
    decoder_.parameters().make_training_buffers();
    decoder_.parameters().initialise(static_cast<uint64_t>(config_.train.seed));
    optimizer_ = std::make_unique<Optimizer>(ctx_, decoder_, config_.optimizer);
    step_ = std::make_unique<TrainStep>(ctx_, decoder_, *optimizer_, config_.train.seq_length);
  }

  StepReport step() {
    const TrainConfig& t = config_.train;
    ++steps_done_;
    return step_->run(steps_done_, 0.01, steps_done_ * t.global_batch_size, t.global_batch_size / t.micro_batch_size,
                      [&](int64_t wave, BatchBuilder& builder) {
                        for (int64_t i = 0; i < t.micro_batch_size; ++i) add_sample(builder, wave * 2 + i);
                      });
  }

  // Everything that a checkpoint holds, as bytes.
  std::vector<std::vector<char>> memory() {
    std::vector<std::vector<char>> all;
    for (const Tensor& t : tensors()) {
      all.emplace_back(static_cast<std::size_t>(t.bytes()));
      ctx_.copy_to_host(all.back().data(), t);
    }
    return all;
  }
  void restore(const std::vector<std::vector<char>>& memory, int64_t steps_done) {
    const std::vector<Tensor> all = tensors();
    ASSERT_EQ(all.size(), memory.size());
    for (std::size_t i = 0; i < all.size(); ++i) ctx_.copy_from_host(all[i], memory[i].data());
    steps_done_ = steps_done;
  }
  std::vector<double> gradients() {
    std::vector<double> all;
    for (const ParameterBucket& bucket : decoder_.parameters().buckets())
      dispatch_accumulation(bucket.grad.dtype(), [&]<class A>() {
        const std::vector<A> values = ctx_.to_host<A>(bucket.grad);
        all.insert(all.end(), values.begin(), values.end());
      });
    return all;
  }
  Decoder& decoder() { return decoder_; }
  // Random numbers of the steps, as a checkpoint's config would restore them.
  void use_seed_of(const TinyRun& other) { ctx_.host_step_state.seed = other.ctx_.host_step_state.seed; }

 private:
  Decoder make_decoder() {
    ctx_.host_step_state.seed = static_cast<uint64_t>(config_.train.seed);
    return Decoder(ctx_, config_.model, config_.moe,
                   {.dtype = training_dtype(config_.train.dtype),
                    .seed = static_cast<uint64_t>(config_.train.seed),
                    .recompute = config_.train.recompute == Recompute::kFull});
  }
  // A walk over the vocabulary whose stride depends on the sample: learnable, and different tokens in every sample.
  void add_sample(BatchBuilder& builder, int64_t sample) const {
    const auto length = static_cast<std::size_t>(config_.train.seq_length);
    std::vector<int32_t> tokens(length + 1), start(length, 0);
    for (std::size_t i = 0; i < tokens.size(); ++i)
      tokens[i] =
          static_cast<int32_t>((3 * sample + static_cast<int64_t>(i) * (2 * sample + 1)) % config_.model.vocab_size);
    builder.add(tokens.data(), tokens.data() + 1, start.data(), sample);
  }
  std::vector<Tensor> tensors() {
    std::vector<Tensor> all;
    for (const ParameterBucket& bucket : decoder_.parameters().buckets()) {
      all.push_back(bucket.value);
      if (bucket.master.defined()) all.push_back(bucket.master);
    }
    for (const auto& moment : optimizer_->moments()) {
      all.push_back(moment.m);
      all.push_back(moment.v);
    }
    for (const moe::StateTensor& s : decoder_.state()) all.push_back(s.tensor);
    return all;
  }

  Config config_;
  Context ctx_;
  Decoder decoder_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<TrainStep> step_;
  int64_t steps_done_ = 0;
};

class DecoderConformance : public testing::TestWithParam<MethodCase> {};

TEST_P(DecoderConformance, RecomputationChangesNoBit) {
  TinyRun kept(GetParam().tiny_config()), recomputed(GetParam().tiny_config({"train.recompute=full"}));
  for (int step = 0; step < 2; ++step) {
    const StepReport a = kept.step(), b = recomputed.step();
    EXPECT_EQ(a.lm_loss, b.lm_loss);
    EXPECT_EQ(a.extra_losses, b.extra_losses);
    EXPECT_EQ(a.grad_norm, b.grad_norm);
    ASSERT_EQ(a.moe.size(), b.moe.size());
    for (std::size_t i = 0; i < a.moe.size(); ++i) {
      EXPECT_EQ(a.moe[i].load, b.moe[i].load);
      EXPECT_EQ(a.moe[i].entropy, b.moe[i].entropy);
      EXPECT_EQ(a.moe[i].dropped_fraction, b.moe[i].dropped_fraction);
    }
    EXPECT_EQ(kept.gradients(), recomputed.gradients());
  }
  EXPECT_EQ(kept.memory(), recomputed.memory());
}

TEST_P(DecoderConformance, ParametersMomentsAndStateAreAllThatARunRemembers) {
  TinyRun whole(GetParam().tiny_config());
  whole.step();
  whole.step();
  TinyRun resumed(GetParam().tiny_config({"train.seed=99"}));  // whatever is not restored differs
  resumed.restore(whole.memory(), 2);
  resumed.use_seed_of(whole);
  const StepReport a = whole.step(), b = resumed.step();
  EXPECT_EQ(a.lm_loss, b.lm_loss);
  EXPECT_EQ(a.extra_losses, b.extra_losses);
  EXPECT_EQ(whole.memory(), resumed.memory());
}

TEST_P(DecoderConformance, StateTensorsHaveNamesOfTheirOwn) {
  TinyRun run(GetParam().tiny_config());
  std::vector<std::string> names;
  for (const moe::StateTensor& s : run.decoder().state()) names.push_back(s.name);
  for (const Parameter& p : run.decoder().parameters().all()) names.push_back(p.name);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST_P(DecoderConformance, TwentyStepsLearnFourSequences) {
  TinyRun run(GetParam().tiny_config());
  const double first = run.step().lm_loss;
  double last = first;
  for (int step = 1; step < 20; ++step) {
    const StepReport report = run.step();
    ASSERT_FALSE(report.skipped) << "step " << step + 1;
    last = report.lm_loss;
    for (const auto& [name, value] : report.extra_losses) ASSERT_TRUE(std::isfinite(value)) << name;
  }
  EXPECT_LT(last, 0.8 * first);
}

INSTANTIATE_TEST_SUITE_P(Methods, DecoderConformance, testing::ValuesIn(method_cases()),
                         [](const auto& info) { return info.param.label(); });

}  // namespace
}  // namespace sy::test
