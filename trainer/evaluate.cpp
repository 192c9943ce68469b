#include "trainer/evaluate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "parallel/mesh.h"
#include "trainer/batch.h"

namespace sy {

namespace {

// Bytes of text that a target stands for, by token id.
std::vector<int64_t> bytes_per_token(const Tokenizer& tokenizer) {
  std::vector<int64_t> bytes(static_cast<std::size_t>(tokenizer.vocab_size()));
  for (std::size_t id = 0; id < bytes.size(); ++id) bytes[id] = tokenizer.token_bytes(static_cast<int32_t>(id));
  return bytes;
}

}  // namespace

EvalReport evaluate(Context& ctx, Decoder& decoder, const std::vector<std::unique_ptr<EvalDataset>>& sets,
                    const Tokenizer& tokenizer, int64_t seq_length, int64_t micro_batch_size, int64_t max_windows) {
  struct Window {
    const EvalDataset* set;
    int64_t index;
  };
  std::vector<Window> windows;
  for (const auto& set : sets)
    for (int64_t i = 0; i < set->num_windows(); ++i) windows.push_back({set.get(), i});
  if (max_windows > 0 && static_cast<int64_t>(windows.size()) > max_windows)
    windows.resize(static_cast<std::size_t>(max_windows));

  // Losses are summed undivided here: the denominator is known only at the end.
  const StepState saved = ctx.host_step_state;
  ctx.host_step_state.inv_loss_tokens = 1.0;
  ctx.upload_step_state();
  const std::vector<int64_t> token_bytes = bytes_per_token(tokenizer);
  LossSink sink(ctx);
  int64_t sums[2] = {0, 0};  // tokens, bytes
  const auto count = static_cast<int64_t>(windows.size());
  std::vector<int32_t> tokens(static_cast<std::size_t>(seq_length)), targets(tokens.size()), start(tokens.size());
  const int64_t ranks = ctx.mesh == nullptr ? 1 : ctx.mesh->data().size();
  const int64_t rank = ctx.mesh == nullptr ? 0 : ctx.mesh->data_rank();
  const int64_t wave = ranks * micro_batch_size;
  for (int64_t first = 0; first < count; first += wave) {
    const int64_t begin = first + rank * micro_batch_size;
    BatchBuilder builder(seq_length);
    for (int64_t i = begin; i < std::min(count, begin + micro_batch_size); ++i) {
      const Window& w = windows[static_cast<std::size_t>(i)];
      w.set->window(w.index, tokens.data(), targets.data(), start.data());
      for (const int32_t target : targets)
        if (target >= 0) sums[1] += token_bytes.at(static_cast<std::size_t>(target));
      builder.add(tokens.data(), targets.data(), start.data(), i);
    }
    sums[0] += builder.num_targets();
    // A rank for which nothing is left in the last wave scores nothing, but takes part: ranks may share experts.
    if (begin >= count) {
      std::fill(tokens.begin(), tokens.end(), 0);
      std::fill(targets.begin(), targets.end(), -1);
      std::fill(start.begin(), start.end(), 0);
      builder.add(tokens.data(), targets.data(), start.data(), 0);
    }
    decoder.forward_loss(builder.build(ctx), sink);
  }
  double loss = ctx.to_host<double>(sink.slot("lm_loss"))[0];
  if (ctx.mesh != nullptr) {
    ctx.mesh->data().all_reduce_sum(std::span<double>(&loss, 1));
    ctx.mesh->data().all_reduce_sum(std::span<int64_t>(sums));
  }
  ctx.host_step_state = saved;
  ctx.upload_step_state();

  EvalReport report;
  report.tokens = sums[0];
  report.loss = loss / static_cast<double>(std::max<int64_t>(1, sums[0]));
  report.bits_per_byte = loss / std::numbers::ln2 / static_cast<double>(std::max<int64_t>(1, sums[1]));
  return report;
}

}  // namespace sy
