#include "csrc/io/tokenizers/regex.h"

#include <gtest/gtest.h>

#include <vector>

#include "csrc/core/check.h"

namespace sy {
namespace {

std::vector<std::string> matches(const std::string& pattern, const std::string& text) {
  std::vector<std::string> found;
  Regex(pattern, "file").for_each(text, [&](std::size_t a, std::size_t b) { found.push_back(text.substr(a, b - a)); });
  return found;
}
using Strings = std::vector<std::string>;

TEST(TokenizerRegex, SpaceIsThePropertyWhiteSpace) {
  EXPECT_EQ(matches(R"(\s+)", "a \u00a0\u3000\u0085b"), Strings{" \u00a0\u3000\u0085"});
  EXPECT_EQ(matches(R"(\s)", "\u180e\u200b"), Strings{});  // PCRE2's own \s takes the first
  EXPECT_EQ(matches(R"([^\s]+)", "a\u180eb c"), (Strings{"a\u180eb", "c"}));
  EXPECT_EQ(matches(R"([x\S]+)", "a\u180eb c"), (Strings{"a\u180eb", "c"}));
  EXPECT_EQ(matches(R"(\S+)", "a\u180eb\u2028c"), (Strings{"a\u180eb", "c"}));
}

TEST(TokenizerRegex, APlusAfterAnIntervalRepeatsItAndDoesNotMakeItPossessive) {
  EXPECT_EQ(matches(R"(\p{N}{1,3}+4)", "12344"), Strings{"12344"});
  EXPECT_EQ(matches(R"((?:ab){2}+)", "ababababab"), Strings{"abababab"});
  EXPECT_EQ(matches(R"([0-9]{2}+)", "12345"), Strings{"1234"});
}

TEST(TokenizerRegex, PossessiveSignsStayPossessive) {
  EXPECT_EQ(matches(R"([^\r\n\p{L}\p{N}]?+\p{L}+)", "!ab cd"), (Strings{"!ab", " cd"}));
  EXPECT_EQ(matches("a++a", "aaa"), Strings{});
}

TEST(TokenizerRegex, CaseFoldingReachesUnicodesLongSAndNoPairs) {
  EXPECT_EQ(matches("(?i:'s|'re)", "'S'RE'\u017f'\ufb06"), (Strings{"'S", "'RE", "'\u017f"}));
}

// U+A7DA and U+A7DB are a letter in both cases, U+1E4F0 is a digit, U+1B7F a punctuation sign: Unicode 15 and 16.
TEST(TokenizerRegex, CharactersOfUnicode16HaveTheirCategories) {
  const std::string text = "a\ua7da\ua7db\U0001e4f0\u1b7f.";
  EXPECT_EQ(matches(R"(\p{L}+)", text), Strings{"a\ua7da\ua7db"});
  EXPECT_EQ(matches(R"(\pL+)", text), Strings{"a\ua7da\ua7db"});
  EXPECT_EQ(matches(R"([\p{Lu}_])", text), Strings{"\ua7da"});
  EXPECT_EQ(matches(R"(\p{Ll}\p{Lu}\p{Ll}\d\p{P}{2})", text), Strings{text});
  EXPECT_EQ(matches(R"([^\s\p{L}\p{N}]+)", text), Strings{"\u1b7f."});
  EXPECT_EQ(matches(R"(\P{L}+)", text), Strings{"\U0001e4f0\u1b7f."});
  EXPECT_EQ(matches(R"(\p{^L}\D+)", text), Strings{"\U0001e4f0\u1b7f."});
  EXPECT_EQ(matches(R"([\p{N}]{1,3}+.)", text), Strings{"\U0001e4f0\u1b7f"});
}

TEST(TokenizerRegex, EmptyMatchesGoOn) { EXPECT_EQ(matches("b*", "\u00e9b"), (Strings{"", "b", ""})); }

TEST(TokenizerRegex, WhatOnigurumaReadsDifferentlyIsRefusedWithItsPlace) {
  for (const char* pattern : {R"(\w+)", R"(\h)", R"(a\b)", "[a[b]]", "[a&&b]", "[a", "(a))", "a\\", R"(\p{L)"}) {
    try {
      Regex(pattern, "t.json: here");
      ADD_FAILURE() << pattern;
    } catch (const UserError& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with("t.json: here: the regular expression")) << error.what();
    }
  }
  EXPECT_THROW(Regex("(a", "place"), UserError);
}

}  // namespace
}  // namespace sy
