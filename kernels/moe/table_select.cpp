#include "kernels/moe/table_select.h"

namespace sy::kernels {

void table_select(Cpu, const TableSelect& a) {
  for (int64_t t = 0; t < a.tokens; ++t) {
    for (int64_t j = 0; j < a.per_token; ++j) {
      const int64_t n = t * a.per_token + j;
      a.token[n] = static_cast<int32_t>(t);
      a.expert[n] = a.table[static_cast<int64_t>(a.token_id[t]) * a.per_token + j];
    }
  }
}

}  // namespace sy::kernels
