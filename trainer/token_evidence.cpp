#include "trainer/token_evidence.h"

namespace sy {

using merging::SequenceEvidence;

std::vector<SequenceEvidence> token_evidence(std::span<const StoredModel> models, const SampleConfig& samples) {
  std::vector<SequenceEvidence> sequences;
  for (size_t m = 0; m < models.size(); ++m) {
    TrainedModel model = load_trained_model(models[m].reader().directory(), DeviceType::cpu);
    Context& ctx = *model.ctx;
    LossSink unused(ctx);
    size_t sequence = 0;
    for_each_window(model, samples, [&](size_t, const Batch& batch, const std::vector<int32_t>& targets) {
      const DType type = accumulation_dtype(training_dtype(model.config.train.dtype));
      const Tensor loss_T = ctx.empty({std::ssize(targets)}, type);
      model.decoder->forward_loss(batch, unused, loss_T);
      if (m == 0) sequences.emplace_back(models.size());
      std::vector<double>& log_probability = sequences.at(sequence++)[m];
      dispatch_accumulation(type, [&]<class A>() {
        const std::vector<A> loss = ctx.to_host<A>(loss_T);
        for (size_t t = 0; t < targets.size(); ++t)
          if (targets[t] >= 0) log_probability.push_back(-static_cast<double>(loss[t]));
      });
    });
  }
  return sequences;
}

}  // namespace sy
