#include "trainer/perplexity.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "trainer/score.h"

namespace sy {

TokenStream read_stream(const std::string& path, const TokenizeOptions& options, const Tokenizer& tokenizer) {
  // The token before the first document is a document of its own, as one before any other document belongs to another.
  TokenStream stream{.tokens = {tokenizer.eod_id()}, .document_begin = {0}};
  read_documents(
      path, options,
      [&](std::string_view text) {
        if (text.empty()) return;
        stream.document_begin.push_back(std::ssize(stream.tokens));
        tokenizer.encode_append(text, stream.tokens);
        stream.tokens.push_back(tokenizer.eod_id());
        ++stream.num_documents;
        stream.text_bytes += std::ssize(text);
      },
      [](int64_t) {});
  if (stream.num_documents == 0) user_error("{}: there is no text to score", path);
  return stream;
}

PerplexityReport perplexity(Context& ctx, Decoder& decoder, const TokenStream& stream, const PerplexityOptions& o) {
  const int64_t num_targets = std::ssize(stream.tokens) - 1;
  const std::vector<ScoreWindow> windows = sliding_windows(num_targets, o.seq_length, o.stride);
  const auto row = [&](int64_t i) {
    const ScoreWindow& w = windows[static_cast<std::size_t>(i)];
    ScoredRow r{.tokens = {stream.tokens.begin() + w.begin, stream.tokens.begin() + w.end + 1},
                .document_start = std::vector<int32_t>(static_cast<std::size_t>(w.end - w.begin), 0),
                .first_scored = w.first_scored - w.begin};
    if (!o.reset_attention_mask) return r;
    auto begin = std::upper_bound(stream.document_begin.begin(), stream.document_begin.end(), w.begin);
    for (; begin != stream.document_begin.end() && *begin < w.end; ++begin)
      std::fill(r.document_start.begin() + (*begin - w.begin), r.document_start.end(),
                static_cast<int32_t>(*begin - w.begin));
    return r;
  };
  const std::vector<double> log_probs =
      score_rows(ctx, decoder, std::ssize(windows), o.batch_size, row,
                 [&](int64_t done) { o.progress(windows[static_cast<std::size_t>(done) - 1].end, num_targets); });
  const double nats = -std::accumulate(log_probs.begin(), log_probs.end(), 0.0);
  PerplexityReport report;
  report.num_tokens = num_targets;
  report.loss = nats / static_cast<double>(num_targets);
  report.perplexity = std::exp(report.loss);
  report.bits_per_byte = nats / std::numbers::ln2 / static_cast<double>(stream.text_bytes);
  return report;
}

}  // namespace sy
