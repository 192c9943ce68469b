#include "csrc/io/yaml_scalar.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace sy {
namespace {

TEST(YamlScalar, WholeNumbersMayBeWrittenWithExponentOrPoint) {
  EXPECT_EQ(parse_int("-12"), -12);
  EXPECT_EQ(parse_int("+12"), 12);
  EXPECT_EQ(parse_int("1e6"), 1000000);
  EXPECT_EQ(parse_int("1.5e3"), 1500);
  EXPECT_EQ(parse_int("2.0"), 2);
  EXPECT_EQ(parse_int("9223372036854775807"), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(parse_int("-9223372036854775808"), std::numeric_limits<int64_t>::min());
}

TEST(YamlScalar, WhatIsNotExactlyAWholeNumberIsRefused) {
  for (const char* text : {"", "1.5", "1e-1", "12a", " 12", "0x10", "1_000", "9223372036854775808", "1e16", "--1",
                           "+-1", "+", "inf", "nan", "e5", "true"}) {
    EXPECT_FALSE(parse_int(text).has_value()) << text;
  }
}

TEST(YamlScalar, NumbersAreFinite) {
  EXPECT_EQ(parse_float("1e-3"), 1e-3);
  EXPECT_EQ(parse_float("+.5"), 0.5);
  EXPECT_EQ(parse_float("-3"), -3.0);
  for (const char* text : {"", "1e999", "inf", ".inf", "nan", ".nan", "1,5", "1e", "0x1p3", "1 "}) {
    EXPECT_FALSE(parse_float(text).has_value()) << text;
  }
}

TEST(YamlScalar, PrintedNumbersReadBackToTheSameBits) {
  for (const double value : {0.1, 1.0, -2.5, 1e-8, 1e300, 5e-324, 123456789012345680.0, 1.0 / 3.0, 0.0}) {
    EXPECT_EQ(parse_float(print_float(value)), value) << print_float(value);
  }
  EXPECT_EQ(print_float(1), "1.0");
  EXPECT_EQ(print_float(0.0003), "0.0003");
}

TEST(YamlScalar, TextThatCouldMeanSomethingElseIsQuoted) {
  for (const char* text : {"hash", "runs/x-1.yaml", "a_b", "/tmp/x", "x1"}) EXPECT_EQ(print_string(text), text);
  for (const char* text :
       {"", "true", "No", "NULL", "12", "1e5", ".5", "a b", "-x", "a:b", "~", "#", "*a", "&a", "y"}) {
    EXPECT_EQ(print_string(text).front(), '"') << text;
  }
}

}  // namespace
}  // namespace sy
