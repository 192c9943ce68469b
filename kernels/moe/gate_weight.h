// Combine weights of an assignment list, read from scores, with their gradient to the scores.
//
// score [tokens, experts] in A; token, expert [N] i32 (expert < 0: a hole, weight 0); active [N] u8, nullable: an
// assignment with active = 0 gets weight 0 and takes no part in a normalisation. s_n = score[token_n, expert_n].
//   kRaw:            w_n = scale * s_n
//   kRenormalised:   w_n = scale * s_n / (Z + 1e-20), Z = sum of s over the `per_token` consecutive entries of the same
//   token
//                    (N is a multiple of per_token and entry n belongs to block n / per_token)
//   kSoftmax:        w_n = scale * softmax of s over the same block (scores are then logits)
// Backward sets dscore [tokens, experts] whole (zero where nothing is selected):
//   raw scale dw;  renormalised scale/(Z + 1e-20) (dw_n - sum_i dw_i w_i / scale);  softmax w_n (dw_n - sum_i dw_i w_i
//   / scale); holes and inactive entries add nothing and are left out of the sums over i.
// Several entries may name the same (token, expert): their gradients add in ascending n. Deterministic.
// `token_start`, `token_entry` are the by-token lists of kernels/moe/index_build.h (needed by backward to avoid
// atomics).
#pragma once

#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

enum class GateWeightMode : int32_t { kRaw = 0, kRenormalised = 1, kSoftmax = 2 };

template <class A>
struct GateWeightForward {
  const A* score = nullptr;
  const int32_t* token = nullptr;
  const int32_t* expert = nullptr;
  const uint8_t* active = nullptr;
  A* weight = nullptr;
  int64_t entries = 0, per_token = 1, experts = 0;
  GateWeightMode mode = GateWeightMode::kRaw;
  double scale = 1.0;

  Work work() const { return {.bytes = bytes_of<A, int32_t, int32_t, A>(entries)}; }
};

template <class A>
struct GateWeightBackward {
  const A* score = nullptr;
  const A* weight = nullptr;
  const A* dweight = nullptr;
  const int32_t* token = nullptr;
  const int32_t* expert = nullptr;
  const uint8_t* active = nullptr;
  const int32_t* token_start = nullptr;  // [tokens+1]
  const int32_t* token_entry = nullptr;  // [entries]
  A* dscore = nullptr;
  int64_t tokens = 0, entries = 0, per_token = 1, experts = 0;
  GateWeightMode mode = GateWeightMode::kRaw;
  double scale = 1.0;

  Work work() const { return {.bytes = bytes_of<A, A, int32_t, int32_t>(entries) + bytes_of<A>(tokens * experts)}; }
};

template <class A>
void gate_weight_forward(Cpu, const GateWeightForward<A>& args);
template <class A>
void gate_weight_forward(Cuda, const GateWeightForward<A>& args);
template <class A>
void gate_weight_backward(Cpu, const GateWeightBackward<A>& args);
template <class A>
void gate_weight_backward(Cuda, const GateWeightBackward<A>& args);

}  // namespace sy::kernels
