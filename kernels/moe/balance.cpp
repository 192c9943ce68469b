// CPU body of the balance losses. Each row gives one number; rows are added in blocks of kRows, blocks in order, in
// f64: the same bits with any number of threads.
#include "kernels/moe/balance.h"

#include <cmath>
#include <vector>

#include "kernels/moe/cpu_rows.h"

namespace sy::kernels {
namespace {

// Sum over t of row(t), called once per row from several threads. `work` is the number of elements behind all rows.
template <class Row>
double sum_over_rows(int64_t rows, int64_t work, const Row& row) {
  constexpr int64_t kRows = 64;
  const int64_t blocks = (rows + kRows - 1) / kRows;
  std::vector<double> partial(blocks);
#pragma omp parallel for schedule(static) if (work >= cpu_rows::kParallelElements)
  for (int64_t b = 0; b < blocks; ++b) {
    double sum = 0;
    for (int64_t t = b * kRows; t < std::min(rows, (b + 1) * kRows); ++t) sum += row(t);
    partial[b] = sum;
  }
  double total = 0;
  for (double p : partial) total += p;
  return total;
}

}  // namespace

template <class A>
void load_balance(Cpu, const LoadBalance<A>& args) {
  const int64_t E = args.experts;
  if (args.tokens == 0 || E == 0) return;
  SY_KERNEL_CHECK(args.group_tokens > 0 && args.tokens % args.group_tokens == 0);
  const double factor = args.coefficient * static_cast<double>(E) * args.state->inv_batch_tokens;
  const double sum = sum_over_rows(args.tokens, args.tokens * E, [&](int64_t t) -> double {
    const A* f = args.fraction + t / args.group_tokens * E;
    if (args.dprobability) cpu_rows::scale(args.dprobability + t * E, f, static_cast<A>(factor), E);
    return args.loss ? cpu_rows::dot(f, args.probability + t * E, E) : A(0);
  });
  if (args.loss) *args.loss += factor * sum;
}

template <class A>
void z_loss(Cpu, const ZLoss<A>& args) {
  const int64_t E = args.experts;
  if (args.tokens == 0 || E == 0) return;
  const double factor = args.coefficient * args.state->inv_batch_tokens;
  const double sum = sum_over_rows(args.tokens, args.tokens * E, [&](int64_t t) {
    const A* logits = args.logits + t * E;
    A largest = logits[0], total = 0;
    for (int64_t e = 1; e < E; ++e) largest = logits[e] > largest ? logits[e] : largest;
    for (int64_t e = 0; e < E; ++e) total += std::exp(logits[e] - largest);
    const A lse = largest + std::log(total);
    if (args.dlogits) {
      const A slope = static_cast<A>(2 * factor) * lse;
      for (int64_t e = 0; e < E; ++e) args.dlogits[t * E + e] = slope * std::exp(logits[e] - lse);
    }
    return static_cast<double>(lse) * static_cast<double>(lse);
  });
  if (args.loss) *args.loss += factor * sum;
}

template <class A>
void entropy_loss(Cpu, const EntropyLoss<A>& args) {
  const int64_t E = args.experts;
  const double factor = args.coefficient * args.state->inv_batch_tokens;
  const double sum = sum_over_rows(args.tokens, args.tokens * E, [&](int64_t t) -> double {
    A entropy = 0;
    for (int64_t e = 0; e < E; ++e) {
      const A p = args.probability[t * E + e];
      const A log_p = p == 0 ? A(0) : std::log(p);  // only an exact zero is skipped: NaN must reach the loss
      entropy -= p * log_p;
      if (args.dprobability) args.dprobability[t * E + e] = p == 0 ? A(0) : static_cast<A>(-factor) * (log_p + A(1));
    }
    return entropy;
  });
  if (args.loss) *args.loss += factor * sum;
}

template <class A>
void squared_cv(Cpu, const SquaredCv<A>& args) {
  if (args.count == 0) return;
  const double count = static_cast<double>(args.count);
  const double factor = args.coefficient * static_cast<double>(args.tokens) * args.state->inv_batch_tokens;
  const double mean =
      sum_over_rows(args.count, args.count, [&](int64_t i) { return static_cast<double>(args.values[i]); }) / count;
  if (mean == 0) {
    if (args.dvalues) cpu_rows::clear(args.dvalues, args.count);
    return;
  }
  const double variance = sum_over_rows(args.count, args.count,
                                        [&](int64_t i) {
                                          const double d = static_cast<double>(args.values[i]) - mean;
                                          return d * d;
                                        }) /
                          count;
  if (args.loss) *args.loss += factor * variance / (mean * mean);
  if (!args.dvalues) return;
#pragma omp parallel for simd schedule(static) if (args.count >= cpu_rows::kParallelElements)
  for (int64_t i = 0; i < args.count; ++i) {
    const double d = static_cast<double>(args.values[i]) - mean;
    args.dvalues[i] = static_cast<A>(factor * (2 / count) * (d / (mean * mean) - variance / (mean * mean * mean)));
  }
}

template <class A>
void assignment_fraction(Cpu, const AssignmentFraction<A>& args) {
  const int64_t E = args.experts;
  if (args.tokens == 0) return;
  SY_KERNEL_CHECK(args.group_tokens > 0 && args.tokens % args.group_tokens == 0);
  const int64_t groups = args.tokens / args.group_tokens;
  std::vector<int64_t> count(groups * E), entries(groups);  // integers: a float would stop counting at 2^24
  for (int64_t n = 0; n < args.entries; ++n) {
    if (args.expert[n] < 0) continue;
    SY_KERNEL_CHECK(args.expert[n] < E && args.token[n] >= 0 && args.token[n] < args.tokens);
    const int64_t g = args.token[n] / args.group_tokens;
    ++count[g * E + args.expert[n]];
    ++entries[g];
  }
  for (int64_t g = 0; g < groups; ++g) {
    const double whole = args.divisor != 0 ? args.divisor * static_cast<double>(args.group_tokens)
                                           : static_cast<double>(std::max<int64_t>(entries[g], 1));
    for (int64_t e = 0; e < E; ++e)
      args.fraction[g * E + e] = static_cast<A>(static_cast<double>(count[g * E + e]) / whole);
  }
}

template <class A>
void importance_forward(Cpu, const ImportanceForward<A>& args) {
  std::vector<double> sum(args.experts);
  for (int64_t n = 0; n < args.entries; ++n) {
    if (args.expert[n] < 0) continue;
    SY_KERNEL_CHECK(args.expert[n] < args.experts);
    sum[args.expert[n]] += static_cast<double>(args.weight[n]);
  }
  for (int64_t e = 0; e < args.experts; ++e) args.importance[e] = static_cast<A>(sum[e]);
}

template <class A>
void importance_backward(Cpu, const ImportanceBackward<A>& args) {
#pragma omp parallel for schedule(static) if (args.entries >= cpu_rows::kParallelElements)
  for (int64_t n = 0; n < args.entries; ++n)
    args.dweight[n] = args.expert[n] < 0 ? A(0) : args.dimportance[args.expert[n]];
}

template void load_balance<float>(Cpu, const LoadBalance<float>&);
template void load_balance<double>(Cpu, const LoadBalance<double>&);
template void z_loss<float>(Cpu, const ZLoss<float>&);
template void z_loss<double>(Cpu, const ZLoss<double>&);
template void entropy_loss<float>(Cpu, const EntropyLoss<float>&);
template void entropy_loss<double>(Cpu, const EntropyLoss<double>&);
template void squared_cv<float>(Cpu, const SquaredCv<float>&);
template void squared_cv<double>(Cpu, const SquaredCv<double>&);
template void assignment_fraction<float>(Cpu, const AssignmentFraction<float>&);
template void assignment_fraction<double>(Cpu, const AssignmentFraction<double>&);
template void importance_forward<float>(Cpu, const ImportanceForward<float>&);
template void importance_forward<double>(Cpu, const ImportanceForward<double>&);
template void importance_backward<float>(Cpu, const ImportanceBackward<float>&);
template void importance_backward<double>(Cpu, const ImportanceBackward<double>&);

}  // namespace sy::kernels
