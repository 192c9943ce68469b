#include "trainer/sampler.h"

#include "csrc/core/check.h"

namespace sy {

Sampler::Sampler(int64_t micro_batch_size, int64_t global_batch_size, int64_t dp_size, int64_t dp_rank)
    : micro_batch_size_(micro_batch_size), global_batch_size_(global_batch_size), dp_size_(dp_size), dp_rank_(dp_rank) {
  SY_CHECK(dp_size > 0 && dp_rank >= 0 && dp_rank < dp_size, "data-parallel rank {} of {}", dp_rank, dp_size);
  if (micro_batch_size < 1 || global_batch_size < 1 || global_batch_size % (micro_batch_size * dp_size) != 0) {
    user_error(
        "train.global_batch_size {} is not a multiple of train.micro_batch_size {} x {} data-parallel ranks = {}",
        global_batch_size, micro_batch_size, dp_size, micro_batch_size * dp_size);
  }
}

}  // namespace sy
