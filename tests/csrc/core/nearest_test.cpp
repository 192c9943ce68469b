#include "csrc/core/nearest.h"

#include <gtest/gtest.h>

namespace sy {
namespace {

TEST(EditDistance, CountsInsertDeleteReplaceAndSwap) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("abc", ""), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("trian", "train"), 1u);
  EXPECT_EQ(edit_distance("num_expert", "num_experts"), 1u);
}

TEST(Nearest, FindsTheLikelyWordOrNone) {
  const std::vector<std::string> known = {"train", "model", "optimizer", "lr", "lr_decay_style"};
  EXPECT_EQ(nearest("trian", known), "train");
  EXPECT_EQ(nearest("modle", known), "model");
  EXPECT_EQ(nearest("lr_decay", known), "lr_decay_style") << "a beginning counts";
  EXPECT_EQ(nearest("xyzzy", known), "");
  EXPECT_EQ(nearest("ab", known), "") << "replacing the whole word is not near";
  EXPECT_EQ(nearest("", known), "");
  EXPECT_EQ(nearest("x", {}), "");
}

TEST(Nearest, TiesGoToTheFirst) { EXPECT_EQ(nearest("cat", {"car", "cab"}), "car"); }

}  // namespace
}  // namespace sy
