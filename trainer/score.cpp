#include "trainer/score.h"

#include <algorithm>

#include "trainer/batch.h"
#include "trainer/generate.h"

namespace sy {

std::vector<ScoreWindow> sliding_windows(int64_t num_targets, int64_t seq_length, int64_t stride) {
  SY_CHECK(stride > 0 && stride <= seq_length, "stride {} of windows of {}", stride, seq_length);
  std::vector<ScoreWindow> windows;
  for (int64_t scored = 0; scored < num_targets;) {
    const int64_t end = std::min(num_targets, scored == 0 ? seq_length : scored + stride);
    windows.push_back({std::max<int64_t>(0, end - seq_length), scored, end});
    scored = end;
  }
  return windows;
}

namespace {

// Each target's own loss, row after row.
std::vector<double> token_losses(Context& ctx, Decoder& decoder, BatchBuilder& builder) {
  Batch batch = builder.build(ctx);
  batch.limit_capacity = false;
  const Tensor loss_T = ctx.empty({batch.sequences * batch.seq_length}, accumulation_dtype(decoder.options().dtype));
  LossSink sink(ctx);
  decoder.forward_loss(batch, sink, loss_T);
  std::vector<double> losses;
  dispatch_accumulation(loss_T.dtype(), [&]<class A>() {
    const std::vector<A> host = ctx.to_host<A>(loss_T);
    losses.assign(host.begin(), host.end());
  });
  return losses;
}

}  // namespace

std::vector<double> score_rows(Context& ctx, Decoder& decoder, int64_t num_rows, int64_t batch_size,
                               const std::function<ScoredRow(int64_t)>& row,
                               const std::function<void(int64_t)>& progress) {
  if (!can_generate(decoder))
    user_error(
        "this model's routing looks at other tokens (moe.allow_batch_dependent_routing), so the probability of a token "
        "given those before it is not defined");
  std::vector<double> sums;
  for (int64_t first = 0; first < num_rows; first += batch_size) {
    std::vector<ScoredRow> rows;
    std::size_t length = 0;
    for (int64_t i = first; i < std::min(num_rows, first + batch_size); ++i) {
      rows.push_back(row(i));
      SY_CHECK(rows.back().tokens.size() == rows.back().document_start.size() + 1, "row {} has no target per input", i);
      for (const int32_t id : rows.back().tokens)
        if (id < 0 || id >= decoder.config().vocab_size)
          user_error("token id {} of the text is outside model.vocab_size: {}", id, decoder.config().vocab_size);
      length = std::max(length, rows.back().document_start.size());
    }
    BatchBuilder builder(static_cast<int64_t>(length));
    for (const ScoredRow& r : rows) {
      std::vector<int32_t> tokens(r.tokens.begin(), r.tokens.end() - 1), targets(length, -1), start = r.document_start;
      std::copy(r.tokens.begin() + 1 + r.first_scored, r.tokens.end(), targets.begin() + r.first_scored);
      tokens.resize(length, 0);
      start.resize(length, 0);
      builder.add(tokens.data(), targets.data(), start.data(), first);
    }
    const std::vector<double> losses = token_losses(ctx, decoder, builder);
    for (std::size_t r = 0; r < rows.size(); ++r) {
      double sum = 0;
      for (std::size_t i = static_cast<std::size_t>(rows[r].first_scored); i < rows[r].document_start.size(); ++i)
        sum -= losses[r * length + i];
      sums.push_back(sum);
    }
    progress(static_cast<int64_t>(sums.size()));
  }
  return sums;
}

}  // namespace sy
