#include <nlohmann/json.hpp>

#include "csrc/io/tokenizer.h"
#include "tests/csrc/io/corpus_fixture.h"

namespace sy {
namespace {

using Json = nlohmann::json;

class TokenizerFile : public CorpusTest {
 protected:
  Json golden(const std::string& form) const {
    return Json::parse(read_file(SY_SOURCE_DIR "/tests/golden/tokenizers/" + form + ".json"));
  }
  // The refusal of this file, which must start with the file's path.
  std::string refusal(const std::string& content) {
    const std::string file = write_file("tokenizer.json", content);
    const std::string message = user_error_of([&] { make_tokenizer(file); });
    EXPECT_TRUE(message.starts_with(file + ": ")) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos);
    return message;
  }
  std::string refusal(const Json& json) { return refusal(json.dump()); }
};

TEST_F(TokenizerFile, ThatIsMissingIsNamed) {
  EXPECT_MENTIONS(user_error_of([&] { make_tokenizer(path("none.json")); }), path("none.json"));
}

TEST_F(TokenizerFile, ThatIsNoJsonNamesTheByte) {
  EXPECT_MENTIONS(refusal(std::string("{\"model\": ")), "not valid JSON from byte 11");
  EXPECT_MENTIONS(refusal(Json::array()), "not a tokenizer.json");
  EXPECT_MENTIONS(refusal(Json::object()), "no 'model'");
}

TEST_F(TokenizerFile, UnsupportedComponentsAreNamedWithTheirPlace) {
  Json json = golden("gpt2");
  json["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {{{"type", "Whitespace"}}}}};
  EXPECT_MENTIONS(refusal(json), "pre_tokenizer.pretokenizers[0]: type 'Whitespace' is not supported, only Split");
  json = golden("gpt2");
  json["normalizer"] = {{"type", "Lowercase"}};
  EXPECT_MENTIONS(refusal(json), "normalizer: type 'Lowercase' is not supported, only NFC");
  json = golden("gpt2");
  json["decoder"] = {{"type", "WordPiece"}};
  EXPECT_MENTIONS(refusal(json), "decoder: type 'WordPiece'");
  json["decoder"] = nullptr;
  EXPECT_MENTIONS(refusal(json), "decoder: a tokenizer without a decoder");
  json = golden("gpt2");
  json["post_processor"] = {{"type", "BertProcessing"}};
  EXPECT_MENTIONS(refusal(json), "post_processor: type 'BertProcessing'");
  json = golden("gpt2");
  json["model"]["type"] = "Unigram";
  EXPECT_MENTIONS(refusal(json), "model: type 'Unigram' is not supported, only BPE");
}

TEST_F(TokenizerFile, SettingsThatWouldChangeTokensAreRefusedNotPassedOver) {
  Json json = golden("gpt2");
  json["model"]["dropout"] = 0.1;
  EXPECT_MENTIONS(refusal(json), "model: dropout");
  json = golden("gpt2");
  json["model"]["end_of_word_suffix"] = "</w>";
  EXPECT_MENTIONS(refusal(json), "model: 'end_of_word_suffix' is not supported");
  json = golden("gpt2");
  json["truncation"] = {{"max_length", 8}};
  EXPECT_MENTIONS(refusal(json), "'truncation' is not supported");
  json = golden("gpt2");
  json["pre_tokenizer"]["surprise"] = true;
  EXPECT_MENTIONS(refusal(json), "pre_tokenizer: the key 'surprise' is not supported");
  json = golden("llama3");
  json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "\\w+";
  EXPECT_MENTIONS(refusal(json), "pre_tokenizer.pretokenizers[0].pattern: the regular expression '\\w+' has '\\w'");
}

TEST_F(TokenizerFile, BrokenVocabulariesNameTheEntry) {
  Json json = golden("gpt2");
  json["model"]["merges"].push_back({"t", "nowhere"});
  EXPECT_MENTIONS(refusal(json), "]: a part of 't' + 'nowhere'");
  json = golden("gpt2");
  json["model"]["vocab"]["x"] = -3;
  EXPECT_MENTIONS(refusal(json), "model.vocab: token 'x' has the id -3");
  json = golden("gpt2");
  json["model"]["vocab"].erase("~");
  EXPECT_MENTIONS(refusal(json), "model.vocab: byte 0x7E has no token");
  json = golden("llama2");
  json["model"]["unk_token"] = "<none>";
  EXPECT_MENTIONS(refusal(json), "the unk_token '<none>' is not in the vocabulary");
}

// As Hugging Face's reader does with SmolLM2's file.
TEST_F(TokenizerFile, AControlByteWithoutATokenIsLeftOutOrUnknown) {
  Json json = golden("gpt2");
  Json& vocab = json["model"]["vocab"];
  const int32_t id = vocab.at("\u0104");  // the byte 0x04
  vocab.erase("\u0104");
  vocab["<unknown>"] = id;
  const auto without = make_tokenizer(write_file("tokenizer.json", json.dump()));
  EXPECT_EQ(without->encode("a\x04."), without->encode("a."));
  json["model"]["unk_token"] = "<unknown>";
  const auto with = make_tokenizer(write_file("tokenizer.json", json.dump()));
  const std::vector<int32_t> tokens = with->encode("a\x04.");
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), id), 1);
}

TEST_F(TokenizerFile, TheEndOfDocumentIsThatOfTheConfigBesideIt) {
  const std::string file = write_file("tokenizer.json", golden("gpt2").dump());
  EXPECT_EQ(make_tokenizer(file)->eod_id(), 0);
  write_file("tokenizer_config.json", R"({"eos_token": {"content": "<|pad|>"}})");
  const auto tokenizer = make_tokenizer(file);
  EXPECT_EQ(tokenizer->encode("<|pad|>"), std::vector<int32_t>{tokenizer->eod_id()});
  write_file("tokenizer_config.json", R"({"eos_token": "<none>"})");
  EXPECT_MENTIONS(user_error_of([&] { make_tokenizer(file); }), "the eos_token '<none>'");
}

TEST_F(TokenizerFile, ATokenizerLargerThanTheModelIsRefusedWithBothNumbers) {
  const std::string file = write_file("tokenizer.json", golden("gpt2").dump());
  const int64_t ids = make_tokenizer(file)->vocab_size();
  EXPECT_EQ(make_tokenizer(file, ids)->vocab_size(), ids);
  EXPECT_MENTIONS(user_error_of([&] { make_tokenizer(file, ids - 1); }),
                  "has " + std::to_string(ids) + " ids, but model.vocab_size is " + std::to_string(ids - 1));
}

TEST_F(TokenizerFile, IdsOutsideTheVocabularyAreRefused) {
  const auto tokenizer = make_tokenizer(write_file("tokenizer.json", golden("gpt2").dump()));
  EXPECT_MENTIONS(user_error_of([&] { tokenizer->decode(std::vector<int32_t>{-1}); }), "token id -1 is outside");
  EXPECT_THROW(tokenizer->token_bytes(static_cast<int32_t>(tokenizer->vocab_size())), UserError);
}

}  // namespace
}  // namespace sy
