#include "csrc/io/tokenizers/utf8.h"

#include <gtest/gtest.h>

namespace sy {
namespace {

std::string repaired(const std::string& text) {
  std::string storage;
  return std::string(repair_utf8(text, storage));
}
const std::string kBad = std::string(kReplacementCharacter);

TEST(Utf8, ValidTextIsNotCopied) {
  const std::string text = "long enough ascii, \xc3\xa9, \xe2\x82\xac, \xf4\x8f\xbf\xbf";
  std::string storage;
  EXPECT_EQ(repair_utf8(text, storage).data(), text.data());
}

// The examples of the Unicode standard, chapter 3, "U+FFFD substitution of maximal subparts".
TEST(Utf8, EachMaximalBrokenPartIsOneReplacementCharacter) {
  EXPECT_EQ(repaired("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41"),
            kBad + kBad + kBad + kBad + kBad + kBad + kBad + kBad + "A");
  EXPECT_EQ(repaired("\xed\xa0\x80\x41"), kBad + kBad + kBad + "A");
  EXPECT_EQ(repaired("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42"),
            kBad + kBad + kBad + kBad + kBad + "A" + kBad + kBad + "B");
  EXPECT_EQ(repaired("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41"), kBad + kBad + kBad + kBad + "A");
}

TEST(Utf8, ThePreviousCodePointBeginsAtItsFirstByte) {
  const std::string text = "a\xe2\x82\xac\xf0\x9f\x98\x80";
  EXPECT_EQ(previous_code_point(text, 8), 4u);
  EXPECT_EQ(previous_code_point(text, 4), 1u);
  EXPECT_EQ(previous_code_point(text, 1), 0u);
}

TEST(Utf8, OnlyABeginningThatMayGoOnIsAnUnfinishedTail) {
  EXPECT_EQ(unfinished_tail(""), 0u);
  EXPECT_EQ(unfinished_tail("a\xe2\x82\xac"), 0u);
  EXPECT_EQ(unfinished_tail("a\xe2\x82"), 2u);
  EXPECT_EQ(unfinished_tail("\xf0\x9f\x98"), 3u);
  EXPECT_EQ(unfinished_tail("\xf0\xe2"), 1u);
  EXPECT_EQ(unfinished_tail("a\x82"), 0u);
  EXPECT_EQ(unfinished_tail("\xed\xa0"), 0u);
}

}  // namespace
}  // namespace sy
