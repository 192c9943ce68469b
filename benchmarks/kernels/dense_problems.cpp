// Norm and activation over rows, the loss with its gradient, the optimizer's update.
#include <algorithm>
#include <cmath>

#include "benchmarks/kernels/problem.h"
#include "kernels/dense/rms_norm.h"
#include "kernels/dense/swiglu.h"
#include "kernels/loss/cross_entropy.h"
#include "kernels/optim/adamw.h"

namespace sy::bench {

namespace {

// A vocabulary, and rows of it, as the chunked loss sees them.
constexpr int64_t kVocab = 32768, kMaxLossRows = 4096;

Problem rms_norm(Context& ctx, const MoeShape& shape, const Routing& routing, DType dtype) {
  return dispatch_float(dtype, [&]<class T>() {
    const Pattern x_at(1, 1.0), w_at(2, 1.0);
    const int64_t dim = shape.hidden;
    const Tensor x = x_at.tensor(ctx, {routing.tokens, dim}, dtype), w = w_at.tensor(ctx, {dim}, dtype);
    const Tensor y = ctx.empty(x.shape(), dtype), rstd = ctx.empty({routing.tokens}, accumulation_dtype(dtype));
    const kernels::RmsNormForward<T> args{.x = x.data<T>(),
                                          .weight = w.data<T>(),
                                          .y = y.data<T>(),
                                          .rstd = rstd.data<Acc<T>>(),
                                          .rows = routing.tokens,
                                          .dim = dim,
                                          .ldx = dim,
                                          .ldy = dim};
    const auto normed = [=](int64_t i) {
      double squares = 0;
      for (int64_t j = 0; j < dim; ++j) squares += std::pow(x_at(i / dim * dim + j), 2);
      return x_at(i) / std::sqrt(squares / static_cast<double>(dim) + args.epsilon) * w_at(i % dim);
    };
    return Problem{args.work(),
                   {{kOurs, [&ctx, args, x, w, y, rstd] { SY_LAUNCH(ctx, rms_norm_forward, args); }}},
                   {{y, normed, tolerance_of(dtype)}}};
  });
}

Problem swiglu(Context& ctx, const MoeShape& shape, const Routing& routing, DType dtype) {
  return dispatch_float(dtype, [&]<class T>() {
    const Pattern h_at(1, 1.0);
    const int64_t rows = routing.assignments(), width = shape.width;
    const Tensor h = h_at.tensor(ctx, {rows, 2 * width}, dtype), a = ctx.empty({rows, width}, dtype);
    const kernels::SwigluForward<T> args{.h = h.data<T>(), .a = a.data<T>(), .rows = rows, .width = width};
    const auto gated = [=](int64_t i) {
      const double gate = h_at(i / width * 2 * width + i % width), up = h_at((i / width * 2 + 1) * width + i % width);
      return gate / (1 + std::exp(-gate)) * up;
    };
    return Problem{args.work(),
                   {{kOurs, [&ctx, args, h, a] { SY_LAUNCH(ctx, swiglu_forward, args); }}},
                   {{a, gated, tolerance_of(dtype)}}};
  });
}

Problem cross_entropy(Context& ctx, const MoeShape&, const Routing& routing, DType dtype) {
  return dispatch_float(dtype, [&]<class T>() {
    const Pattern logit(1, 1.0);
    const int64_t rows = std::min(routing.tokens, kMaxLossRows);
    const auto target_of = [](int64_t r) { return r * 7919 % kVocab; };
    std::vector<int32_t> targets;
    for (int64_t r = 0; r < rows; ++r) targets.push_back(static_cast<int32_t>(target_of(r)));
    const Tensor logits = logit.tensor(ctx, {rows, kVocab}, accumulation_dtype(dtype));
    const Tensor target = ctx.from_host<int32_t>(targets, {rows}, MemoryKind::data);
    const Tensor loss = ctx.empty({rows}, logits.dtype()), dlogits = ctx.empty(logits.shape(), dtype);
    const kernels::CrossEntropy<T> args{.logits = logits.data<Acc<T>>(),
                                        .target = target.data<int32_t>(),
                                        .loss = loss.data<Acc<T>>(),
                                        .dlogits = dlogits.data<T>(),
                                        .state = ctx.step_state(),
                                        .rows = rows,
                                        .vocab = kVocab,
                                        .ld = kVocab};
    const auto log_sum = [=](int64_t r) {
      double sum = 0;
      for (int64_t v = 0; v < kVocab; ++v) sum += std::exp(logit(r * kVocab + v));
      return std::log(sum);
    };
    const double inv_tokens = ctx.host_step_state.inv_loss_tokens;
    const auto loss_of = [=](int64_t r) { return log_sum(r) - logit(r * kVocab + target_of(r)); };
    const auto gradient = [=](int64_t i) {
      const int64_t r = i / kVocab;
      return (std::exp(logit(i) - log_sum(r)) - (i % kVocab == target_of(r) ? 1 : 0)) * inv_tokens;
    };
    return Problem{args.work(),
                   {{kOurs, [&ctx, args, logits, target, loss, dlogits] { SY_LAUNCH(ctx, cross_entropy, args); }}},
                   {{loss, loss_of, tolerance_of(loss.dtype())}, {dlogits, gradient, tolerance_of(dtype)}}};
  });
}

Problem adamw(Context& ctx, const MoeShape& shape, const Routing& routing, DType dtype) {
  return dispatch_float(dtype, [&]<class T>() {
    const Pattern grad_at(1, 1.0), master_at(2, 1.0);
    const DType sums = accumulation_dtype(dtype);
    const Shape elements = {routing.tokens * shape.hidden};
    const Tensor grad = grad_at.tensor(ctx, elements, sums), master = master_at.tensor(ctx, elements, sums);
    const Tensor m = ctx.zeros(elements, sums), v = ctx.zeros(elements, sums), weight = ctx.empty(elements, dtype);
    const kernels::AdamW<T> args{.grad = grad.data<Acc<T>>(),
                                 .master = master.data<Acc<T>>(),
                                 .m = m.data<Acc<T>>(),
                                 .v = v.data<Acc<T>>(),
                                 .weight = weight.data<T>(),
                                 .state = ctx.step_state(),
                                 .count = elements[0],
                                 .weight_decay = 0.1};
    const double lr = ctx.host_step_state.learning_rate;
    // In the first step the bias corrections leave g / |g|.
    const auto updated = [=](int64_t i) {
      const double g = grad_at(i);
      return master_at(i) * (1 - lr * args.weight_decay) - lr * g / (std::abs(g) + args.epsilon);
    };
    return Problem{args.work(),
                   {{kOurs, [&ctx, args, grad, master, m, v, weight] { SY_LAUNCH(ctx, adamw, args); }}},
                   {{master, updated, tolerance_of(sums)}, {weight, updated, tolerance_of(dtype)}}};
  });
}

}  // namespace

std::vector<KernelCase> dense_cases() {
  return {{"rms_norm", "RMS norm of token rows", false, rms_norm},
          {"swiglu", "SwiGLU of every assignment's row", false, swiglu},
          {"cross_entropy", "loss and gradient of at most 4096 rows over a vocabulary of 32768", false, cross_entropy},
          {"adamw", "AdamW on as many elements as the tokens have", false, adamw}};
}

}  // namespace sy::bench
