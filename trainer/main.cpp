// switchyard: subcommands, exit codes, and the one place where errors end.
//   0 done   2 a mistake in what was given   75 stopped on request after a checkpoint   1 anything else
#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "csrc/core/check.h"
#include "csrc/core/nearest.h"
#include "parallel/comm.h"
#include "trainer/bench_step.h"
#include "trainer/config.h"
#include "trainer/convert.h"
#include "trainer/doctor.h"
#include "trainer/eval_command.h"
#include "trainer/generate.h"
#include "trainer/inspect.h"
#include "trainer/merge.h"
#include "trainer/methods.h"
#include "trainer/tokenize.h"
#include "trainer/train.h"
#include "trainer/upcycle.h"
#include "trainer/verify.h"

namespace sy {
namespace {

struct Command {
  const char* summary;
  std::function<int(int argc, char** argv)> run;
};

int train_command(int argc, char** argv, Comm& comm, StopSignals& signals) {
  std::string path;
  std::vector<std::string> overrides;
  bool print = false, help = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--print-config") print = true;
    else if (word == "--help" || word == "-h") help = true;
    else if (word.starts_with("-"))
      user_error("unknown option '{}'; settings are given as section.key=value (see `switchyard train --help`)", word);
    else if (path.empty()) path = word;
    else overrides.push_back(word);
  }
  if (help || path.empty()) {
    fmt::print(
        "Trains a model from a YAML file; started again, it continues from its last checkpoint.\n\n"
        "usage: switchyard train CONFIG.yaml [section.key=value ...] [--print-config]\n\n"
        "  section.key=value  overrides of the file, for example train.train_iters=20\n"
        "  --print-config     print the whole resolved configuration and train nothing\n\n"
        "`mpirun -np N switchyard train ...` uses N ranks.\n"
        "exit codes: 0 done, 2 a mistake in what was given, 75 stopped on request after a checkpoint, 1 anything "
        "else\n");
    return help ? 0 : 2;
  }
  if (print) {
    fmt::print("{}", print_config(load_config(path, overrides, comm.size())));
    return 0;
  }
  return run_train(path, overrides, comm, signals);
}

int doctor_command(int argc, char** argv) {
  if (argc == 1) return run_doctor();
  const std::string word = argv[1];
  if (word != "--help" && word != "-h") user_error("`switchyard doctor` takes no arguments, got '{}'", word);
  fmt::print("Reports what this build and this machine can do.\n\nusage: switchyard doctor\n");
  return 0;
}

void print_help(const std::map<std::string, Command>& commands) {
  fmt::print("switchyard: training of Mixture-of-Experts language models\n\nusage: switchyard COMMAND [arguments]\n\n");
  for (const auto& [name, command] : commands) fmt::print("  {:<10} {}\n", name, command.summary);
  fmt::print("\n`switchyard COMMAND --help` tells more; `mpirun -np N switchyard train CONFIG` uses N ranks.\n");
}

int run(int argc, char** argv, MpiSession& session, StopSignals& signals) {
  Comm& comm = session.world();
  const std::map<std::string, Command> commands = {
      {"train", {"pretrain from a YAML config", [&](int c, char** v) { return train_command(c, v, comm, signals); }}},
      {"generate", {"continue prompts with a trained checkpoint", run_generate}},
      {"eval",
       {"perplexity of a text, multiple choice, with a trained checkpoint",
        [&](int c, char** v) { return run_eval(c, v, comm); }}},
      {"convert",
       {"a Hugging Face folder to a checkpoint, or back", [&](int c, char** v) { return run_convert(c, v, comm); }}},
      {"tokenize", {"text and JSONL files to a .bin/.idx corpus", run_tokenize}},
      {"inspect", {"parameters, FLOPs and bytes of a config; contents of a checkpoint or corpus", run_inspect}},
      {"methods", {"the registered routers, balance losses, capacity policies ...", run_methods}},
      {"bench", {"time full training steps", [&](int c, char** v) { return run_bench(c, v, comm); }}},
      {"verify", {"compare this layout with one rank", [&](int c, char** v) { return run_verify(c, v, comm); }}},
      {"upcycle", {"an MoE checkpoint from dense ones", [&](int c, char** v) { return run_upcycle(c, v, comm); }}},
      {"merge", {"one checkpoint from several of one shape", [&](int c, char** v) { return run_merge(c, v, comm); }}},
      {"doctor", {"what this build and machine can do", doctor_command}},
  };
  if (argc < 2 || std::string(argv[1]) == "--help" || std::string(argv[1]) == "-h") {
    print_help(commands);
    return argc < 2 ? 2 : 0;
  }
  const auto command = commands.find(argv[1]);
  if (command == commands.end()) {
    std::vector<std::string> names;
    for (const auto& [name, unused] : commands) names.push_back(name);
    const std::string near = nearest(argv[1], names);
    user_error("unknown command '{}'{}; see `switchyard --help`", argv[1],
               near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
  }
  return command->second.run(argc - 1, argv + 1);
}

// A mistake is usually found by all ranks at once: rank 0 says it; another rank speaks only if rank 0 did not end the
// job meanwhile. mpirun takes up to a second for that, and more on a loaded machine; its SIGTERM ends the sleep.
int report(MpiSession& session, const std::string& message, int exit_code) {
  if (session.world().rank() != 0) std::this_thread::sleep_for(std::chrono::seconds(5));
  const std::string who = session.world().rank() == 0 ? "" : fmt::format("rank {}: ", session.world().rank());
  fmt::print(stderr, "switchyard: {}{}\n", who, message);
  std::fflush(nullptr);
  session.abort(exit_code);
  return exit_code;
}

}  // namespace
}  // namespace sy

int main(int argc, char** argv) {
  // A write beyond `ulimit -f` is then an error with a message, as on a full disk, instead of a silent end.
  std::signal(SIGXFSZ, SIG_IGN);
  sy::StopSignals signals;  // before any thread exists, so that all inherit the blocked signals
  std::unique_ptr<sy::MpiSession> session;
  try {
    session = std::make_unique<sy::MpiSession>(&argc, &argv);
  } catch (const std::exception& e) {
    fmt::print(stderr, "switchyard: {}\n", e.what());
    return 2;
  }
  try {
    return sy::run(argc, argv, *session, signals);
  } catch (const sy::UserError& e) {
    return sy::report(*session, e.what(), 2);
  } catch (const std::exception& e) {
    return sy::report(*session, e.what(), 1);
  }
}
