// Head projection and cross-entropy, chunk by chunk of tokens: forward forms the gradients at once, so that neither the
// logits [T, V] nor a second projection is ever needed (the loss is already divided by its global denominator).
#include <algorithm>

#include "csrc/core/launch.h"
#include "csrc/ops/matmul.h"
#include "csrc/ops/ops.h"
#include "kernels/loss/cross_entropy.h"
#include "kernels/loss/vocab_parallel_cross_entropy.h"
#include "parallel/collective_ops.h"

namespace sy::ops {

namespace {

// Logits held at once: large enough that the products run at full speed, small against the activations.
constexpr int64_t kChunkElements = int64_t{1} << 22;

int64_t chunk_rows(int64_t tokens, int64_t padded_vocab) {
  return std::min(tokens, std::max<int64_t>(128, kChunkElements / padded_vocab));
}

// The chunk's logits are this rank's columns: the tensor-parallel ranks exchange three numbers per row.
template <class T>
void vocab_parallel_chunk(Context& ctx, const Tensor& logits, const Tensor& target, const Tensor& loss,
                          const Tensor& dlogits, int64_t vocab) {
  using A = Acc<T>;
  const int64_t rows = logits.dim(0), columns = logits.dim(1), first_column = columns * tp::rank(ctx);
  const Tensor mine = ctx.empty({rows, 3}, logits.dtype(), MemoryKind::workspace);
  const Tensor all = ctx.empty({tp::ranks(ctx), rows, 3}, logits.dtype(), MemoryKind::workspace);
  SY_LAUNCH(ctx, cross_entropy_partial,
            (kernels::CrossEntropyPartial<A>{.logits = logits.data<A>(),
                                             .target = target.data<int32_t>(),
                                             .partial = mine.data<A>(),
                                             .rows = rows,
                                             .ld = columns,
                                             .columns = columns,
                                             .first_column = first_column,
                                             .vocab = vocab}));
  all_gather(ctx, ctx.mesh->tensor(), mine, all, "logit sums");
  SY_LAUNCH(ctx, cross_entropy_merge,
            (kernels::CrossEntropyMerge<T>{.logits = logits.data<A>(),
                                           .target = target.data<int32_t>(),
                                           .partials = all.data<A>(),
                                           .loss = loss.data<A>(),
                                           .dlogits = dlogits.defined() ? dlogits.data<T>() : nullptr,
                                           .state = ctx.step_state(),
                                           .ranks = tp::ranks(ctx),
                                           .rows = rows,
                                           .ld = columns,
                                           .columns = columns,
                                           .first_column = first_column,
                                           .vocab = vocab}));
}

template <class T>
void cross_entropy_chunk(Context& ctx, const Tensor& logits, const Tensor& target, const Tensor& loss,
                         const Tensor& dlogits, int64_t vocab) {
  if (tp::ranks(ctx) > 1) {
    vocab_parallel_chunk<T>(ctx, logits, target, loss, dlogits, vocab);
    return;
  }
  SY_LAUNCH(ctx, cross_entropy,
            (kernels::CrossEntropy<T>{.logits = logits.data<Acc<T>>(),
                                      .target = target.data<int32_t>(),
                                      .loss = loss.data<Acc<T>>(),
                                      .dlogits = dlogits.defined() ? dlogits.data<T>() : nullptr,
                                      .state = ctx.step_state(),
                                      .rows = logits.dim(0),
                                      .vocab = vocab,
                                      .ld = logits.dim(1)}));
}

}  // namespace

void fused_cross_entropy(Context& ctx, const Var& x, Parameter& weight, const Tensor& target, int64_t vocab,
                         const Tensor& slot, const Tensor& token_loss) {
  const int64_t tokens = x.dim(0), padded = weight.value.dim(0);
  SY_CHECK(target.count() == tokens && x.dim(1) == weight.value.dim(1) && vocab <= padded * tp::ranks(ctx),
           "fused_cross_entropy: x {}, weight {}, {} targets, vocabulary {}", shape_string(x.shape()),
           shape_string(weight.value.shape()), target.count(), vocab);
  SY_CHECK(ctx.replay == nullptr, "fused_cross_entropy inside checkpoint() would add its loss and gradients twice");
  const DType accumulation = accumulation_dtype(x.dtype());
  const bool record = needs_record(ctx, {&x}, true);
  const Tensor loss = token_loss.defined() ? token_loss : ctx.empty({tokens}, accumulation, MemoryKind::workspace);
  Tensor dx = record ? ctx.empty(x.shape(), x.dtype()) : Tensor();
  const int64_t rows = chunk_rows(tokens, padded);
  const Tensor logits_buffer = ctx.empty({rows, padded}, accumulation, MemoryKind::workspace);
  // In f32 and f64 the gradient overwrites the logits.
  const bool in_place = accumulation == x.dtype();
  const Tensor gradient_buffer = !record    ? Tensor()
                                 : in_place ? logits_buffer
                                            : ctx.empty({rows, padded}, x.dtype(), MemoryKind::workspace);

  for (int64_t begin = 0; begin < tokens; begin += rows) {
    const int64_t end = std::min(begin + rows, tokens);
    const Tensor logits = logits_buffer.slice(0, end - begin);
    const Tensor dlogits = record ? gradient_buffer.slice(0, end - begin) : Tensor();
    const Tensor x_chunk = x.value().slice(begin, end);
    matmul(ctx, x_chunk, weight.value, logits, {.transpose_b = true});
    dispatch_float(x.dtype(), [&]<class T>() {
      cross_entropy_chunk<T>(ctx, logits, target.slice(begin, end), loss.slice(begin, end), dlogits, vocab);
    });
    if (!record) continue;
    matmul(ctx, dlogits, x_chunk, weight.grad, {.transpose_a = true, .accumulate = true});
    matmul(ctx, dlogits, weight.value, dx.slice(begin, end), {});
  }
  dispatch_accumulation(accumulation, [&]<class A>() {
    SY_LAUNCH(ctx, sum_loss,
              (kernels::SumLoss<A>{
                  .loss = loss.data<A>(), .total = slot.data<double>(), .state = ctx.step_state(), .rows = tokens}));
  });
  if (record) ctx.tape->record([&ctx, x, dx]() { x.add_grad(ctx, dx); }, {&weight});
}

}  // namespace sy::ops
