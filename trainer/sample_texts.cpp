#include "trainer/sample_texts.h"

#include <algorithm>

#include "trainer/batch.h"

namespace sy {

void describe(SampleConfig& c, Fields& f) {
  f.field("sample_data_path", c.data_path,
          "corpora on which methods that look at data watch the inputs, each a text of its own");
  f.field("sample_tokens", c.tokens, "at most this many tokens of each, in whole windows, and at least one window",
          {.min = 1, .active = !c.data_path.empty(), .active_when = "sample_data_path is given"});
}

void for_each_window(TrainedModel& model, const SampleConfig& samples, const SeeWindow& see) {
  DataConfig data = model.config.data;
  data.data_path = data.train_data_path = data.test_data_path = {};
  data.valid_data_path = samples.data_path;
  const int64_t length = model.config.train.seq_length;
  model.ctx->host_step_state.inv_loss_tokens = 1;
  model.ctx->upload_step_state();
  std::vector<int32_t> tokens(static_cast<size_t>(length)), targets(tokens.size()), start(tokens.size());
  const auto sets = open_eval_data(data, Split::kValid, length, model.config.model.vocab_size);
  for (size_t text = 0; text < sets.size(); ++text) {
    const int64_t windows = std::min(sets[text]->num_windows(), std::max<int64_t>(1, samples.tokens / length));
    for (int64_t w = 0; w < windows; ++w) {
      sets[text]->window(w, tokens.data(), targets.data(), start.data());
      BatchBuilder builder(length);
      builder.add(tokens.data(), targets.data(), start.data(), w);
      see(text, builder.build(*model.ctx), targets);
    }
  }
}

}  // namespace sy
