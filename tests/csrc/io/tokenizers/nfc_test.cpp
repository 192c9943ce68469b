#include "csrc/io/tokenizers/nfc.h"

#include <gtest/gtest.h>

namespace sy {
namespace {

TEST(Nfc, ComposesAndSortsMarksByTheirClass) {
  EXPECT_EQ(nfc("e\u0301 n\u0303o"), "\u00e9 \u00f1o");
  EXPECT_EQ(nfc("q\u0307\u0323"), "q\u0323\u0307");
  EXPECT_EQ(nfc("\u1e9b\u0323"), "\u1e9b\u0323");
  EXPECT_EQ(nfc("\u00e9\u0316\u0301"), "\u00e9\u0316\u0301");
  EXPECT_EQ(nfc("e\u0316\u0301"), "\u00e9\u0316");
  EXPECT_EQ(nfc("\u0438\u0306\u0439"), "\u0439\u0439");
}

TEST(Nfc, ReplacesCharactersThatHaveACanonicalEqual) {
  EXPECT_EQ(nfc("x\u212bx"), "x\u00c5x");
  EXPECT_EQ(nfc("\u0958\ufb1d"), "\u0915\u093c\u05d9\u05b4");  // excluded from composition
}

TEST(Nfc, HangulComposesFromItsParts) {
  EXPECT_EQ(nfc("\u1112\u1161\u11ab\u1100\u1173\u11af"), "\ud55c\uae00");
  EXPECT_EQ(nfc("\ud558\u11ab"), "\ud55c");
  EXPECT_EQ(nfc("\ud558\u11a7"), "\ud558\u11a7");
}

TEST(Nfc, MarksStandAloneAtTheBeginningAndAcrossWhatDoesNotCompose) {
  EXPECT_EQ(nfc("\u0301\u0316a"), "\u0316\u0301a");
  EXPECT_EQ(nfc("\u4e2d\u0301\u0316\u4e2d"), "\u4e2d\u0316\u0301\u4e2d");
}

// U+1DF9, below, is of Unicode 11, U+1E08F, above, of Unicode 15; U+11935 and U+11930 have a composition since
// Unicode 13.
TEST(Nfc, MarksSinceUnicode10AreCharactersLikeOthers) {
  EXPECT_EQ(nfc("e\U0001e08f\u0301"), "e\U0001e08f\u0301");
  EXPECT_EQ(nfc("e\u0301\u1df9\u0316"), "\u00e9\u1df9\u0316");
  EXPECT_EQ(nfc("\U0001e08f\u0316\u0301"), "\U0001e08f\u0316\u0301");
  EXPECT_EQ(nfc("a\U00011935\U00011930a\u0301"), "a\U00011935\U00011930\u00e1");
}

}  // namespace
}  // namespace sy
