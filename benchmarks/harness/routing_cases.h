// Routings to measure with: lists of k different experts per token, equal for all contenders and on every machine.
//
//   uniform      every expert gets the same number of assignments, but for rounding
//   multinomial  independent draws, all experts equally likely: a router at the start of training
//   zipf         likelihood of expert e proportional to 1 / (e+1)
//   hot          expert 0 gets 30 % of the assignments, or one per token where that is less; the rest as multinomial
//   empty        the last quarter of the experts gets nothing (never fewer than k are left); the rest as multinomial
#pragma once

#include <string>
#include <vector>

#include "csrc/core/context.h"

namespace sy::bench {

inline const std::vector<std::string> kRoutings = {"uniform", "multinomial", "zipf", "hot", "empty"};

// Likelihood of every expert, up to a factor; all equal for `uniform` and `multinomial`.
std::vector<double> popularity(const std::string& routing, int64_t experts, int64_t k);
// [tokens*k], k different experts in each block of k. UserError for an unknown routing.
std::vector<int32_t> draw_experts(const std::string& routing, int64_t tokens, int64_t experts, int64_t k,
                                  uint64_t seed);

// A routing with its index tables (kernels/moe/index_build.h) on the host and on the device.
struct Routing {
  std::string name;
  int64_t tokens = 0, experts = 0, k = 0, rows = 0, row_alignment = 1;
  std::vector<int32_t> token_N = {}, expert_N = {}, seg_start = {}, seg_count = {}, row_token = {}, row_entry = {},
                       entry_row = {};
  struct OnDevice {
    Tensor token_N, expert_N, seg_start, seg_count, row_end, row_token, row_entry, entry_row, token_start, token_entry;
  } device = {};

  int64_t assignments() const { return tokens * k; }
  int64_t used_experts() const;
  int64_t largest_segment() const;
};
Routing make_routing(Context& ctx, const std::string& routing, int64_t tokens, int64_t experts, int64_t k,
                     uint64_t seed);

}  // namespace sy::bench
