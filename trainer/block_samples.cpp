#include "trainer/block_samples.h"

#include <utility>

namespace sy {

namespace {

using upcycling::LayerSamples;
using upcycling::SampleNeed;

// Adds the rows of `value` [T, D] whose token has a target, times `factor`.
void append_rows(Context& ctx, const Tensor& value, double factor, const std::vector<int32_t>& target_T,
                 std::vector<float>& rows_TD) {
  const std::vector<float> all = dispatch_float(value.dtype(), [&]<class T>() {
    std::vector<float> widened;
    for (const T x : ctx.to_host<T>(value)) widened.push_back(static_cast<float>(factor * static_cast<double>(x)));
    return widened;
  });
  const int64_t width = value.dim(1);
  for (size_t t = 0; t < target_T.size(); ++t)
    if (target_T[t] >= 0) {
      const auto row = all.begin() + static_cast<std::ptrdiff_t>(t) * width;
      rows_TD.insert(rows_TD.end(), row, row + width);
    }
}

class BlockWatch {
 public:
  BlockWatch(TrainedModel& model, SampleNeed need) : model_(model), ctx_(*model.ctx), need_(need), sink_(ctx_) {
    if (need == SampleNeed::kGradients) model.decoder->parameters().make_training_buffers();
  }

  // Adds to the samples of text `text` in every layer.
  void window(const Batch& batch, const std::vector<int32_t>& targets, size_t text, std::vector<LayerSamples>& layers) {
    size_t layer = 0;
    const auto see = [&](const std::string& part, const Var& h_TD) {
      if (part.ends_with(".self_attn"))
        append_rows(ctx_, block_input(layer, h_TD.value()), 1, targets, layers[layer][text].x_TD);
      if (!part.ends_with(".mlp")) return;
      // Recorded behind everything that reads h, so it runs when the gradient is complete. The block's output is added
      // to h, times the model's constant on residual branches.
      if (ctx_.tape != nullptr)
        ctx_.tape->record([this, h_TD, &targets, &dy_TD = layers[layer][text].dy_TD] {
          append_rows(ctx_, h_TD.grad(), model_.config.model.residual_multiplier, targets, dy_TD);
        });
      ++layer;
    };
    if (need_ == SampleNeed::kInputs) return model_.decoder->observe(batch, see);
    Tape tape;
    ctx_.tape = &tape;
    model_.decoder->forward_loss(batch, sink_, {}, see);
    tape.backward();
    ctx_.tape = nullptr;
  }

 private:
  Tensor block_input(size_t layer, const Tensor& h_TD) {
    Tape* const recording = std::exchange(ctx_.tape, nullptr);
    Parameter* const norm =
        model_.decoder->parameters().find(fmt::format("model.layers.{}.post_attention_layernorm.weight", layer));
    const Var x = ops::rms_norm(ctx_, Var(h_TD), *norm, model_.config.model.rms_norm_eps);
    ctx_.tape = recording;
    return x.value();
  }

  TrainedModel& model_;
  Context& ctx_;
  SampleNeed need_;
  LossSink sink_;
};

}  // namespace

std::vector<LayerSamples> block_samples(const StoredModel& stored, const SampleConfig& config, SampleNeed need) {
  TrainedModel model = load_trained_model(stored.reader().directory(), DeviceType::cpu);
  std::vector<LayerSamples> layers(static_cast<size_t>(model.config.model.num_hidden_layers),
                                   LayerSamples(config.data_path.size()));
  BlockWatch watch(model, need);
  for_each_window(model, config, [&](size_t text, const Batch& batch, const std::vector<int32_t>& targets) {
    watch.window(batch, targets, text, layers);
  });
  return layers;
}

}  // namespace sy
