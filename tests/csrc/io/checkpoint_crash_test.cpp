// Promise P4: whatever ends the writer - kill -9, a full disk - the last complete checkpoint stays loadable.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "tests/csrc/io/checkpoint_testing.h"
#include "tests/csrc/io/io_testing.h"

namespace fs = std::filesystem;

namespace sy {
namespace {

using testing::TempDir;
using testing::TestTensor;
using testing::write_whole;

// 200 kB whose bytes depend on the step.
std::vector<TestTensor> tensors_of_step(int64_t step) {
  std::vector<TestTensor> tensors;
  for (uint32_t i = 0; i < 4; ++i) {
    tensors.emplace_back(CheckpointTensor{fmt::format("w{}", i), "", DType::f32, {50, 250}},
                         static_cast<uint32_t>(step) * 4 + i);
  }
  return tensors;
}

// The checkpoint is complete, undamaged and holds the values of its step.
void expect_intact(const FoundCheckpoint& found) {
  const CheckpointReader reader(found.directory);
  reader.verify_checksums();
  EXPECT_EQ(reader.state().step, found.step);
  EXPECT_EQ(reader.blob("sampler"), fmt::format("state {}", found.step));
  for (const TestTensor& t : tensors_of_step(found.step)) {
    std::string got(t.bytes.size(), '\0');
    reader.read_box(t.tensor.name, "", Box::whole(t.tensor.shape), got.data());
    EXPECT_EQ(got, t.bytes);
  }
}

// Runs `body` in a child process; returns its exit status (a thrown exception is status 99).
template <class Body>
int exit_status_of(Body body) {
  const pid_t child = ::fork();
  if (child == 0) {
    int status = 99;
    try {
      status = body();
    } catch (const std::exception& error) {
      fmt::print(stderr, "child: {}\n", error.what());
    }
    ::_exit(status);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// Writes steps from `first` on, some of them a second time, and reports each finished one through the pipe.
[[noreturn]] void write_until_killed(const std::string& folder, int64_t first, int report_fd) {
  prepare_checkpoint_folder(folder);
  for (int64_t step = first;; ++step) {
    write_whole(folder, step, tensors_of_step(step), 2);
    if (step % 3 == 0) write_whole(folder, step, tensors_of_step(step), 2);
    if (::write(report_fd, &step, sizeof(step)) != sizeof(step)) ::_exit(1);
  }
}

TEST(CheckpointCrash, KillAtTwentyRandomMomentsAlwaysLeavesACompleteLatest) {
  const TempDir dir;
  const std::string folder = dir.file("checkpoints");
  std::mt19937 rng(std::random_device{}());
  int64_t finished = 0;
  int interrupted = 0;
  for (int round = 0; round < 20; ++round) {
    int pipe_fds[2];
    ASSERT_EQ(::pipe(pipe_fds), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(pipe_fds[0]);
      write_until_killed(folder, finished + 1, pipe_fds[1]);
    }
    ::close(pipe_fds[1]);
    // The first round must have something to find; later ones are cut at any instant.
    int64_t step = 0;
    if (round == 0) {
      ASSERT_EQ(::read(pipe_fds[0], &finished, sizeof(finished)), 8);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(testing::uniform(rng, 0, 150'000)));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    while (::read(pipe_fds[0], &step, sizeof(step)) == sizeof(step)) finished = step;
    ::close(pipe_fds[0]);

    for (const auto& entry : fs::directory_iterator(folder)) {
      interrupted += entry.path().filename().string().starts_with(".tmp_step");
    }
    const auto found = find_latest_checkpoint(folder);
    ASSERT_TRUE(found.has_value());
    EXPECT_GE(found->step, finished);
    EXPECT_LE(found->step, finished + 1);
    expect_intact(*found);
    finished = found->step;
  }
  // Otherwise no kill fell into a write and the test said nothing.
  EXPECT_GT(interrupted, 3);
  prepare_checkpoint_folder(folder);
  for (const auto& entry : fs::directory_iterator(folder)) {
    EXPECT_FALSE(entry.path().filename().string().starts_with(".")) << entry.path();
  }
  expect_intact(*find_latest_checkpoint(folder));
}

// In a child: fills `folder`, whose room ends somewhere, with checkpoints until one fails; then checks the rest.
int fill_disk(const std::string& folder, const std::string& reason) {
  int64_t step = 0;
  std::string message;
  try {
    while (step < 1000) write_whole(folder, step + 1, tensors_of_step(step + 1)), ++step;
  } catch (const UserError& error) {
    message = error.what();
  }
  testing::expect_user_error([&] { throw UserError(message); },
                             {fmt::format("checkpoint of step {} was not written", step + 1), "cannot write '",
                              "shard_00000_of_00001.safetensors'", reason});
  EXPECT_FALSE(fs::exists(fs::path(folder) / temporary_step_directory_name(step + 1)));
  const auto found = find_latest_checkpoint(folder);
  EXPECT_TRUE(found.has_value() == (step > 0));
  if (found) {
    EXPECT_EQ(found->step, step);
    EXPECT_EQ(found->note, "");
    expect_intact(*found);
  }
  return ::testing::Test::HasFailure() ? 1 : (found ? 0 : 2);
}

TEST(CheckpointCrash, AFullDiskIsReportedAndThePreviousCheckpointStays) {
  const TempDir dir;
  const int status = exit_status_of([&] {
    // A file system of its own, visible to this child alone.
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", dir.path().c_str(), "tmpfs", 0, "size=1m") != 0) {
      return 77;
    }
    return fill_disk(dir.file("checkpoints"), "No space left on device");
  });
  if (status == 77) GTEST_SKIP() << "mounting a small file system needs root";
  EXPECT_EQ(status, 0);
}

TEST(CheckpointCrash, AFileSizeLimitIsReportedAndNothingIsPublished) {
  const TempDir dir;
  const std::string folder = dir.file("checkpoints");
  write_whole(folder, 1, {TestTensor({"small", "", DType::f32, {4}}, 1)});
  const int status = exit_status_of([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{100'000, 100'000};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 98;
    testing::expect_user_error([&] { write_whole(folder, 2, tensors_of_step(2)); },
                               {"checkpoint of step 2 was not written", "File too large", "shard_00000_of_00001"});
    return ::testing::Test::HasFailure() ? 1 : 0;
  });
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(fs::exists(fs::path(folder) / ".tmp_step_00000002"));
  EXPECT_EQ(find_latest_checkpoint(folder)->step, 1);
}

TEST(CheckpointCrash, AFolderThatCannotBeWrittenIsNamed) {
  testing::expect_user_error([] { write_whole("/proc/checkpoints", 1, {}); },
                             {"cannot create directory '/proc/checkpoints"});
}

}  // namespace
}  // namespace sy
