// Streams of documents, and perplexity against a model whose probabilities are known or scored row by row.
#include "trainer/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "tests/csrc/io/io_testing.h"
#include "tests/trainer/toy_run.h"
#include "trainer/score.h"

namespace sy::testing {
namespace {

// Documents between lines "---".
TokenizeOptions separated() {
  TokenizeOptions options;
  options.split = DocumentSplit::kSeparatorLine;
  options.document_separator = "---";
  return options;
}

TEST(TokenStream, HoldsDocumentsBetweenEndOfDocumentTokens) {
  const TempDir temp;
  write_bytes(temp.file("a.txt"), "ab\n---\n\n---\nc");
  const auto bytes = make_tokenizer("bytes");
  const TokenStream stream = read_stream(temp.file("a.txt"), separated(), *bytes);
  EXPECT_EQ(stream.tokens, (std::vector<int32_t>{256, 'a', 'b', 256, 'c', 256}));
  EXPECT_EQ(stream.document_begin, (std::vector<int64_t>{0, 1, 4}));
  EXPECT_EQ(stream.num_documents, 2);  // the empty one between the separators is none
  EXPECT_EQ(stream.text_bytes, 3);
}

TEST(TokenStream, CountsTheBytesOfTheTextWhateverItsTokens) {
  const TempDir temp;
  const std::string text = "Many words, k\xC3\xBChne W\xC3\xB6rter.\n";
  write_bytes(temp.file("a.txt"), text);
  for (const char* name : {"gpt2", "llama2", "metaspace"}) {
    const auto tokenizer = make_tokenizer(std::string(SY_SOURCE_DIR "/tests/golden/tokenizers/") + name + ".json");
    const TokenStream stream = read_stream(temp.file("a.txt"), {}, *tokenizer);
    EXPECT_EQ(stream.text_bytes, std::ssize(text)) << name;
    EXPECT_EQ(std::ssize(stream.tokens), std::ssize(tokenizer->encode(text)) + 2) << name;
  }
}

TEST(TokenStream, RefusesAFileWithoutText) {
  const TempDir temp;
  const auto bytes = make_tokenizer("bytes");
  for (const char* text : {"", "---\n---\n"}) {
    write_bytes(temp.file("a.txt"), text);
    expect_user_error([&] { read_stream(temp.file("a.txt"), separated(), *bytes); }, {"a.txt", "no text to score"});
  }
}

// Stream of 29 tokens: a document of 1 (as the end-of-document token before all), of 9 and of 19 tokens.
TokenStream toy_stream() {
  TokenStream stream{.tokens = {36}, .document_begin = {0, 1, 10}, .num_documents = 2, .text_bytes = 41};
  for (int32_t i = 1; i < 29; ++i) stream.tokens.push_back(i == 9 || i == 28 ? 36 : i * 7 % 36);
  return stream;
}

TEST(Perplexity, OfEqualLogitsIsTheVocabularySize) {
  ToyRun toy(toy_config());
  for (Parameter& p : toy.decoder().parameters().all())
    if (p.parts.front().name == "lm_head.weight") toy.ctx().set_zero(p.value);
  const PerplexityReport report =
      perplexity(toy.ctx(), toy.decoder(), toy_stream(), {.seq_length = 8, .stride = 3, .batch_size = 2});
  EXPECT_EQ(report.num_tokens, 28);
  EXPECT_NEAR(report.perplexity, 37, 1e-4);
  EXPECT_NEAR(report.loss, std::log(37.0), 1e-6);
  EXPECT_NEAR(report.bits_per_byte, 28 * std::log2(37.0) / 41, 1e-6);
}

TEST(Perplexity, IsThatOfTheWindowsRowByRow) {
  ToyRun toy(toy_config());
  toy.curve(1, 5);
  const TokenStream stream = toy_stream();
  for (const bool reset : {false, true}) {
    double log_prob = 0;
    for (const ScoreWindow& w : sliding_windows(28, 8, 3)) {
      ScoredRow row{.tokens = {}, .document_start = {}, .first_scored = w.first_scored - w.begin};
      for (int64_t i = w.begin; i <= w.end; ++i) row.tokens.push_back(stream.tokens[static_cast<std::size_t>(i)]);
      for (int64_t i = w.begin; i < w.end; ++i) {
        const int64_t document = i < 1 ? 0 : i < 10 ? 1 : 10;
        row.document_start.push_back(reset ? static_cast<int32_t>(std::max<int64_t>(0, document - w.begin)) : 0);
      }
      log_prob += score_rows(
                      toy.ctx(), toy.decoder(), 1, 1, [&](int64_t) { return row; }, [](int64_t) {})
                      .front();
    }
    const PerplexityReport report =
        perplexity(toy.ctx(), toy.decoder(), stream,
                   {.seq_length = 8, .stride = 3, .batch_size = 4, .reset_attention_mask = reset});
    EXPECT_NEAR(report.loss, -log_prob / 28, 1e-6) << reset;
    EXPECT_NEAR(report.perplexity, std::exp(-log_prob / 28), 1e-4) << reset;
    EXPECT_NEAR(report.bits_per_byte, -log_prob / std::numbers::ln2 / 41, 1e-5) << reset;
  }
}

}  // namespace
}  // namespace sy::testing
