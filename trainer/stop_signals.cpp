#include "trainer/stop_signals.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>

namespace sy {

namespace {

sigset_t watched() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGUSR1, SIGTERM, SIGINT}) sigaddset(&set, signal);
  return set;
}

// mpirun is the parent of the ranks it starts. When it is told to end, it sends SIGTERM and, a second later, SIGKILL; a
// scheduler that warns the ranks signals them from another process.
bool from_launcher(const siginfo_t& info) {
  return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr && info.si_pid == getppid();
}

}  // namespace

StopSignals::StopSignals() {
  const sigset_t set = watched();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  watcher_ = std::thread([this] { watch(); });
}

StopSignals::~StopSignals() {
  done_ = true;
  watcher_.join();
}

void StopSignals::set_last_words(std::function<std::string()> last_words) {
  const std::scoped_lock lock(mutex_);
  last_words_ = std::move(last_words);
}

void StopSignals::watch() {
  const sigset_t set = watched();
  const timespec poll{0, 100'000'000};
  while (!done_) {
    siginfo_t info{};
    const int signal = sigtimedwait(&set, &info, &poll);
    if (signal < 0) continue;  // timed out
    if (accepts_requests_ && (signal == SIGUSR1 || (signal == SIGTERM && !from_launcher(info)))) {
      requested_ = true;
      continue;
    }
    std::string line;
    {
      const std::scoped_lock lock(mutex_);
      if (last_words_) line = last_words_();
    }
    if (!line.empty()) {
      line += "\n";
      // The process may be killed at any moment: one write, no buffers.
      [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
    }
    ::_exit(accepts_requests_ ? 1 : 128 + signal);
  }
}

}  // namespace sy
