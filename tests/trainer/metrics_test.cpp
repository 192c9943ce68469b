#include "trainer/metrics.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <limits>

#include "tests/csrc/io/io_testing.h"

namespace sy {
namespace {

using testing::expect_user_error;
using testing::read_bytes;
using testing::TempDir;
using testing::write_bytes;

TEST(Metrics, ALineIsJsonInTheGivenOrder) {
  EXPECT_EQ(metrics_line({{"step", int64_t{10}}, {"loss", 0.1}, {"a", std::string("x\"y")}, {"n", 3.0}}),
            R"({"step":10,"loss":0.1,"a":"x\"y","n":3.0})");
  EXPECT_EQ(metrics_line({{"big", int64_t{1} << 62}}), R"({"big":4611686018427387904})");
}

TEST(Metrics, NumbersJsonLacksBecomeStrings) {
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(metrics_line({{"a", std::nan("")}, {"b", inf}, {"c", -inf}}), R"({"a":"nan","b":"inf","c":"-inf"})");
}

TEST(Metrics, ResumeKeepsLinesUpToTheCheckpointAndCutsTheRest) {
  const TempDir dir;
  const std::string path = dir.file("metrics.jsonl");
  {
    MetricsWriter writer(dir.path());
    for (int64_t step = 1; step <= 5; ++step) writer.log(step, {{"loss", 1.0 / static_cast<double>(step)}});
    writer.log(5, {{"eval_loss", 0.5}});
  }
  const std::string three = read_bytes(path).substr(0, read_bytes(path).find("{\"step\":4"));
  // The torn line of a write that a kill interrupted.
  write_bytes(path, read_bytes(path) + "{\"step\":6,\"lo");
  {
    MetricsWriter writer(dir.path(), 3);
    EXPECT_EQ(read_bytes(path), three);
    EXPECT_THROW(writer.log(2, {}), Error);
    writer.log(4, {{"loss", 9.0}});
  }
  EXPECT_EQ(read_bytes(path), three + "{\"step\":4,\"loss\":9.0}\n");
  MetricsWriter(dir.path(), 100);
  EXPECT_EQ(read_bytes(path), three + "{\"step\":4,\"loss\":9.0}\n");
  MetricsWriter(dir.path(), -1);
  EXPECT_EQ(read_bytes(path), "");
}

TEST(Metrics, AForeignFileIsNotTouched) {
  const TempDir dir;
  const std::string path = dir.file("metrics.jsonl");
  for (const std::string text : {"my notes\nof today\n", "{\"step\":1}\ngarbage\n{\"step\":2}\n"}) {
    write_bytes(path, text);
    expect_user_error([&] { MetricsWriter(dir.path(), 5); }, {path});
    EXPECT_EQ(read_bytes(path), text);
  }
}

TEST(Metrics, LoggedLinesSurviveKill) {
  const TempDir dir;
  const pid_t child = ::fork();
  if (child == 0) {
    MetricsWriter writer(dir.path());
    for (int64_t step = 1; step <= 50; ++step) writer.log(step, {{"loss", 1.5}});
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  const std::string text = read_bytes(dir.file("metrics.jsonl"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 50);
  EXPECT_TRUE(text.ends_with("{\"step\":50,\"loss\":1.5}\n"));
}

TEST(Metrics, SummaryIsReplacedAndTensorBoardGetsAFilePerStart) {
  const TempDir dir;
  MetricsWriter writer(dir.path());
  writer.write_summary({{"steps", int64_t{1}}});
  writer.write_summary({{"steps", int64_t{2}}, {"exit_reason", std::string("done")}});
  EXPECT_EQ(read_bytes(dir.file("summary.json")), "{\n  \"steps\": 2,\n  \"exit_reason\": \"done\"\n}\n");
  MetricsWriter again(dir.path(), 0);
  const auto files = std::filesystem::directory_iterator(dir.file("tensorboard"));
  EXPECT_EQ(std::distance(files, {}), 2);
}

}  // namespace
}  // namespace sy
