// CPU body of the selectors: each token (or each expert of a group) ranks its own candidates, so threads never
// interact.
#include "kernels/moe/select.h"

#include <vector>

#include "kernels/moe/cpu_rows.h"
#include "kernels/moe/rank_order.h"

namespace sy::kernels {
namespace {

// Marks in `kept` the groups_kept best blocks of one token's biased scores. `members` and `groups` are scratch.
template <class A>
void keep_best_groups(const TopkSelect<A>& args, const A* biased, std::vector<Ranked<A>>& members,
                      std::vector<Ranked<A>>& groups, std::vector<char>& kept) {
  const int64_t block = args.experts / args.groups, top = std::min(args.group_top, block);
  for (int64_t g = 0; g < args.groups; ++g) {
    for (int64_t i = 0; i < block; ++i) members[i] = {biased[g * block + i], static_cast<int32_t>(i)};
    rank_best_first(members.data(), block, top);
    A sum = 0;
    for (int64_t i = 0; i < top; ++i) sum += members[i].value;
    groups[g] = {sum, static_cast<int32_t>(g)};
  }
  rank_best_first(groups.data(), args.groups, args.groups_kept);
  std::fill(kept.begin(), kept.end(), 0);
  for (int64_t g = 0; g < args.groups_kept; ++g) kept[groups[g].id] = 1;
}

}  // namespace

template <class A>
void topk_select(Cpu, const TopkSelect<A>& args) {
  const int64_t E = args.experts, k = args.k;
  if (args.tokens == 0 || k == 0) return;
  const bool grouped = args.groups > 1;
  SY_KERNEL_CHECK(args.groups >= 1 && E % args.groups == 0);
  SY_KERNEL_CHECK(!grouped || (args.groups_kept >= 1 && args.groups_kept <= args.groups && args.group_top >= 1));
  SY_KERNEL_CHECK(k > 0 && k <= (grouped ? args.groups_kept * (E / args.groups) : E));

#pragma omp parallel if (args.tokens * E >= cpu_rows::kParallelElements)
  {
    std::vector<A> biased(E);
    std::vector<Ranked<A>> candidates(E), members(grouped ? E / args.groups : 0), groups(grouped ? args.groups : 0);
    std::vector<char> kept(groups.size());
#pragma omp for schedule(static)
    for (int64_t t = 0; t < args.tokens; ++t) {
      const A* score = args.score + t * E;
      for (int64_t e = 0; e < E; ++e) biased[e] = args.bias ? score[e] + args.bias[e] : score[e];
      if (grouped) keep_best_groups(args, biased.data(), members, groups, kept);
      int64_t count = 0;
      for (int64_t e = 0; e < E; ++e)
        if (!grouped || kept[e / static_cast<int64_t>(members.size())])
          candidates[count++] = {biased[e], static_cast<int32_t>(e)};
      rank_best_first(candidates.data(), count, k);
      for (int64_t i = 0; i < k; ++i) {
        args.token[t * k + i] = static_cast<int32_t>(t);
        args.expert[t * k + i] = candidates[i].id;
      }
    }
  }
}

template <class A>
void top_p_select(Cpu, const TopPSelect<A>& args) {
  const int64_t E = args.experts, width = args.max_per_token, most = std::min(E, width);
  if (args.tokens == 0 || width == 0) return;
#pragma omp parallel if (args.tokens * E >= cpu_rows::kParallelElements)
  {
    std::vector<Ranked<A>> candidates(E);
#pragma omp for schedule(static)
    for (int64_t t = 0; t < args.tokens; ++t) {
      for (int64_t e = 0; e < E; ++e) candidates[e] = {args.probability[t * E + e], static_cast<int32_t>(e)};
      rank_best_first(candidates.data(), E, most);
      A sum = 0;
      int64_t taken = 0;
      while (taken < most) {
        sum += candidates[taken++].value;
        if (static_cast<double>(sum) > args.p) break;
      }
      for (int64_t i = 0; i < width; ++i) {
        args.token[t * width + i] = i < taken ? static_cast<int32_t>(t) : -1;
        args.expert[t * width + i] = i < taken ? candidates[i].id : -1;
      }
    }
  }
}

template <class A>
void expert_choice_select(Cpu, const ExpertChoiceSelect<A>& args) {
  constexpr int64_t kExperts = 8;  // columns read together: a token's scores of 8 experts share a cache line
  const int64_t E = args.experts, C = args.capacity, G = args.group_tokens;
  if (args.tokens == 0 || E == 0 || C == 0) return;
  SY_KERNEL_CHECK(C > 0 && G > 0 && args.tokens % G == 0);
  const int64_t groups = args.tokens / G, blocks = (E + kExperts - 1) / kExperts, taken = std::min(C, G);
#pragma omp parallel if (args.tokens * E >= cpu_rows::kParallelElements)
  {
    std::vector<Ranked<A>> candidates(kExperts * G);
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < groups * blocks; ++task) {
      const int64_t g = task / blocks, first = task % blocks * kExperts, count = std::min(kExperts, E - first);
      for (int64_t i = 0; i < G; ++i)
        for (int64_t e = 0; e < count; ++e)
          candidates[e * G + i] = {args.score[(g * G + i) * E + first + e], static_cast<int32_t>(g * G + i)};
      for (int64_t e = 0; e < count; ++e) {
        Ranked<A>* column = candidates.data() + e * G;
        rank_best_first(column, G, taken);
        const int64_t entry = (g * E + first + e) * C;
        for (int64_t r = 0; r < C; ++r) {
          args.token[entry + r] = r < taken ? column[r].id : -1;
          args.expert[entry + r] = r < taken ? static_cast<int32_t>(first + e) : -1;
        }
      }
    }
  }
}

template void topk_select<float>(Cpu, const TopkSelect<float>&);
template void topk_select<double>(Cpu, const TopkSelect<double>&);
template void top_p_select<float>(Cpu, const TopPSelect<float>&);
template void top_p_select<double>(Cpu, const TopPSelect<double>&);
template void expert_choice_select<float>(Cpu, const ExpertChoiceSelect<float>&);
template void expert_choice_select<double>(Cpu, const ExpertChoiceSelect<double>&);

}  // namespace sy::kernels
