// Decoding with the key-value cache gives the logits of the same text read at once, for any prompt length and batch.
#include <gtest/gtest.h>

#include "tests/trainer/toy_run.h"

namespace sy::testing {
namespace {

using Overrides = std::vector<std::string>;
using Text = std::vector<int32_t>;

Text random_text(int64_t length, int64_t vocab, uint64_t seed) {
  Text text;
  uint64_t state = seed * 0x9e3779b97f4a7c15ull + 99;
  for (int64_t i = 0; i < length; ++i) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    text.push_back(static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(vocab)));
  }
  return text;
}

// A trained-looking toy model: two steps move it away from its initial norms.
class Model {
 public:
  explicit Model(const Config& config) : toy_(config) { toy_.curve(1, 2); }

  // Logits [length, vocab] of a text by one uncached pass.
  std::vector<double> uncached(const Text& text) {
    const auto length = static_cast<int64_t>(text.size());
    const Text start(text.size(), 0), ignored(text.size(), -1);
    BatchBuilder builder(length);
    builder.add(text.data(), ignored.data(), start.data(), 0);
    return unpadded(toy_.decoder().logits(builder.build(toy_.ctx())));
  }
  std::vector<double> cached(const Text& tokens, const std::vector<int32_t>& past, DecodeCache& cache,
                             int64_t first_row = 0) {
    return unpadded(toy_.decoder().decode(tokens, past, cache, first_row));
  }
  Decoder& decoder() { return toy_.decoder(); }
  int64_t vocab() const { return toy_.config().model.vocab_size; }

 private:
  std::vector<double> unpadded(const Tensor& logits) {
    const std::vector<double> all = widened(toy_.ctx(), logits);
    std::vector<double> values;
    for (int64_t r = 0; r < logits.dim(0); ++r)
      values.insert(values.end(), all.begin() + r * logits.dim(1), all.begin() + r * logits.dim(1) + vocab());
    return values;
  }
  ToyRun toy_;
};

std::vector<double> rows(const std::vector<double>& logits, int64_t begin, int64_t end, int64_t vocab) {
  return {logits.begin() + begin * vocab, logits.begin() + end * vocab};
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want, double bound,
                 const std::string& what) {
  expect_close({{"logits", got}}, {{"logits", want}}, bound, what);
}

struct Case {
  const char* name;
  Overrides overrides;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class Decode : public ::testing::TestWithParam<Case> {
 protected:
  // f32 1e-5; f64 must be exact but for the order of sums.
  void for_each_dtype(const std::function<void(Model&, double)>& check) {
    for (const auto& [dtype, bound] : {std::pair{"train.dtype=f32", 1e-5}, std::pair{"train.dtype=f64", 1e-12}}) {
      Overrides overrides = GetParam().overrides;
      overrides.push_back(dtype);
      Model model(toy_config(overrides));
      check(model, bound);
    }
  }
};

TEST_P(Decode, PromptsReadAtOnceEqualTheUncachedForward) {
  for_each_dtype([](Model& model, double bound) {
    for (const int64_t length : {1, 2, 255}) {
      const Text text = random_text(length, model.vocab(), static_cast<uint64_t>(length));
      DecodeCache cache = model.decoder().make_cache(1, 256);
      expect_near(model.cached(text, {0}, cache), model.uncached(text), bound, fmt::format("{} tokens", length));
    }
  });
}

TEST_P(Decode, TokenByTokenEqualsTheUncachedForward) {
  for_each_dtype([](Model& model, double bound) {
    const int64_t length = 40;
    const Text text = random_text(length, model.vocab(), 5);
    const std::vector<double> want = model.uncached(text);
    DecodeCache cache = model.decoder().make_cache(1, length);
    for (int64_t i = 0; i < length; ++i)
      expect_near(model.cached({text[static_cast<std::size_t>(i)]}, {static_cast<int32_t>(i)}, cache),
                  rows(want, i, i + 1, model.vocab()), bound, fmt::format("token {}", i));
  });
}

TEST_P(Decode, RowsOfDifferentLengthGoOnTogetherAsEachWouldAlone) {
  for_each_dtype([](Model& model, double bound) {
    const std::vector<int64_t> lengths = {1, 255, 2, 17};
    const int64_t more = 4, vocab = model.vocab();
    std::vector<Text> texts;
    std::vector<std::vector<double>> want;
    DecodeCache cache = model.decoder().make_cache(4, 300);
    for (std::size_t r = 0; r < lengths.size(); ++r) {
      texts.push_back(random_text(lengths[r] + more, vocab, 100 + r));
      want.push_back(model.uncached(texts[r]));
      const Text prompt(texts[r].begin(), texts[r].end() - more);
      expect_near(model.cached(prompt, {0}, cache, static_cast<int64_t>(r)), rows(want[r], 0, lengths[r], vocab), bound,
                  fmt::format("prompt of {}", lengths[r]));
    }
    for (int64_t i = 0; i < more; ++i) {
      Text fed;
      std::vector<int32_t> past;
      for (std::size_t r = 0; r < lengths.size(); ++r) {
        past.push_back(static_cast<int32_t>(lengths[r] + i));
        fed.push_back(texts[r][static_cast<std::size_t>(past.back())]);
      }
      const std::vector<double> got = model.cached(fed, past, cache);
      for (std::size_t r = 0; r < lengths.size(); ++r)
        expect_near(rows(got, static_cast<int64_t>(r), static_cast<int64_t>(r) + 1, vocab),
                    rows(want[r], past[r], past[r] + 1, vocab), bound, fmt::format("row {}, token {}", r, past[r]));
    }
  });
}

INSTANTIATE_TEST_SUITE_P(
    Models, Decode,
    ::testing::Values(Case{"top-k, shared expert, qk-norm, grouped queries", {}},
                      Case{"sigmoid, selection bias, tied head, no norms",
                           {"moe.router={type: sigmoid_topk}", "moe.hooks=[{type: selection_bias, update_rate: 0.05}]",
                            "model.use_qk_norm=false", "model.tie_word_embeddings=true"}},
                      Case{"norms over all heads", {"model.qk_norm_scope=all_heads"}},
                      Case{"windows of seven tokens", {"model.sliding_window=7"}},
                      Case{"biases, gated shared expert", {"model.qkv_bias=true", "moe.shared_expert_gate=true"}},
                      Case{"multipliers",
                           {"model.embedding_multiplier=3", "model.residual_multiplier=0.7",
                            "model.attention_multiplier=0.6", "model.logits_scaling=2.5"}},
                      Case{"one key-value head, heads of 6", {"model.num_key_value_heads=1", "model.head_dim=6"}},
                      Case{"switch with jitter in training",
                           {"moe.router={type: switch_top1, jitter_eps: 0.3}", "moe.num_experts_per_tok=1"}},
                      Case{"hash", {"moe.router={type: hash}"}}, Case{"top-p", {"moe.router={type: top_p}"}},
                      Case{"position capacity", {"moe.capacity={type: position, factor: 1.0, eval_factor: 1.0}"}},
                      Case{"random capacity, next choice",
                           {"moe.capacity={type: random, factor: 1.0, eval_factor: 1.0, overflow: next_choice}"}},
                      Case{"rope scaling",
                           {"model.rope_scaling={type: llama3, factor: 8, original_max_position_embeddings: 64}"}},
                      Case{"dense", {"moe=null"}}));

// In bf16 a token may flip to another expert between the two; the distribution must stay near.
TEST(DecodeBf16, CachedLogitsStayNearTheUncachedOnes) {
  Model model(toy_config({"train.dtype=bf16", "moe=null"}));
  const Text text = random_text(60, model.vocab(), 3);
  DecodeCache cache = model.decoder().make_cache(1, 60);
  expect_near(model.cached(text, {0}, cache), model.uncached(text), 2e-2, "bf16");
}

}  // namespace
}  // namespace sy::testing
