#include "csrc/moe/routing_log.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace sy::moe {

namespace {

template <class T>
Tensor on_device(Context& ctx, const std::vector<T>& values) {
  return ctx.from_host<T>(values, {static_cast<int64_t>(values.size())}, MemoryKind::data);
}

template <class T>
void put(std::string& out, const std::vector<T>& values) {
  const auto count = static_cast<int64_t>(values.size());
  out.append(reinterpret_cast<const char*>(&count), sizeof(count));
  out.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

template <class T>
std::vector<T> take(const std::string& in, std::size_t& at) {
  int64_t count = 0;
  SY_CHECK(at + sizeof(count) <= in.size(), "the routing log ends early");
  std::memcpy(&count, in.data() + at, sizeof(count));
  at += sizeof(count);
  std::vector<T> values(static_cast<std::size_t>(count));
  SY_CHECK(at + values.size() * sizeof(T) <= in.size(), "the routing log ends early");
  std::copy_n(in.data() + at, values.size() * sizeof(T), reinterpret_cast<char*>(values.data()));
  at += values.size() * sizeof(T);
  return values;
}

}  // namespace

void RoutingLog::pass(Context& ctx, const RouterInput& input, const Scores& scores, Assignment& demand,
                      Assignment& assignment) {
  const Key key{ctx.host_step_state.step, ctx.to_host<int64_t>(input.sample_id_B).front(), input.layer};
  if (mode_ == Mode::kRecord) {
    Entry entry{.token = ctx.to_host<int32_t>(demand.token_N),
                .demanded = ctx.to_host<int32_t>(demand.expert_N),
                .expert = ctx.to_host<int32_t>(assignment.expert_N),
                .kept = {},
                .per_token = assignment.per_token};
    if (assignment.kept_N.defined()) entry.kept = ctx.to_host<uint8_t>(assignment.kept_N);
    entries_[key] = std::move(entry);
    return;
  }
  const auto found = entries_.find(key);
  SY_CHECK(found != entries_.end(), "no assignment was recorded for step {}, sample {}, layer {}", std::get<0>(key),
           std::get<1>(key), std::get<2>(key));
  const Entry& entry = found->second;
  compare(ctx, scores, entry, demand);
  if (mode_ == Mode::kObserve) return;
  demand = {on_device(ctx, entry.token), on_device(ctx, entry.demanded), {}, entry.per_token};
  assignment = demand;
  assignment.expert_N = on_device(ctx, entry.expert);
  if (!entry.kept.empty()) assignment.kept_N = on_device(ctx, entry.kept);
}

void RoutingLog::compare(Context& ctx, const Scores& scores, const Entry& recorded, const Assignment& demand) {
  const std::vector<int32_t> token = ctx.to_host<int32_t>(demand.token_N),
                             expert = ctx.to_host<int32_t>(demand.expert_N);
  assignments_ += static_cast<int64_t>(recorded.demanded.size());
  if (expert == recorded.demanded && token == recorded.token) return;
  std::vector<double> score;
  int64_t experts = 0;
  if (scores.score_TE.defined()) {
    experts = scores.score_TE.dim(1);
    dispatch_accumulation(scores.score_TE.dtype(), [&]<class A>() {
      const std::vector<A> host = ctx.to_host<A>(scores.score_TE.value());
      score.assign(host.begin(), host.end());
      if (!scores.select_bias_E.defined()) return;
      const std::vector<A> bias = ctx.to_host<A>(scores.select_bias_E);
      for (std::size_t i = 0; i < score.size(); ++i) score[i] += static_cast<double>(bias[i % bias.size()]);
    });
  }
  double scale = 0;
  for (const double s : score) scale = std::max(scale, std::abs(s));
  for (std::size_t n = 0; n < recorded.demanded.size(); ++n) {
    if (n < expert.size() && expert[n] == recorded.demanded[n] && token[n] == recorded.token[n]) continue;
    ++differing_;
    if (n >= expert.size() || expert[n] < 0 || recorded.demanded[n] < 0 || token[n] != recorded.token[n] ||
        scale == 0) {
      largest_gap_ = 1;  // not a swap of two experts of one token: no gap explains it
      continue;
    }
    const auto at = [&](int32_t e) { return score[static_cast<std::size_t>(token[n] * experts + e)]; };
    largest_gap_ = std::max(largest_gap_, std::abs(at(expert[n]) - at(recorded.demanded[n])) / scale);
  }
}

std::string RoutingLog::bytes() const {
  std::string out;
  for (const auto& [key, entry] : entries_) {
    put(out, std::vector<int64_t>{std::get<0>(key), std::get<1>(key), std::get<2>(key), entry.per_token});
    put(out, entry.token);
    put(out, entry.demanded);
    put(out, entry.expert);
    put(out, entry.kept);
  }
  return out;
}

RoutingLog RoutingLog::from_bytes(const std::string& bytes) {
  RoutingLog log;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::vector<int64_t> head = take<int64_t>(bytes, at);
    Entry entry{.token = take<int32_t>(bytes, at),
                .demanded = take<int32_t>(bytes, at),
                .expert = take<int32_t>(bytes, at),
                .kept = take<uint8_t>(bytes, at),
                .per_token = head[3]};
    log.entries_[{head[0], head[1], head[2]}] = std::move(entry);
  }
  return log;
}

}  // namespace sy::moe
