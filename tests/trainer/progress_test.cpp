#include "trainer/progress.h"

#include <gtest/gtest.h>

#include <limits>

namespace sy {
namespace {

// A progress display whose clock and output are ours.
struct Recorded {
  double now = 1000;
  std::string text;

  ProgressOptions options(ProgressOptions::Style style) {
    ProgressOptions o;
    o.label = "train";
    o.total = 1000;
    o.style = style;
    o.output = [this](std::string_view s) { text += s; };
    o.clock = [this] { return now; };
    return o;
  }
};

int64_t count_of(const std::string& text, const std::string& what) {
  int64_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST(Progress, DurationsAreFormattedForPeople) {
  EXPECT_EQ(format_duration(0.9), "00:00");
  EXPECT_EQ(format_duration(425), "07:05");
  EXPECT_EQ(format_duration(3599.99), "59:59");
  EXPECT_EQ(format_duration(3723), "1:02:03");
  EXPECT_EQ(format_duration(2 * 86400 + 3 * 3600 + 4 * 60 + 5), "2d 03:04:05");
  EXPECT_EQ(format_duration(-1), "--:--");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::infinity()), "--:--");
}

TEST(Progress, BytesAreFormattedForPeople) {
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1500), "1.5 kB");
  EXPECT_EQ(format_bytes(999'960), "1.0 MB");
  EXPECT_EQ(format_bytes(20e6), "20.0 MB");
  EXPECT_EQ(format_bytes(3.2e18), "3200.0 PB");
}

TEST(Progress, LinesComeAtEveryIntervalWithRateAndTimeLeft) {
  Recorded r;
  auto options = r.options(ProgressOptions::Style::kLines);
  options.line_interval = 100;
  Progress progress(options);
  for (int64_t step = 1; step <= 250; ++step) {
    r.now += 0.1;
    progress.update(step, "loss 2.5");
  }
  EXPECT_EQ(r.text,
            "train   10%  step 100/1000  10.0/s  elapsed 00:10  left 01:30  loss 2.5\n"
            "train   20%  step 200/1000  10.0/s  elapsed 00:20  left 01:20  loss 2.5\n");
  r.text.clear();
  progress.finish();
  EXPECT_EQ(r.text, "train   25%  step 250/1000  10.0/s  elapsed 00:25  left 01:15  loss 2.5\n");
}

TEST(Progress, FinishDoesNotRepeatTheLastLine) {
  Recorded r;
  auto options = r.options(ProgressOptions::Style::kLines);
  options.line_interval = 500;
  Progress progress(options);
  for (const int64_t step : {500, 1000}) {
    r.now += 1;
    progress.update(step);
  }
  progress.finish();
  EXPECT_EQ(count_of(r.text, "\n"), 2);
  EXPECT_EQ(count_of(r.text, "100%"), 1);
}

TEST(Progress, AResumedRunCountsItsRateFromWhereItStarts) {
  Recorded r;
  auto options = r.options(ProgressOptions::Style::kLines);
  options.line_interval = 1;
  Progress progress(options, 900);
  r.now += 4;
  progress.update(901);
  EXPECT_EQ(r.text, "train   90%  step 901/1000  4.00 s/step  elapsed 00:04  left 06:36\n");
}

TEST(Progress, TheRateFollowsAChangeOfSpeed) {
  Recorded r;
  auto options = r.options(ProgressOptions::Style::kLines);
  options.line_interval = 1000;
  Progress progress(options);
  int64_t step = 0;
  for (; step < 900; ++step) r.now += 1, progress.update(step + 1);
  for (; step < 1000; ++step) r.now += 10, progress.update(step + 1);
  EXPECT_NE(r.text.find("10.00 s/step"), std::string::npos) << r.text;
}

TEST(Progress, BytesComeEveryFewSecondsWithoutATotal) {
  Recorded r;
  auto options = r.options(ProgressOptions::Style::kLines);
  options.label = "tokenize";
  options.total = 0;
  options.unit = ProgressOptions::Unit::kBytes;
  options.line_seconds = 10;
  Progress progress(options);
  for (int i = 1; i <= 25; ++i) {
    r.now += 1;
    progress.update(i * 2'000'000);
  }
  EXPECT_EQ(r.text,
            "tokenize  20.0 MB  2.0 MB/s  elapsed 00:10\n"
            "tokenize  40.0 MB  2.0 MB/s  elapsed 00:20\n");
}

TEST(Progress, TheBarIsOneLineRedrawnAtMostTenTimesASecond) {
  Recorded r;
  auto options = r.options(ProgressOptions::Style::kBar);
  options.width = 60;
  {
    Progress progress(options);
    for (int64_t step = 1; step <= 500; ++step) {
      r.now += 0.01;
      progress.update(step, "a status that is far too long for the width of this terminal");
    }
    EXPECT_LE(count_of(r.text, "\r"), 51);
    EXPECT_GE(count_of(r.text, "\r"), 40);
    EXPECT_EQ(count_of(r.text, "\n"), 0);
    const std::string last = r.text.substr(r.text.rfind("\r\x1b[K") + 4);
    EXPECT_EQ(last.size(), 59u);
    EXPECT_TRUE(last.starts_with("train  [#########-----------]   49%") || last.starts_with("train  [##########----"))
        << last;
    progress.message("checkpoint written");
    EXPECT_NE(r.text.find("\r\x1b[Kcheckpoint written\n\r\x1b[Ktrain"), std::string::npos);
  }
  // Leaving without finish() ends the line, so that an error message starts on its own.
  EXPECT_TRUE(r.text.ends_with("\n"));
  EXPECT_EQ(count_of(r.text, "\n"), 2);
}

TEST(Progress, OtherRanksAreSilent) {
  EXPECT_EQ(default_progress_style(1), ProgressOptions::Style::kSilent);
  EXPECT_NE(default_progress_style(0), ProgressOptions::Style::kSilent);
  Recorded r;
  {
    Progress progress(r.options(ProgressOptions::Style::kSilent));
    for (int64_t step = 1; step <= 1000; ++step) r.now += 1, progress.update(step);
    progress.message("hello");
    progress.finish("done");
  }
  EXPECT_EQ(r.text, "");
}

}  // namespace
}  // namespace sy
