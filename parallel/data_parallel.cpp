#include "parallel/data_parallel.h"

#include "parallel/tensor_collectives.h"
#include "parallel/tracked_transfer.h"

namespace sy {

DataParallel::DataParallel(Context& ctx, ParameterList& parameters)
    : ctx_(ctx), buckets_(parameters.buckets()), under_way_(buckets_.size()) {
  for (std::size_t b = 0; b < buckets_.size(); ++b) {
    index_[&buckets_[b]] = b;
    missing_.push_back(buckets_[b].parameters.size());
  }
}

void DataParallel::gradient_ready(const Parameter& parameter) {
  const std::size_t b = index_.at(parameter.bucket);
  SY_CHECK(missing_[b] > 0, "the gradient of '{}' is complete a second time", parameter.name);
  if (--missing_[b] == 0) start(b);
}

void DataParallel::start(std::size_t b) {
  const ParameterBucket& bucket = buckets_[b];
  if (bucket.ranks == nullptr) return;
  const Tensor share = bucket.share(bucket.grad);
  under_way_[b] = tracked(ctx_, share_per_rank(*bucket.ranks, "gradients", share.bytes()),
                          start_reduce_scatter_sum(ctx_, *bucket.ranks, bucket.grad, share), bucket.number);
}

void DataParallel::finish_gradients() {
  for (std::size_t b = 0; b < buckets_.size(); ++b) {
    SY_CHECK(missing_[b] == 0, "a step ended with {} incomplete gradients in bucket {}", missing_[b], b);
    missing_[b] = buckets_[b].parameters.size();
    under_way_[b].wait();
  }
}

void DataParallel::gather_parameters() {
  for (ParameterBucket& bucket : buckets_) {
    if (bucket.ranks == nullptr) continue;
    bucket.gathering.wait();  // of a step whose values nobody read
    const Tensor share = bucket.share(bucket.value);
    bucket.gathering = tracked(ctx_, share_per_rank(*bucket.ranks, "parameters", share.bytes()),
                               start_all_gather(ctx_, *bucket.ranks, share, bucket.value), bucket.number);
  }
}

}  // namespace sy
