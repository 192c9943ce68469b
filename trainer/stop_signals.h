// Signals of a training run. A watcher thread receives them, so nothing happens inside a handler.
//
//   SIGUSR1 (mpirun passes it on), or SIGTERM sent to the ranks by a scheduler: requested() becomes true; the ranks
//     agree on the step in the step's own reduction, write a checkpoint and exit with 75.
//   SIGTERM or SIGINT from mpirun itself, or Ctrl-C on a single process: about a second is left before SIGKILL. The
//     watcher prints the step and the last complete checkpoint and ends the process; nothing is written.
// Commands that do not answer requests (all but train) are ended by any of these signals, with status 128 + its number.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace sy {

class StopSignals {
 public:
  // Blocks the signals in this and all later threads: construct before any thread starts. `last_words` is called on the
  // watcher thread when the process must end at once; it returns the line to print ("" for silence).
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // From now on SIGUSR1 and a scheduler's SIGTERM are requests to stop, which the caller obeys soon.
  void accept_requests() { accepts_requests_ = true; }
  void set_last_words(std::function<std::string()> last_words);
  bool requested() const { return requested_.load(); }

 private:
  void watch();

  std::atomic<bool> accepts_requests_{false}, requested_{false}, done_{false};
  std::mutex mutex_;
  std::function<std::string()> last_words_;
  std::thread watcher_;
};

}  // namespace sy
