#include "trainer/data_config.h"

#include <cmath>

#include "tests/csrc/io/corpus_fixture.h"

namespace sy {
namespace {

using Strings = std::vector<std::string>;

TEST(ParseBlend, AlternatingWeightsAreNormalised) {
  const auto blend = parse_blend({"7", "corpora/kjv", "3", "corpora/linux"}, "data_path");
  ASSERT_EQ(blend.size(), 2u);
  EXPECT_EQ(blend[0].prefix, "corpora/kjv");
  EXPECT_DOUBLE_EQ(blend[0].weight, 0.7);
  EXPECT_EQ(blend[1].prefix, "corpora/linux");
  EXPECT_DOUBLE_EQ(blend[1].weight, 0.3);
}

TEST(ParseBlend, PrefixesAloneHaveNoWeights) {
  for (const Strings& list : {Strings{"a"}, Strings{"a", "b"}, Strings{"a", "b", "c"}}) {
    const auto blend = parse_blend(list, "data_path");
    ASSERT_EQ(blend.size(), list.size());
    for (std::size_t i = 0; i < list.size(); ++i) {
      EXPECT_EQ(blend[i].prefix, list[i]);
      EXPECT_EQ(blend[i].weight, 0);
    }
  }
  EXPECT_TRUE(parse_blend({}, "data_path").empty());
}

TEST(ParseBlend, HalfWeightedListsAreRefusedWithTheirKeyAndValue) {
  EXPECT_MENTIONS(user_error_of([] {
                    parse_blend({"0.7", "a", "b", "c"}, "train_data_path");
                  }),
                  "data.train_data_path: '0.7'");
  EXPECT_MENTIONS(user_error_of([] { parse_blend({"0.7", "a", "0.3"}, "data_path"); }), "'0.7' stands where");
  EXPECT_MENTIONS(user_error_of([] { parse_blend({"0.7", "0.3"}, "data_path"); }), "'0.3' stands where");
  EXPECT_MENTIONS(user_error_of([] { parse_blend({""}, "data_path"); }), "'' stands where");
}

TEST(ParseBlend, WeightsMustBePositive) {
  EXPECT_MENTIONS(user_error_of([] {
                    parse_blend({"0", "a", "1", "b"}, "data_path");
                  }),
                  "weight 0 of a is not positive");
  EXPECT_MENTIONS(user_error_of([] { parse_blend({"-1", "a"}, "data_path"); }), "weight -1 of a");
}

TEST(SplitDocuments, FollowsMegatronsRounding) {
  // Worked by hand for 10 documents: borders 9.9 -> 10 and 10; for 969,30,1 of 1000: 969 and 999.
  EXPECT_EQ(split_documents("99,1,0", 10, Split::kTrain).end, 10);
  EXPECT_EQ(split_documents("99,1,0", 10, Split::kValid).begin, 10);
  EXPECT_EQ(split_documents("969,30,1", 1000, Split::kTrain).end, 969);
  EXPECT_EQ(split_documents("969,30,1", 1000, Split::kValid).end, 999);
  EXPECT_EQ(split_documents("969,30,1", 1000, Split::kTest).end, 1000);
  EXPECT_EQ(split_documents("0.5,0.5", 8, Split::kValid).begin, 4);
}

TEST(SplitDocuments, PartsTileTheDocumentsForEverySize) {
  for (const char* split : {"99,1,0", "1,1,1", "969,30,1", "0.1,0.2,0.7", "1", "0,1", "3,0,1"}) {
    for (int64_t documents = 0; documents < 200; ++documents) {
      const auto train = split_documents(split, documents, Split::kTrain);
      const auto valid = split_documents(split, documents, Split::kValid);
      const auto test = split_documents(split, documents, Split::kTest);
      EXPECT_EQ(train.begin, 0);
      EXPECT_LE(train.begin, train.end);
      EXPECT_EQ(train.end, valid.begin);
      EXPECT_LE(valid.begin, valid.end);
      EXPECT_EQ(valid.end, test.begin);
      EXPECT_LE(test.begin, test.end);
      EXPECT_EQ(test.end, documents) << split;
    }
  }
}

TEST(SplitDocuments, BadSharesAreRefusedWithTheValue) {
  for (const char* split : {"", "a", "99,", "99;1", "1,2,3,4", "-1,2", "0,0,0", "nan", "99,1,0,"}) {
    EXPECT_MENTIONS(user_error_of([&] { split_documents(split, 10, Split::kTrain); }),
                    "data.split '" + std::string(split) + "'");
  }
}

TEST(SplitHas, OnlyPositiveShares) {
  EXPECT_TRUE(split_has("99,1,0", Split::kTrain));
  EXPECT_TRUE(split_has("99,1,0", Split::kValid));
  EXPECT_FALSE(split_has("99,1,0", Split::kTest));
  EXPECT_FALSE(split_has("1", Split::kValid));
}

// Records the keys and the failed requirements of a description.
class RecordingFields final : public Fields {
 public:
  Strings keys, failed;
  void require(bool holds, const char* key, const std::string&) override {
    if (!holds) failed.emplace_back(key);
  }

 protected:
  void on_int(const char* key, int64_t&, const char*, const FieldRule&) override { keys.emplace_back(key); }
  void on_float(const char* key, double&, const char*, const FieldRule&) override { keys.emplace_back(key); }
  void on_bool(const char* key, bool&, const char*, const FieldRule&) override { keys.emplace_back(key); }
  void on_string(const char* key, std::string&, const char*, const FieldRule&) override { keys.emplace_back(key); }
  void on_int_list(const char*, std::vector<int64_t>&, const char*, const FieldRule&) override { FAIL(); }
  void on_float_list(const char*, std::vector<double>&, const char*, const FieldRule&) override { FAIL(); }
  void on_string_list(const char* key, Strings&, const char*, const FieldRule&) override { keys.emplace_back(key); }
  void on_choice(const char*, const Strings&, std::size_t&, const char*, const FieldRule&) override { FAIL(); }
  void on_component(const char*, ComponentSlot&, const char*, const FieldRule&) override { FAIL(); }
  void on_component_list(const char*, ComponentSlotList&, const char*, const FieldRule&) override { FAIL(); }
  void on_section(const char*, const char*, const std::function<void(Fields&)>&) override { FAIL(); }
  void on_section_list(const char*, const char*, std::size_t,
                       const std::function<void(std::size_t, Fields&)>&) override {
    FAIL();
  }
};

TEST(DataConfig, DescribesMegatronsKeys) {
  DataConfig config;
  RecordingFields fields;
  describe(config, fields);
  EXPECT_EQ(fields.keys, (Strings{"data_path", "split", "train_data_path", "valid_data_path", "test_data_path",
                                  "tokenizer", "reset_attention_mask", "seed"}));
  EXPECT_TRUE(fields.failed.empty());
}

TEST(DataConfig, OneBlendAndSeparateBlendsExcludeEachOther) {
  DataConfig config;
  config.data_path = {"a"};
  config.valid_data_path = {"b"};
  RecordingFields both;
  describe(config, both);
  EXPECT_EQ(both.failed, Strings{"data_path"});
  config.data_path.clear();
  RecordingFields separate;
  describe(config, separate);
  EXPECT_TRUE(separate.failed.empty());
}

}  // namespace
}  // namespace sy
