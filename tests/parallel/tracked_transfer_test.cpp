// What a step's trace says of a transfer: bytes and exchanges by hand, where it starts and where it is awaited.
#include "parallel/tracked_transfer.h"

#include <gtest/gtest.h>

namespace sy {
namespace {

using Kind = StepEvent::Kind;

struct Traced {
  Context ctx{DeviceType::cpu};
  StepTrace trace;
  Traced() { ctx.trace = &trace; }
  std::vector<std::pair<Kind, int64_t>> kinds_and_numbers() const {
    std::vector<std::pair<Kind, int64_t>> seen;
    for (const StepEvent& event : trace.events()) seen.emplace_back(event.kind, event.number);
    return seen;
  }
};

TEST(TrackedTransfer, AShareGoesToEveryOtherRankAndASumMovesItsSharesTwice) {
  const auto four = make_meta_comm(4, "dp");
  EXPECT_EQ(share_per_rank(*four, "rows", 5), (Transfer{.what = "rows", .group = "dp", .ranks = 4, .bytes = 15}));
  EXPECT_EQ(sum_for_all(*four, "sums", 8),
            (Transfer{.what = "sums", .group = "dp", .ranks = 4, .bytes = 12, .exchanges = 2}));
  EXPECT_EQ(sum_for_all(*four, "sums", 9).bytes, 18) << "shares are rounded up";
}

TEST(TrackedTransfer, IsAwaitedWhereItsRequestIs) {
  Traced step;
  const Transfer rows{.what = "rows", .group = "ep", .ranks = 2, .bytes = 1};
  CommRequest first = tracked(step.ctx, rows, {}), bucket = tracked(step.ctx, rows, {}, 7);
  bucket.wait();
  first.wait();
  EXPECT_EQ(step.kinds_and_numbers(), (std::vector<std::pair<Kind, int64_t>>{
                                          {Kind::kStart, 1}, {Kind::kStart, 7}, {Kind::kWait, 7}, {Kind::kWait, 1}}));
  EXPECT_EQ(step.trace.events()[0].transfer, rows);
}

TEST(TrackedTransfer, WithoutOverlapIsAwaitedWhereItStarts) {
  Traced step;
  step.ctx.overlap = false;
  CommRequest first = tracked(step.ctx, {.what = "rows", .group = "ep", .ranks = 2}, {});
  EXPECT_EQ(step.kinds_and_numbers(), (std::vector<std::pair<Kind, int64_t>>{{Kind::kStart, 1}, {Kind::kWait, 1}}));
}

TEST(TrackedTransfer, OfOneRankOrWithoutATraceIsNotNoted) {
  Traced step;
  track_awaited(step.ctx, {.what = "sums", .group = "dp", .ranks = 1});
  EXPECT_TRUE(step.trace.events().empty());
  track_awaited(step.ctx, {.what = "sums", .group = "dp", .ranks = 2});
  EXPECT_EQ(step.trace.events().size(), 2u);
  Context untraced(DeviceType::cpu);
  track_awaited(untraced, {.what = "sums", .group = "dp", .ranks = 2});
  tracked(untraced, {.what = "sums", .group = "dp", .ranks = 2}, {}).wait();
}

}  // namespace
}  // namespace sy
