// CPU body of the combine weights: forward by block of entries, backward by token through the by-token lists.
#include "kernels/moe/gate_weight.h"

#include <cmath>

#include "kernels/moe/cpu_rows.h"

namespace sy::kernels {
namespace {

constexpr double kTiny = 1e-20;  // of the contract: a block of vanished scores weighs zero

// An entry that has a weight: neither a hole nor switched off.
template <class Args>
bool takes_part(const Args& args, int64_t n) {
  return args.expert[n] >= 0 && (!args.active || args.active[n]);
}

template <class Args>
auto score_of(const Args& args, int64_t n) {
  return args.score[args.token[n] * args.experts + args.expert[n]];
}

template <class A, class Args>
A sum_of_scores(const Args& args, int64_t begin, int64_t end) {
  A sum = 0;
  for (int64_t n = begin; n < end; ++n)
    if (takes_part(args, n)) sum += score_of(args, n);
  return sum;
}

template <class A>
void softmax_block(const GateWeightForward<A>& args, int64_t begin, int64_t end) {
  bool any = false;
  A largest = 0, sum = 0;
  for (int64_t n = begin; n < end; ++n) {
    if (!takes_part(args, n)) continue;
    const A s = score_of(args, n);
    if (!any || s > largest) largest = s;
    any = true;
  }
  for (int64_t n = begin; n < end; ++n) {
    args.weight[n] = takes_part(args, n) ? std::exp(score_of(args, n) - largest) : A(0);
    sum += args.weight[n];
  }
  if (!any) return;
  const A factor = static_cast<A>(args.scale) / sum;
  for (int64_t n = begin; n < end; ++n)
    if (takes_part(args, n)) args.weight[n] *= factor;
}

}  // namespace

template <class A>
void gate_weight_forward(Cpu, const GateWeightForward<A>& args) {
  if (args.entries == 0) return;
  const A scale = static_cast<A>(args.scale);
  // Without a normalisation the entries are independent: any number of them makes a block.
  const int64_t width = args.mode == GateWeightMode::kRaw ? 1 : args.per_token;
  SY_KERNEL_CHECK(width > 0 && args.entries % width == 0);
#pragma omp parallel for schedule(static) if (args.entries >= cpu_rows::kParallelElements)
  for (int64_t begin = 0; begin < args.entries; begin += width) {
    const int64_t end = begin + width;
    if (args.mode == GateWeightMode::kSoftmax) {
      softmax_block(args, begin, end);
      continue;
    }
    const A factor = args.mode == GateWeightMode::kRaw
                         ? scale
                         : scale / (sum_of_scores<A>(args, begin, end) + static_cast<A>(kTiny));
    for (int64_t n = begin; n < end; ++n) args.weight[n] = takes_part(args, n) ? factor * score_of(args, n) : A(0);
  }
}

template <class A>
void gate_weight_backward(Cpu, const GateWeightBackward<A>& args) {
  const int64_t E = args.experts;
  const A scale = static_cast<A>(args.scale);
  // A scale of zero makes every weight and every gradient zero.
  const A inverse_scale = args.scale != 0 ? static_cast<A>(1 / args.scale) : A(0);
  const int64_t width = args.per_token;
  SY_KERNEL_CHECK(args.mode == GateWeightMode::kRaw || (width > 0 && args.entries % width == 0));
#pragma omp parallel for schedule(static) if (args.tokens * E >= cpu_rows::kParallelElements)
  for (int64_t t = 0; t < args.tokens; ++t) {
    A* dscore = args.dscore + t * E;
    cpu_rows::clear(dscore, E);
    int64_t block = -1;      // the block that `mean` and `factor` belong to: a token's entries come in ascending order
    A mean = 0, factor = 0;  // mean = sum_i dw_i w_i / scale; factor = scale / (Z + 1e-20)
    for (int64_t i = args.token_start[t]; i < args.token_start[t + 1]; ++i) {
      const int64_t n = args.token_entry[i];
      if (!takes_part(args, n)) continue;
      A* slot = dscore + args.expert[n];
      if (args.mode == GateWeightMode::kRaw) {
        *slot += scale * args.dweight[n];
        continue;
      }
      if (n / width != block) {
        block = n / width;
        const int64_t begin = block * width, end = begin + width;
        mean = 0;
        for (int64_t j = begin; j < end; ++j)
          if (takes_part(args, j)) mean += args.dweight[j] * args.weight[j];
        mean *= inverse_scale;
        if (args.mode == GateWeightMode::kRenormalised)
          factor = scale / (sum_of_scores<A>(args, begin, end) + static_cast<A>(kTiny));
      }
      *slot += (args.mode == GateWeightMode::kRenormalised ? factor : args.weight[n]) * (args.dweight[n] - mean);
    }
  }
}

template void gate_weight_forward<float>(Cpu, const GateWeightForward<float>&);
template void gate_weight_forward<double>(Cpu, const GateWeightForward<double>&);
template void gate_weight_backward<float>(Cpu, const GateWeightBackward<float>&);
template void gate_weight_backward<double>(Cpu, const GateWeightBackward<double>&);

}  // namespace sy::kernels
