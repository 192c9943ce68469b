#include "trainer/step_replay.h"

#include <algorithm>
#include <map>
#include <utility>

#include "trainer/layout.h"

namespace sy {

namespace {

class Player {
 public:
  Player(const Hardware& hardware, const MeshSizes& mesh, int64_t kv_heads)
      : hardware_(hardware), mesh_(mesh), kv_heads_(kv_heads) {}

  StepReplay play(const std::vector<StepEvent>& events) {
    step_ = {};
    const double begin = now_;
    for (const StepEvent& e : events) switch (e.kind) {
        case StepEvent::Kind::kCompute:
          compute(e.work);
          break;
        case StepEvent::Kind::kStart:
          start(e);
          break;
        case StepEvent::Kind::kWait:
          wait(e);
          break;
      }
    step_.step_seconds = now_ - begin;
    return std::move(step_);
  }

 private:
  void compute(const kernels::Work& work) {
    const double seconds = kernel_seconds(hardware_, work);
    now_ += seconds;
    step_.compute_seconds += seconds;
    ++step_.kernels;
    if (work.factor_bytes == 0) return;
    step_.product_seconds += seconds;
    ++step_.products;
  }

  void start(const StepEvent& e) {
    const double seconds = transfer_seconds(hardware_, e.transfer, peers(e.transfer.group));
    stream_free_ = std::max(stream_free_, now_) + seconds;
    arrival_[{e.what, e.number}] = stream_free_;
    ReplayedTransfers& kind = of_kind(e.what);
    ++kind.count;
    kind.bytes += static_cast<double>(e.transfer.bytes);
    kind.seconds += seconds;
    step_.transfer_seconds += seconds;
  }

  void wait(const StepEvent& e) {
    const auto transfer = arrival_.find({e.what, e.number});
    if (transfer == arrival_.end()) return;  // started in the step before the first one played
    const double seconds = std::max(0.0, transfer->second - now_);
    arrival_.erase(transfer);
    now_ += seconds;
    step_.exposed_seconds += seconds;
    ReplayedTransfers& kind = of_kind(e.what);
    kind.exposed_seconds += seconds;
    if (seconds <= kind.longest_wait_seconds) return;
    kind.longest_wait_seconds = seconds;
    kind.longest_wait_number = e.number;
  }

  ReplayedTransfers& of_kind(const std::string& what) {
    auto& all = step_.transfers;
    const auto kind = std::find_if(all.begin(), all.end(), [&](const auto& t) { return t.what == what; });
    return kind != all.end() ? *kind : all.emplace_back(ReplayedTransfers{.what = what});
  }

  const Peers& peers(const std::string& group) {
    const auto [known, is_new] = peers_.try_emplace(group);
    if (is_new)
      for (const int64_t rank : group_ranks(mesh_, kv_heads_, group, 0))
        if (rank != 0) ++(rank < hardware_.ranks_per_node ? known->second.inside_node : known->second.on_other_nodes);
    return known->second;
  }

  const Hardware& hardware_;
  const MeshSizes& mesh_;
  const int64_t kv_heads_;
  std::map<std::string, Peers> peers_;
  std::map<std::pair<std::string, int64_t>, double> arrival_;  // of transfers that nobody has waited for yet
  double now_ = 0;                                             // where computation has come to, seconds
  double stream_free_ = 0;                                     // when the last transfer so far is over
  StepReplay step_;
};

}  // namespace

StepReplay replay_step(const std::vector<StepEvent>& events, const Hardware& hardware, const MeshSizes& mesh,
                       int64_t kv_heads) {
  Player player(hardware, mesh, kv_heads);
  player.play(events);
  return player.play(events);
}

StepReplay replay_step(const StepTrace& trace, const Config& config, int64_t num_ranks, const std::string& hardware) {
  const MeshSizes mesh = num_ranks > 0 ? mesh_sizes(config.parallel, num_ranks) : MeshSizes{};
  return replay_step(trace.events(), load_hardware(hardware, mesh.ranks), mesh, config.model.kv_heads());
}

}  // namespace sy
