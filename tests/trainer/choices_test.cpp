// Items as read from JSON lines, their tokens by hand, accuracies against rows scored one by one, and every refusal.
#include "trainer/choices.h"

#include <gtest/gtest.h>

#include "tests/csrc/io/io_testing.h"
#include "tests/trainer/toy_run.h"
#include "trainer/score.h"

namespace sy::testing {
namespace {

std::vector<ChoiceItem> read(const std::string& lines, const std::string& tokenizer = "bytes", int64_t max = 100) {
  const TempDir temp;
  write_bytes(temp.file("items.jsonl"), lines);
  return read_choices(temp.file("items.jsonl"), *make_tokenizer(tokenizer), max);
}

TEST(ReadChoices, EncodesContextAndChoiceTogether) {
  const auto items = read(R"({"context": "ab", "choices": [" c", " de"], "answer": 1})"
                          "\n\n"
                          R"({"context": "", "choices": ["x"], "answer": 0})");
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].answer, 1);
  ASSERT_EQ(items[0].choices.size(), 2u);
  EXPECT_EQ(items[0].choices[1].tokens, (std::vector<int32_t>{'a', 'b', ' ', 'd', 'e'}));
  EXPECT_EQ(items[0].choices[1].context_tokens, 2);
  EXPECT_EQ(items[0].choices[1].choice_bytes, 3);
  EXPECT_EQ(items[1].choices[0].tokens, (std::vector<int32_t>{256, 'x'}));  // an empty context: end of document
  EXPECT_EQ(items[1].choices[0].context_tokens, 1);
}

TEST(ReadChoices, WhiteSpaceThatEndsTheContextBelongsToTheChoice) {
  const Choice choice = read(R"({"context": "a  ", "choices": ["b"], "answer": 0})")[0].choices[0];
  EXPECT_EQ(choice.context_tokens, 1);
  EXPECT_EQ(choice.num_choice_tokens(), 3);
  EXPECT_EQ(choice.choice_bytes, 1);  // as the file has it
}

TEST(ReadChoices, ATokenAcrossTheBorderIsTheChoices) {
  // GPT-2 style pieces: " the" is one word, so that with the space in the context the choice's tokens begin with it.
  const std::string gpt2 = SY_SOURCE_DIR "/tests/golden/tokenizers/gpt2.json";
  const auto tokenizer = make_tokenizer(gpt2);
  const Choice in_choice = read(R"({"context": "in", "choices": [" the"], "answer": 0})", gpt2)[0].choices[0];
  const Choice in_context = read(R"({"context": "in ", "choices": ["the"], "answer": 0})", gpt2)[0].choices[0];
  EXPECT_EQ(in_choice.tokens, tokenizer->encode("in the"));
  EXPECT_EQ(in_context.tokens, in_choice.tokens);
  EXPECT_EQ(in_context.context_tokens, std::ssize(tokenizer->encode("in")));
}

TEST(ReadChoices, NamesTheLineThatIsWrong) {
  const std::string good = R"({"context": "a", "choices": ["b"], "answer": 0})"
                           "\n";
  const auto refuses = [&](const std::string& line, std::vector<std::string> fragments) {
    fragments.push_back("items.jsonl:2:");
    expect_user_error([&] { read(good + line, "bytes", 5); }, fragments);
  };
  refuses(R"({"context": "a", "choices")", {"not valid JSON", "byte"});
  refuses("[1]", {"array", "object"});
  refuses(R"({"choices": ["b"], "answer": 0})", {"no key 'context'"});
  refuses(R"({"context": "a", "answer": 0})", {"no key 'choices'"});
  refuses(R"({"context": "a", "choices": ["b"]})", {"no key 'answer'"});
  refuses(R"({"context": 1, "choices": ["b"], "answer": 0})", {"'context'", "number"});
  refuses(R"({"context": "a", "choices": [], "answer": 0})", {"'choices'", "list"});
  refuses(R"({"context": "a", "choices": "b", "answer": 0})", {"'choices'", "list"});
  refuses(R"({"context": "a", "choices": [null], "answer": 0})", {"'choices'", "null"});
  refuses(R"({"context": "a", "choices": ["b", ""], "answer": 0})", {"choice is empty"});
  for (const char* answer : {"1", "-1", "0.5", "\"0\"", "18446744073709551615"})
    refuses(fmt::format(R"({{"context": "a", "choices": ["b"], "answer": {}}})", answer),
            {"answer " + std::string(answer)});
  read(R"({"context": "abc", "choices": ["def"], "answer": 0})", "bytes", 5);
  refuses(R"({"context": "abc", "choices": ["defg"], "answer": 0})", {"7 tokens", "6"});
  expect_user_error([] { read("\n"); }, {"items.jsonl", "no item"});
  expect_user_error([] { read_choices("/no/such.jsonl", *make_tokenizer("bytes"), 5); }, {"/no/such.jsonl"});
}

double log_prob(ToyRun& toy, const Choice& c) {
  const ScoredRow row{c.tokens, std::vector<int32_t>(c.tokens.size() - 1, 0), c.context_tokens - 1};
  return score_rows(
             toy.ctx(), toy.decoder(), 1, 1, [&](int64_t) { return row; }, [](int64_t) {})
      .front();
}

// Two choices of which the short one is likelier and the long one likelier per token or per byte: the three accuracies
// differ as the lengths say.
TEST(ScoreChoices, CompareSumsThenSumsPerByteAndPerToken) {
  ToyRun toy(toy_config());
  toy.curve(1, 10);
  Choice shorter{.tokens = {1, 2, 0}, .context_tokens = 2, .choice_bytes = 0};
  Choice longer{.tokens = {1, 2, 8, 26, 6}, .context_tokens = 2, .choice_bytes = 0};
  const double b = log_prob(toy, longer);
  double a = 0;
  while (shorter.tokens[2] < 36 && !(a > b && a < b / 3)) {
    ++shorter.tokens[2];
    a = log_prob(toy, shorter);
  }
  ASSERT_GT(a, b);
  ASSERT_LT(a, b / 3);
  // With equal bytes the sums decide, with 1 and 3 bytes the ratio.
  const auto report = [&](int64_t bytes_a, int64_t bytes_b, int64_t answer) {
    shorter.choice_bytes = bytes_a;
    longer.choice_bytes = bytes_b;
    return score_choices(toy.ctx(), toy.decoder(), {{{shorter, longer}, answer}}, 2, [](int64_t, int64_t) {});
  };
  EXPECT_EQ(report(2, 2, 0).accuracy, 1);
  EXPECT_EQ(report(2, 2, 1).accuracy, 0);
  EXPECT_EQ(report(2, 2, 0).accuracy_per_token, 0);
  EXPECT_EQ(report(2, 2, 1).accuracy_per_token, 1);
  EXPECT_EQ(report(2, 2, 0).accuracy_per_byte, 1);
  EXPECT_EQ(report(1, 3, 0).accuracy_per_byte, 0);
  EXPECT_EQ(report(1, 3, 1).accuracy_per_byte, 1);
}

TEST(ScoreChoices, CountEachItemOnceAndTheFirstOfEqualChoices) {
  ToyRun toy(toy_config());
  const Choice choice{.tokens = {1, 2, 3}, .context_tokens = 1, .choice_bytes = 2};
  std::vector<std::pair<int64_t, int64_t>> reported;
  const ChoiceReport report =
      score_choices(toy.ctx(), toy.decoder(), {{{choice, choice}, 0}, {{choice, choice}, 1}, {{choice}, 0}}, 2,
                    [&](int64_t done, int64_t total) {
                      reported.push_back({done, total});
                    });
  EXPECT_EQ(report.num_items, 3);
  EXPECT_DOUBLE_EQ(report.accuracy, 2.0 / 3);
  EXPECT_DOUBLE_EQ(report.accuracy_per_byte, 2.0 / 3);
  EXPECT_DOUBLE_EQ(report.accuracy_per_token, 2.0 / 3);
  EXPECT_EQ(reported, (std::vector<std::pair<int64_t, int64_t>>{{2, 5}, {4, 5}, {5, 5}}));
}

}  // namespace
}  // namespace sy::testing
