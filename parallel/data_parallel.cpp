#include "parallel/data_parallel.h"

#include "parallel/collective_ops.h"
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
  // On a GPU the gradients are still being computed on a stream: reduced in finish_gradients.
  if (bucket.ranks == nullptr || ctx_.device() == DeviceType::cuda) return;
  const Tensor share = bucket.share(bucket.grad);
  CommRequest sums;
  if (ctx_.device() == DeviceType::cpu)
    dispatch_accumulation(bucket.grad.dtype(), [&]<class A>() {
      sums = bucket.ranks->start_reduce_scatter_sum<A>(
          std::span<const A>(bucket.grad.data<A>(), static_cast<std::size_t>(bucket.count)),
          std::span<A>(share.data<A>(), static_cast<std::size_t>(bucket.share_count)));
    });
  under_way_[b] =
      tracked(ctx_, share_per_rank(*bucket.ranks, "gradients", share.bytes()), std::move(sums), bucket.number);
}

void DataParallel::finish_gradients() {
  for (std::size_t b = 0; b < buckets_.size(); ++b) {
    const ParameterBucket& bucket = buckets_[b];
    SY_CHECK(missing_[b] == 0, "a step ended with {} incomplete gradients in bucket {}", missing_[b], b);
    missing_[b] = bucket.parameters.size();
    under_way_[b].wait();
    if (bucket.ranks != nullptr && ctx_.device() == DeviceType::cuda)
      reduce_scatter_sum(ctx_, *bucket.ranks, bucket.grad, bucket.share(bucket.grad), "gradients");
  }
}

void DataParallel::gather_parameters() {
  for (ParameterBucket& bucket : buckets_) {
    if (bucket.ranks == nullptr) continue;
    bucket.gathering.wait();  // of a step whose values nobody read
    const Tensor share = bucket.share(bucket.value);
    if (ctx_.device() == DeviceType::cuda) {
      all_gather(ctx_, *bucket.ranks, share, bucket.value, "parameters");
      continue;
    }
    CommRequest shares;
    if (ctx_.device() == DeviceType::cpu)
      dispatch_float(share.dtype(), [&]<class T>() {
        shares = bucket.ranks->start_all_gather<T>(
            std::span<const T>(share.data<T>(), static_cast<std::size_t>(share.count())),
            std::span<T>(bucket.value.data<T>(), static_cast<std::size_t>(bucket.count)));
      });
    bucket.gathering =
        tracked(ctx_, share_per_rank(*bucket.ranks, "parameters", share.bytes()), std::move(shares), bucket.number);
  }
}

}  // namespace sy
