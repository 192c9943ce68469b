// The watchdog at work: a rank that comes late to a real collective is named on stderr once, by the lowest rank that
// waits, and the collective gives the right result.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <sstream>
#include <thread>

#include "parallel/comm.h"
#include "tests/parallel/mpi_main.h"

namespace sy::testing {
namespace {

void sleep_ms(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

class CommWatch : public ::testing::Test {
 protected:
  CommWatch() {
    world_.configure({.report_after_s = 0.4, .abort_after_s = 100});
    world_.place().step = 17;
    world_.place().layer = 2;
  }
  ~CommWatch() override {
    world_.configure({});
    world_.place().step = 0;
    world_.place().layer = -1;
  }
  bool is_last() const { return world_.rank() + 1 == world_.size(); }
  static std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }

  Comm& world_ = mpi_world();
};

TEST_F(CommWatch, ALateRankIsReportedOnceAndTheResultIsRight) {
  const auto group = world_.split(0, world_.rank(), "late");
  ::testing::internal::CaptureStderr();
  if (is_last()) sleep_ms(1500);
  double value = world_.rank() + 1;
  group->all_reduce_sum(std::span<double>(&value, 1));
  const std::vector<std::string> lines = lines_of(::testing::internal::GetCapturedStderr());
  world_.barrier();
  EXPECT_EQ(value, world_.size() * (world_.size() + 1) / 2);
  if (world_.rank() == 0) {
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_TRUE(lines[0].starts_with("switchyard: rank 0 has waited 0.")) << lines[0];
    EXPECT_TRUE(
        lines[0].ends_with(fmt::format(" s in all_reduce_sum number 1 of group 'late', layer 2, step 17; not arrived: "
                                       "rank {}; the job ends after 100 s",
                                       world_.size() - 1)))
        << lines[0];
    EXPECT_TRUE(
        lines[1].starts_with("switchyard: all_reduce_sum number 1 of group 'late', layer 2, step 17 went on after 1."))
        << lines[1];
    EXPECT_TRUE(lines[1].ends_with(fmt::format("; rank {} is a straggler", world_.size() - 1))) << lines[1];
  } else {
    EXPECT_EQ(lines, std::vector<std::string>{});
  }
}

// Two communicators whose messages go through different code: what all_to_all waits for is watched as well.
TEST_F(CommWatch, MessagesBetweenPairsOfRanksAreWatchedToo) {
  const auto group = world_.split(0, -world_.rank(), "reversed");
  const std::vector<int64_t> counts(static_cast<std::size_t>(world_.size()), 2);
  std::vector<float> send(2 * counts.size(), static_cast<float>(world_.rank())), recv(send.size(), -1.0f);
  ::testing::internal::CaptureStderr();
  if (is_last()) sleep_ms(1200);
  group->all_to_all(std::span<const float>(send), counts, std::span<float>(recv), counts);
  const std::vector<std::string> lines = lines_of(::testing::internal::GetCapturedStderr());
  world_.barrier();
  for (std::size_t i = 0; i < recv.size(); ++i) EXPECT_EQ(recv[i], static_cast<float>(counts.size() - 1 - i / 2));
  if (world_.rank() == 0) {
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_NE(lines[0].find(fmt::format(" s in all_to_all number 1 of group 'reversed', layer 2, step 17; not arrived: "
                                        "rank {};",
                                        world_.size() - 1)),
              std::string::npos)
        << lines[0];
  } else {
    EXPECT_EQ(lines, std::vector<std::string>{});
  }
}

TEST_F(CommWatch, AnotherThreadCanReadWhatARankWaitsFor) {
  const auto group = world_.split(0, world_.rank(), "read");
  group->barrier();
  std::string read;
  std::thread reader([&] {
    if (world_.rank() != 0) return;
    char text[256];
    for (int i = 0; i < 200 && read.empty(); ++i) {
      sleep_ms(5);
      read.assign(text, world_.describe_wait(text));
    }
  });
  if (is_last()) sleep_ms(300);
  group->barrier();
  reader.join();
  if (world_.rank() == 0) {
    EXPECT_EQ(read, "rank 0 was waiting in barrier number 2 of group 'read', layer 2, step 17");
  }
  char text[256];
  EXPECT_EQ(world_.describe_wait(text), 0u) << "nobody waits now";
}

}  // namespace
}  // namespace sy::testing
