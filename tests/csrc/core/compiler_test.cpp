// The compiler itself: g++ 12 with AVX-512 and 64-byte block moves turned this vector into {.5, .5, .5, .5}.
#include <gtest/gtest.h>

#include <vector>

namespace {

TEST(Compiler, ConstantVectorKeepsItsZeros) {
  const std::vector<double> v = {.5, .5, 0, 0};
  EXPECT_EQ(v[0], .5);
  EXPECT_EQ(v[1], .5);
  EXPECT_EQ(v[2], 0);
  EXPECT_EQ(v[3], 0);
}

}  // namespace
