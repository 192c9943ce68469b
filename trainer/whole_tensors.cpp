#include "trainer/whole_tensors.h"

#include "parallel/mesh.h"

namespace sy {

namespace {

std::vector<double> widened(Context& ctx, const Tensor& tensor) {
  return dispatch_float(tensor.dtype(), [&]<class T>() {
    const std::vector<T> host = ctx.to_host<T>(tensor);
    std::vector<double> values;
    values.reserve(host.size());
    for (const T x : host) values.push_back(static_cast<double>(x));
    return values;
  });
}

// Each tensor starts as zeros on every rank; each element is set by the one rank that owns it; the sum is the whole.
NamedValues whole(Context& ctx, Decoder& decoder, Tensor (*share_of)(const ParameterBucket&)) {
  NamedValues all;
  Context meta(DeviceType::meta);
  Decoder shapes(meta, decoder.config(), decoder.moe_config(), decoder.options());
  for (const Parameter& p : shapes.parameters().all())
    for (const ParameterPart& part : p.parts) all[part.name].resize(static_cast<std::size_t>(shape_count(part.shape)));
  for (const ParameterBucket& bucket : decoder.parameters().buckets()) {
    if (!bucket.counts) continue;
    const std::vector<double> share = widened(ctx, share_of(bucket));
    for (const OwnedPart& own : ParameterList::owned_parts(bucket))
      copy_intersection(own.region, share.data() + own.share, Region::whole(Box::whole(own.part->shape)),
                        all.at(own.part->name).data(), sizeof(double));
  }
  if (ctx.mesh != nullptr)
    for (auto& [name, values] : all) ctx.mesh->world().all_reduce_sum(std::span<double>(values));
  return all;
}

}  // namespace

NamedValues whole_parameters(Context& ctx, Decoder& decoder) { return whole(ctx, decoder, ParameterList::exact_share); }

NamedValues whole_gradients(Context& ctx, Decoder& decoder) {
  return whole(ctx, decoder, [](const ParameterBucket& bucket) { return bucket.share(bucket.grad); });
}

}  // namespace sy
