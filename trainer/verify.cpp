#include "trainer/verify.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "trainer/layout.h"
#include "trainer/layout_run.h"

namespace sy {

namespace {

// Relative differences that rounding alone explains: of one step, of several, and of the scores of two experts of which
// one run took the one and the other run the other.
struct Bounds {
  double step, run, score_gap;
};

Bounds bounds_of(ComputeType type) {
  switch (type) {
    case ComputeType::kF64:
      return {1e-10, 1e-10, 1e-5};
    case ComputeType::kF32:
      return {1e-5, 1e-5, 1e-5};
    case ComputeType::kBf16:
      return {5e-2, 5e-2, 5e-2};  // 8 bits of mantissa, rounded wherever a sum over ranks ends
  }
  return {1e-5, 1e-5, 1e-5};
}

class Table {
 public:
  void row(const std::string& what, double difference, double bound, const std::string& where = "") {
    const bool is_within = difference <= bound;
    all_within_ = all_within_ && is_within;
    fmt::print("  {:<28} {:>9.2e}   {:>7.0e}   {}{}\n", what, difference, bound, is_within ? "ok" : "DIFFERS",
               where.empty() ? "" : "   largest in " + where);
  }
  bool all_within() const { return all_within_; }

 private:
  bool all_within_ = true;
};

// Choices of experts, over all ranks; on rank 0.
struct Choices {
  int64_t compared = 0, differing = 0;
  double largest_gap = 0;
};

Choices choices_of_all(Comm& comm, const moe::RoutingLog& log, int64_t tensor_ranks) {
  // Tensor-parallel ranks see the same choices: one of them counts.
  const bool counts = comm.rank() % tensor_ranks == 0;
  int64_t sums[2] = {counts ? log.assignments() : 0, counts ? log.differing() : 0};
  comm.all_reduce_sum(std::span<int64_t>(sums));
  Choices all{.compared = sums[0], .differing = sums[1]};
  for (const std::string& gap : comm.gather_strings(fmt::format("{}", log.largest_gap()), 0))
    all.largest_gap = std::max(all.largest_gap, std::stod(gap));
  return all;
}

bool report(const Config& config, const LayoutRun& run, const LayoutRun& reference, const Choices& choices, bool replay,
            int64_t data_ranks) {
  const LayoutDifference d = compare(run, reference);
  const Bounds bounds = bounds_of(config.train.dtype);
  fmt::print("  {:<28} {:>9}   {:>7}\n", "relative difference", "largest", "bound");
  Table table;
  table.row("losses", d.loss, bounds.run);
  table.row("gradient norms", d.grad_norm, bounds.run);
  table.row("gradients of the first step", d.gradient, bounds.step, d.worst_gradient);
  // A moment that is zero but for rounding moves its parameter by whole steps: only f64 bounds parameters.
  const bool is_exact = config.train.dtype == ComputeType::kF64;
  if (is_exact) table.row("parameters after the last", d.parameter, bounds.run, d.worst_parameter);
  if (!run.router_state.empty()) table.row("router state after the last", d.state, bounds.run, d.worst_state);
  if (choices.differing > 0) table.row("scores of other choices", choices.largest_gap, bounds.score_gap);
  if (choices.compared > 0)
    fmt::print("  assignments: {} of {} differ{}\n", choices.differing, choices.compared,
               replay ? "; the one-rank run's were used" : "");
  if (table.all_within()) return true;
  if (!replay && choices.differing > 0 && choices.largest_gap <= bounds.score_gap)
    fmt::print("  near ties were decided otherwise: `--replay` compares under equal assignments\n");
  const int64_t waves = config.train.global_batch_size / config.train.micro_batch_size;
  if (const int64_t here = waves / data_ranks; here != waves)
    fmt::print(
        "  a step has {} {} of micro-batches here and {} on one rank: a balance loss of scope global_batch then "
        "differs "
        "by definition\n",
        here, here == 1 ? "wave" : "waves", waves);
  return false;
}

}  // namespace

int run_verify(int argc, char** argv, Comm& comm) {
  CLI::App app("Train a few steps on one rank and on the configured layout, and compare every number",
               "switchyard verify");
  std::string path;
  std::vector<std::string> overrides;
  int64_t steps = 3;
  bool replay = false;
  app.add_option("config", path, "a YAML config")->required();
  app.add_option("overrides", overrides, "section.key=value");
  app.add_option("--steps", steps, "optimizer steps")->check(CLI::PositiveNumber);
  app.add_flag("--replay", replay, "use the one-rank run's assignments on the layout");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  const Config config = load_config(path, overrides, comm.size());
  const auto data = open_train_data(config.data, config.train.seq_length, config.model.vocab_size, config.train.seed);
  const AddSample add_sample = [&](BatchBuilder& builder, int64_t sample) { builder.add_sample(*data, sample); };
  const bool root = comm.rank() == 0;
  const MeshSizes mesh = mesh_sizes(config.parallel, comm.size());
  if (root) {
    fmt::print("{}: {}\n  {} steps of {} sequences, one rank first\n", path, describe(mesh), steps,
               config.train.global_batch_size);
    if (const std::string& weights = config.checkpoint.pretrained_checkpoint; !weights.empty())
      fmt::print("  starting from the weights of {}\n", weights);
    std::fflush(stdout);
  }
  // Rank 0 alone runs the reference; the others wait for its assignments.
  LayoutRun reference;
  moe::RoutingLog recorded;
  if (root) reference = run_layout(one_rank_config(config), *make_single_comm(), steps, add_sample, &recorded);
  moe::RoutingLog log = moe::RoutingLog::from_bytes(comm.broadcast_string(recorded.bytes(), 0));
  log.set_mode(replay ? moe::RoutingLog::Mode::kReplay : moe::RoutingLog::Mode::kObserve);
  const LayoutRun run = run_layout(config, comm, steps, add_sample, &log);
  const Choices choices = choices_of_all(comm, log, mesh.tensor);
  int64_t differs = root && !report(config, run, reference, choices, replay, mesh.data()) ? 1 : 0;
  comm.all_reduce_sum(std::span<int64_t>(&differs, 1));
  return differs == 0 ? 0 : 1;
}

}  // namespace sy
