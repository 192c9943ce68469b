#include "parallel/data_parallel.h"

#include "csrc/core/step_trace.h"
#include "parallel/collective_ops.h"

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
  // Elsewhere than on the CPU the gradients are still being computed on a stream: reduced in finish_gradients.
  if (bucket.ranks == nullptr || ctx_.device() != DeviceType::cpu) return;
  if (ctx_.trace != nullptr) ctx_.trace->start("gradients", bucket.number);
  dispatch_accumulation(bucket.grad.dtype(), [&]<class A>() {
    const Tensor share = bucket.share(bucket.grad);
    under_way_[b] = bucket.ranks->start_reduce_scatter_sum<A>(
        std::span<const A>(bucket.grad.data<A>(), static_cast<std::size_t>(bucket.count)),
        std::span<A>(share.data<A>(), static_cast<std::size_t>(bucket.share_count)));
  });
}

void DataParallel::finish_gradients() {
  for (std::size_t b = 0; b < buckets_.size(); ++b) {
    const ParameterBucket& bucket = buckets_[b];
    SY_CHECK(missing_[b] == 0, "a step ended with {} incomplete gradients in bucket {}", missing_[b], b);
    missing_[b] = bucket.parameters.size();
    if (under_way_[b].pending()) {
      if (ctx_.trace != nullptr) ctx_.trace->wait("gradients", bucket.number);
      under_way_[b].wait();
    } else if (bucket.ranks != nullptr) {
      reduce_scatter_sum(ctx_, *bucket.ranks, bucket.grad, bucket.share(bucket.grad));
    }
  }
}

void DataParallel::gather_parameters() {
  for (ParameterBucket& bucket : buckets_) {
    if (bucket.ranks == nullptr) continue;
    bucket.gathering.wait();  // of a step whose values nobody read
    const Tensor share = bucket.share(bucket.value);
    if (ctx_.device() != DeviceType::cpu) {
      all_gather(ctx_, *bucket.ranks, share, bucket.value);
      continue;
    }
    if (ctx_.trace != nullptr) ctx_.trace->start("parameters", bucket.number);
    dispatch_float(share.dtype(), [&]<class T>() {
      bucket.gathering = bucket.ranks->start_all_gather<T>(
          std::span<const T>(share.data<T>(), static_cast<std::size_t>(share.count())),
          std::span<T>(bucket.value.data<T>(), static_cast<std::size_t>(bucket.count)));
    });
  }
}

}  // namespace sy
