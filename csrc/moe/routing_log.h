// RoutingLog: the assignments of one run, replayed in another, so that two layouts can be compared number by number.
//
// In f32 two layouts add in different orders; where two experts' scores nearly tie, a token may then go elsewhere, and
// everything after it differs by far more than rounding. Replaying the assignments of the first run leaves rounding
// alone; the decisions that the second run would have made itself are still formed, compared and counted.
// An entry belongs to (step, first sample of the micro-batch, layer): the same on every layout.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "csrc/moe/routing.h"

namespace sy::moe {

class RoutingLog {
 public:
  enum class Mode : uint8_t { kRecord, kObserve, kReplay };
  void set_mode(Mode mode) { mode_ = mode; }

  // kRecord: keeps them. kObserve: compares them with the recorded ones. kReplay: compares, and takes the recorded
  // ones.
  void pass(Context& ctx, const RouterInput& input, const Scores& scores, Assignment& demand, Assignment& assignment);

  int64_t assignments() const { return assignments_; }  // compared
  int64_t differing() const { return differing_; }
  // Largest |difference| of the scores (with their selection bias) of two experts between which runs differed, by the
  // largest |score| there.
  double largest_gap() const { return largest_gap_; }

  // For the ranks of a mesh: all of it as bytes.
  std::string bytes() const;
  static RoutingLog from_bytes(const std::string& bytes);

 private:
  struct Entry {
    std::vector<int32_t> token, demanded, expert;
    std::vector<uint8_t> kept;  // empty: everything
    int64_t per_token = 1;
  };
  using Key = std::tuple<int64_t, int64_t, int64_t>;
  void compare(Context& ctx, const Scores& scores, const Entry& recorded, const Assignment& demand);

  std::map<Key, Entry> entries_;
  Mode mode_ = Mode::kRecord;
  int64_t assignments_ = 0, differing_ = 0;
  double largest_gap_ = 0;
};

}  // namespace sy::moe
