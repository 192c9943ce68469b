// Rows of a table (kernels/dense/embedding.h). Tensor-parallel ranks hold equal shares of the rows.
#include "kernels/dense/embedding.h"

#include "csrc/core/launch.h"
#include "csrc/ops/ops.h"
#include "parallel/collective_ops.h"

namespace sy::ops {

Var embedding(Context& ctx, const Tensor& id, Parameter& table) {
  const int64_t tokens = id.count(), vocab = table.value.dim(0), dim = table.value.dim(1);
  const int64_t first_row = vocab * tp::rank(ctx);
  Tensor y = ctx.empty({tokens, dim}, table.value.dtype());
  dispatch_float(y.dtype(), [&]<class T>() {
    SY_LAUNCH(ctx, embedding_forward,
              (kernels::EmbeddingForward<T>{.table = table.value.data<T>(),
                                            .id = id.data<int32_t>(),
                                            .y = y.data<T>(),
                                            .tokens = tokens,
                                            .vocab = vocab,
                                            .dim = dim,
                                            .first_row = first_row}));
  });
  const bool record = needs_record(ctx, {}, true);
  Var out(std::move(y), record);
  if (record)
    ctx.tape->record(
        [&ctx, id, out, w = &table, tokens, vocab, dim, first_row]() {
          const Tensor dy = out.take_grad();
          if (!dy.defined()) return;
          dispatch_float(dy.dtype(), [&]<class T>() {
            SY_LAUNCH(ctx, embedding_backward,
                      (kernels::EmbeddingBackward<T>{.dy = dy.data<T>(),
                                                     .id = id.data<int32_t>(),
                                                     .dtable = w->grad.data<Acc<T>>(),
                                                     .tokens = tokens,
                                                     .vocab = vocab,
                                                     .dim = dim,
                                                     .first_row = first_row}));
          });
        },
        {&table});
  return out;
}

}  // namespace sy::ops
