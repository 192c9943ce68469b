#include "csrc/io/text_source.h"

#include <omp.h>

#include <algorithm>

#include "csrc/io/tokenizer.h"
#include "tests/csrc/io/corpus_fixture.h"
#include "trainer/tokenize.h"

namespace sy {
namespace {

class TextSourceTest : public CorpusTest {
 protected:
  TokenizeOptions options(std::vector<std::string> inputs) const {
    TokenizeOptions result;
    result.inputs = std::move(inputs);
    result.output_prefix = path("out");
    return result;
  }
  // The documents of the corpus as text, "|" standing for the end-of-document id.
  std::vector<std::string> documents() const {
    const IndexedDataset corpus(path("out"));
    std::vector<std::string> texts;
    for (int64_t d = 0; d < corpus.num_documents(); ++d) {
      std::vector<int32_t> ids(static_cast<std::size_t>(corpus.document_length(d)));
      corpus.read(corpus.document_begin(d), corpus.document_length(d), ids.data());
      std::string text;
      for (const int32_t id : ids) text.push_back(id == 256 ? '|' : static_cast<char>(id));
      texts.push_back(text);
    }
    return texts;
  }
  // As main does: the exit code, 2 for a UserError, whose message goes to `message_`.
  int run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "tokenize");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    try {
      return run_tokenize(static_cast<int>(argv.size()), argv.data());
    } catch (const UserError& error) {
      message_ = error.what();
      return 2;
    }
  }
  bool nothing_written() const {
    for (const std::string& name : files()) {
      if (name.starts_with("out")) return false;
    }
    return true;
  }

  std::string message_;
};

using Strings = std::vector<std::string>;

TEST_F(TextSourceTest, EachTextFileIsOneDocumentKeptByteForByte) {
  const auto report = tokenize_files(options({write_file("a.txt", "one\n\ntwo\n"), write_file("b.txt", "three")}));
  EXPECT_EQ(documents(), (Strings{"one\n\ntwo\n|", "three|"}));
  EXPECT_EQ(report.num_documents, 2);
  EXPECT_EQ(report.num_tokens, 9 + 5 + 2);
  EXPECT_EQ(report.text_bytes, 9 + 5);
  EXPECT_EQ(report.dtype, "uint16");
}

TEST_F(TextSourceTest, EndOfDocumentCanBeLeftOut) {
  TokenizeOptions o = options({write_file("a.txt", "one")});
  o.append_eod = false;
  tokenize_files(o);
  EXPECT_EQ(documents(), Strings{"one"});
}

TEST_F(TextSourceTest, TextThatIsNotUtf8IsAcceptedAsBytes) {
  const std::string text = "caf\xe9 \xff\x00 end" + std::string(1, '\0');
  tokenize_files(options({write_file("latin.txt", text)}));
  EXPECT_EQ(documents(), Strings{text + "|"});
}

TEST_F(TextSourceTest, BlankLinesSplitDocumentsAndAreNotPartOfThem) {
  TokenizeOptions o = options({write_file("a.txt", "\n\none\nmore\n \t\r\n\ntwo\r\n\nthree")});
  o.split = DocumentSplit::kBlankLines;
  const auto report = tokenize_files(o);
  EXPECT_EQ(documents(), (Strings{"one\nmore|", "two\r|", "three|"}));
  EXPECT_EQ(report.num_empty_documents, 0);
}

TEST_F(TextSourceTest, SeparatorLinesSplitDocumentsAndEmptyOnesAreSkippedAndCounted) {
  TokenizeOptions o = options({write_file("a.txt", "one\n\nmore\n%\n%\r\n%% no\n%\n"), write_file("b.txt", "two")});
  o.split = DocumentSplit::kSeparatorLine;
  o.document_separator = "%";
  const auto report = tokenize_files(o);
  EXPECT_EQ(documents(), (Strings{"one\n\nmore|", "%% no|", "two|"}));
  EXPECT_EQ(report.num_empty_documents, 1);
}

TEST_F(TextSourceTest, EachJsonLineIsOneDocument) {
  const auto report = tokenize_files(options({write_file(
      "a.jsonl", "{\"text\": \"one\\ntwo\", \"id\": 1}\n\n{\"id\": 2, \"text\": \"\"}\n{\"text\": \"\xc3\xa9\"}")}));
  EXPECT_EQ(documents(), (Strings{"one\ntwo|", "\xc3\xa9|"}));
  EXPECT_EQ(report.num_empty_documents, 1);
}

TEST_F(TextSourceTest, JsonKeyIsChosenByOption) {
  TokenizeOptions o = options({write_file("a.jsonl", "{\"text\": \"no\", \"body\": \"yes\"}\n")});
  o.json_key = "body";
  tokenize_files(o);
  EXPECT_EQ(documents(), Strings{"yes|"});
}

TEST_F(TextSourceTest, JsonErrorsNameFileLineAndRemedyAndWriteNothing) {
  const std::string good = "{\"text\": \"fine\"}\n";
  const auto message_of = [&](const std::string& bad_line) {
    const std::string file = write_file("a.jsonl", good + "\n" + bad_line + "\n" + good);
    const std::string message = user_error_of([&] { tokenize_files(options({file})); });
    EXPECT_MENTIONS(message, file + ":3: ");
    EXPECT_TRUE(nothing_written());
    return message;
  };
  EXPECT_MENTIONS(message_of("{\"text\": \"cut"), "not valid JSON in UTF-8 from byte 14");
  EXPECT_MENTIONS(message_of("{\"text\": \"\xff\"}"), "not valid JSON in UTF-8 from byte 11");
  EXPECT_MENTIONS(message_of("[1, 2]"), "a JSON array where an object is wanted");
  EXPECT_MENTIONS(message_of("{\"body\": \"x\", \"id\": 1}"),
                  "no key 'text' among [body, id]: pass the right one with --json-key");
  EXPECT_MENTIONS(message_of("{\"text\": 5}"), "'text' is a JSON number where a string is wanted");
}

TEST_F(TextSourceTest, AnEmptyCorpusIsAnErrorAndWritesNothing) {
  const Strings inputs = {write_file("a.txt", ""), write_file("b.jsonl", "\n{\"text\": \"\"}\n")};
  EXPECT_MENTIONS(user_error_of([&] { tokenize_files(options(inputs)); }), "corpus is empty");
  EXPECT_TRUE(nothing_written());
}

TEST_F(TextSourceTest, InputsThatCannotBeTextAreRefusedBeforeAnythingIsWritten) {
  EXPECT_MENTIONS(user_error_of([&] { tokenize_files(options({})); }), "at least one input");
  EXPECT_MENTIONS(user_error_of([&] { tokenize_files(options({path("no.txt")})); }),
                  path("no.txt") + " does not exist");
  std::filesystem::create_directory(path("folder.txt"));
  EXPECT_MENTIONS(user_error_of([&] { tokenize_files(options({path("folder.txt")})); }), "is not a file");
  const std::string packed = write_file("a.gz", "x");
  EXPECT_MENTIONS(user_error_of([&] { tokenize_files(options({packed})); }), packed);
  TokenizeOptions split_json = options({write_file("a.jsonl", "{\"text\": \"x\"}\n")});
  split_json.split = DocumentSplit::kBlankLines;
  EXPECT_MENTIONS(user_error_of([&] { tokenize_files(split_json); }), "has no effect");
  TokenizeOptions unknown = options({write_file("a.txt", "x")});
  unknown.tokenizer = "words";
  EXPECT_MENTIONS(user_error_of([&] { tokenize_files(unknown); }), "unknown tokenizer 'words'");
  EXPECT_TRUE(nothing_written());
}

TEST_F(TextSourceTest, ProgressGrowsToTheInputBytes) {
  std::string line(1000, 'x');
  std::string content;
  for (int i = 0; i < 3000; ++i) content += line + "\n";
  TokenizeOptions o = options({write_file("a.txt", content), write_file("b.jsonl", "{\"text\": \"x\"}\n\n")});
  std::vector<int64_t> done;
  o.progress = [&](int64_t bytes, int64_t total) {
    EXPECT_EQ(total, static_cast<int64_t>(content.size()) + 15);
    done.push_back(bytes);
  };
  tokenize_files(o);
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
  EXPECT_EQ(done.back(), static_cast<int64_t>(content.size()) + 15);
}

TEST_F(TextSourceTest, TheCorpusIsTheSameForAnyNumberOfThreads) {
  std::string lines;
  for (int i = 0; i < 2000; ++i)
    lines += "{\"text\": \"" + std::string(static_cast<std::size_t>(i % 97), 'a') + " document " + std::to_string(i) +
             "\"}\n";
  const std::string file = write_file("a.jsonl", lines);
  const auto corpus_of = [&](int threads, const std::string& tokenizer) {
    TokenizeOptions o = options({file});
    o.overwrite = true;
    o.tokenizer = tokenizer;
    omp_set_num_threads(threads);
    tokenize_files(o);
    return read_file(path("out.bin")) + read_file(path("out.idx"));
  };
  const int usual = omp_get_max_threads();
  for (const std::string tokenizer : {"bytes", SY_SOURCE_DIR "/tests/golden/tokenizers/llama3.json"}) {
    const std::string of_one = corpus_of(1, tokenizer);
    EXPECT_EQ(corpus_of(2, tokenizer), of_one);
    EXPECT_EQ(corpus_of(7, tokenizer), of_one);
  }
  omp_set_num_threads(usual);
}

TEST_F(TextSourceTest, SpecialTokensStandAroundEveryDocumentOnlyWhenAskedFor) {
  TokenizeOptions o = options({write_file("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n")});
  o.tokenizer = SY_SOURCE_DIR "/tests/golden/tokenizers/llama2.json";
  const int64_t without = tokenize_files(o).num_tokens;
  o.overwrite = o.add_special_ids = true;
  EXPECT_EQ(tokenize_files(o).num_tokens, without + 2);
  const IndexedDataset corpus(path("out"));
  std::vector<int32_t> ids(static_cast<std::size_t>(without + 2));
  corpus.read(0, without + 2, ids.data());
  const int32_t begin = 1, end = 2;  // <s>, and </s>, the end of the document
  EXPECT_EQ(ids.front(), begin);
  EXPECT_EQ(ids.back(), end);
  const std::vector<int32_t> border = {end, begin};
  EXPECT_NE(std::search(ids.begin(), ids.end(), border.begin(), border.end()), ids.end());
}

TEST_F(TextSourceTest, CommandLineMakesTheCorpusItsOptionsSay) {
  const std::string file = write_file("a.txt", "one\n%\ntwo\n");
  EXPECT_EQ(
      run({"--input", file, file, "--output-prefix", path("out"), "--document-separator", "%", "--no-append-eod"}), 0);
  EXPECT_EQ(documents(), (Strings{"one", "two", "one", "two"}));
  EXPECT_EQ(run({"--input", file, "--output-prefix", path("out")}), 2);
  EXPECT_MENTIONS(message_, "exists already");
  EXPECT_EQ(run({"--input", file, "--output-prefix", path("out"), "--overwrite", "--split-documents", "blank"}), 0);
  EXPECT_EQ(documents(), Strings{"one\n%\ntwo|"});
  const std::string odd = write_file("a.data", "{\"t\": \"json\"}\n");
  EXPECT_EQ(run({"--input", odd, "--output-prefix", path("out"), "--overwrite", "--format", "jsonl", "--json-key", "t",
                 "--append-eod"}),
            0);
  EXPECT_EQ(documents(), Strings{"json|"});
}

TEST_F(TextSourceTest, CommandLineMistakesExitWithTwo) {
  const std::string file = write_file("a.txt", "one");
  EXPECT_EQ(run({"--input", file}), 2);
  EXPECT_EQ(run({"--input", file, "--output-prefix", path("out"), "--split-documents", "pages"}), 2);
  EXPECT_EQ(run({"--input", file, "--output-prefix", path("out"), "--nonsense"}), 2);
  EXPECT_EQ(run({"--help"}), 0);
  EXPECT_TRUE(nothing_written());
}

}  // namespace
}  // namespace sy
