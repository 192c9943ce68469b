#include "kernels/moe/shard_assignment.h"

#include "kernels/moe/cpu_rows.h"

namespace sy::kernels {

void shard_assignment(Cpu, const ShardAssignment& a) {
#pragma omp parallel for schedule(static) if (a.entries >= cpu_rows::kParallelElements)
  for (int64_t n = 0; n < a.entries; ++n) {
    const int32_t expert = a.expert[n];
    const int64_t token = a.token[n] - a.first_token;
    const bool wanted = !a.only_dropped || (a.kept && !a.kept[n]);
    const bool inside = expert >= 0 && wanted && token >= 0 && token < a.tokens;
    a.token_out[n] = inside ? static_cast<int32_t>(token) : 0;
    a.expert_out[n] = inside ? expert : -1;
  }
}

}  // namespace sy::kernels
