#include "trainer/generate.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/philox.h"
#include "trainer/batch.h"
#include "trainer/trained_model.h"

namespace sy {

namespace {

// Row `row` of logits [rows, padded] as doubles, without the vocabulary padding.
std::vector<double> logits_row(Context& ctx, const Tensor& logits, int64_t row, int64_t vocab) {
  std::vector<double> values;
  dispatch_accumulation(logits.dtype(), [&]<class A>() {
    const std::vector<A> host = ctx.to_host<A>(logits.slice(row, row + 1));
    values.assign(host.begin(), host.begin() + vocab);
  });
  return values;
}

// Logits after the last token of `text`, recomputed from the beginning.
std::vector<double> uncached_logits(Context& ctx, Decoder& decoder, const std::vector<int32_t>& text, int64_t vocab) {
  const auto length = static_cast<int64_t>(text.size());
  const std::vector<int32_t> start(text.size(), 0), ignored(text.size(), -1);
  BatchBuilder builder(length);
  builder.add(text.data(), ignored.data(), start.data(), 0);
  return logits_row(ctx, decoder.logits(builder.build(ctx)), length - 1, vocab);
}

}  // namespace

bool can_generate(Decoder& decoder) {
  for (const auto& block : decoder.moe_layers())
    if (block.moe->needs_batch()) return false;
  return true;
}

int32_t sample_token(const std::vector<double>& logits, const SampleOptions& o, uint64_t prompt, uint64_t position) {
  const auto best = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  if (o.temperature <= 0) return best;
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto at = [&](int32_t id) { return logits[static_cast<std::size_t>(id)]; };
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return at(a) > at(b); });
  std::vector<double> weight;
  double total = 0;
  for (const int32_t id : order) total += weight.emplace_back(std::exp((at(id) - at(best)) / o.temperature));
  std::size_t kept = 0;
  double mass = 0;
  while (kept < weight.size() && (kept == 0 || mass < o.top_p * total)) mass += weight[kept++];
  double u = mass * Philox::keyed(o.seed, 0, prompt, 0, RngPurpose::kSampling).uniform(position);
  for (std::size_t i = 0; i < kept; ++i) {
    if (u < weight[i]) return order[i];
    u -= weight[i];
  }
  return order[kept - 1];
}

std::vector<std::vector<int32_t>> generate_tokens(Context& ctx, Decoder& decoder, int32_t eod_id,
                                                  const std::vector<std::vector<int32_t>>& prompts,
                                                  const SampleOptions& o) {
  if (!can_generate(decoder))
    user_error(
        "this model's routing looks at other tokens (moe.allow_batch_dependent_routing), so it cannot generate token "
        "by token");
  const std::size_t rows = prompts.size();
  std::vector<std::vector<int32_t>> texts = prompts, continuations(rows);
  std::size_t longest = 0;
  for (auto& text : texts) {
    if (text.empty()) text.push_back(eod_id);
    longest = std::max(longest, text.size());
  }
  const int64_t capacity = static_cast<int64_t>(longest) + o.max_new_tokens,
                vocab = o.vocab_size > 0 ? std::min(o.vocab_size, decoder.config().vocab_size)
                                         : decoder.config().vocab_size;
  if (capacity > decoder.config().max_position_embeddings)
    user_error(
        "{} prompt tokens and {} new ones exceed model.max_position_embeddings: {}; shorten the prompt or lower "
        "--max-new-tokens",
        longest, o.max_new_tokens, decoder.config().max_position_embeddings);
  for (const auto& text : texts)
    for (const int32_t id : text)
      if (id < 0 || id >= decoder.config().vocab_size)
        user_error("token id {} of the prompt is outside model.vocab_size: {}", id, decoder.config().vocab_size);
  Tape* const tape = std::exchange(ctx.tape, nullptr);
  DecodeCache cache = decoder.make_cache(static_cast<int64_t>(rows), capacity);
  std::vector<std::vector<double>> next(rows);
  std::vector<bool> done(rows, false);
  // Prompts differ in length: each is read by itself into its row of the cache, then all rows go on together.
  for (std::size_t r = 0; r < rows && o.use_cache; ++r) {
    const Tensor logits = decoder.decode(texts[r], {0}, cache, static_cast<int64_t>(r));
    next[r] = logits_row(ctx, logits, logits.dim(0) - 1, vocab);
  }
  for (int64_t n = 0; n < o.max_new_tokens; ++n) {
    std::vector<int32_t> fed(rows), past(rows);
    for (std::size_t r = 0; r < rows; ++r) {
      if (!o.use_cache && !done[r]) next[r] = uncached_logits(ctx, decoder, texts[r], vocab);
      past[r] = static_cast<int32_t>(texts[r].size());
      fed[r] = done[r] ? eod_id : sample_token(next[r], o, r, texts[r].size());
      done[r] = done[r] || fed[r] == eod_id;
      if (!done[r]) continuations[r].push_back(fed[r]);
      texts[r].push_back(fed[r]);
    }
    if (std::all_of(done.begin(), done.end(), [](bool d) { return d; }) || n + 1 == o.max_new_tokens) break;
    if (!o.use_cache) continue;
    const Tensor logits = decoder.decode(fed, past, cache);
    for (std::size_t r = 0; r < rows; ++r) next[r] = logits_row(ctx, logits, static_cast<int64_t>(r), vocab);
  }
  ctx.tape = tape;
  return continuations;
}

std::vector<std::string> generate_texts(Context& ctx, Decoder& decoder, const Tokenizer& tokenizer,
                                        const std::vector<std::string>& prompts, const SampleOptions& sampling) {
  SampleOptions options = sampling;
  options.vocab_size = tokenizer.vocab_size();  // a model may have more ids than its tokenizer
  std::vector<std::vector<int32_t>> ids;
  for (const std::string& prompt : prompts) ids.push_back(tokenizer.encode(prompt));
  std::vector<std::string> texts;
  for (const auto& continuation : generate_tokens(ctx, decoder, tokenizer.eod_id(), ids, options))
    texts.push_back(tokenizer.decode(continuation));
  return texts;
}

int run_generate(int argc, char** argv) {
  CLI::App app("Continue prompts with a trained checkpoint", "switchyard generate");
  std::string path;
  std::vector<std::string> prompts;
  SampleOptions options;
  bool no_cache = false;
  app.add_option("checkpoint", path, "a run folder, its checkpoints folder or one step directory")->required();
  app.add_option("--prompt", prompts, "text to continue; may be given several times")->required();
  app.add_option("--max-new-tokens", options.max_new_tokens, "longest continuation")->check(CLI::PositiveNumber);
  app.add_option("--temperature", options.temperature, "0: always the likeliest token")->check(CLI::NonNegativeNumber);
  app.add_option("--top-p", options.top_p, "sample from the likeliest tokens that together reach this probability")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--seed", options.seed, "of the sampling");
  app.add_flag("--no-cache", no_cache, "recompute the whole text for every token (slow; for checks)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  options.use_cache = !no_cache;
  const TrainedModel model = load_trained_model(path);
  const auto texts = generate_texts(*model.ctx, *model.decoder, *model.tokenizer, prompts, options);
  for (std::size_t i = 0; i < texts.size(); ++i) fmt::print("{}{}\n", prompts[i], texts[i]);
  return 0;
}

}  // namespace sy
