#include "tests/cuda_sim/async_work.h"

#include <vector>

namespace sy::cuda_sim {

namespace {
constexpr uint64_t kLate = 0, kEarly = 1;
}

void AsyncWork::begin_block(uint64_t seed) {
  seed_ = seed;
  next_id_ = 1;
  random_.seed(static_cast<unsigned>(seed));
  pending_.clear();
}

bool AsyncWork::draw_early() {
  if (seed_ == kLate || seed_ == kEarly) return seed_ == kEarly;
  return random_() % 4 == 0;
}

int AsyncWork::draw_pieces() { return seed_ == kLate || seed_ == kEarly ? 1 : 1 + static_cast<int>(random_() % 3); }

uint64_t AsyncWork::start(std::function<void()> carry_out) {
  const uint64_t id = next_id_++;
  if (draw_early()) {
    carry_out();
  } else {
    pending_.emplace(id, std::move(carry_out));
  }
  return id;
}

void AsyncWork::finish(uint64_t id) {
  const auto found = pending_.find(id);
  if (found == pending_.end()) return;
  const std::function<void()> carry_out = std::move(found->second);
  pending_.erase(found);
  carry_out();
}

bool AsyncWork::advance(bool must) {
  if (pending_.empty()) return false;
  std::vector<uint64_t> chosen;
  if (seed_ == kLate || seed_ == kEarly) {
    if (must) chosen.push_back(pending_.rbegin()->first);
  } else {
    for (const auto& [id, work] : pending_)
      if (draw_early()) chosen.push_back(id);
    if (chosen.empty() && must)
      chosen.push_back(std::next(pending_.begin(), static_cast<int64_t>(random_() % pending_.size()))->first);
    for (size_t i = chosen.size(); i > 1; --i) std::swap(chosen[i - 1], chosen[random_() % i]);
  }
  for (const uint64_t id : chosen) finish(id);
  return !chosen.empty();
}

}  // namespace sy::cuda_sim
