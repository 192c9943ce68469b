// CPU body of AdamW: one pass over the parameters, every element on its own.
#include "kernels/optim/adamw.h"

#include <cmath>
#include <type_traits>

namespace sy::kernels {

template <class T>
void adamw(Cpu, const AdamW<T>& args) {
  using A = Acc<T>;
  if (args.count == 0 || args.state->skip) return;
  if constexpr (!std::is_same_v<T, A>) SY_KERNEL_CHECK(args.weight);
  // What does not vary between elements is computed in f64: 1 - beta^step loses its digits in f32.
  const double step = static_cast<double>(args.state->step), lr = args.state->learning_rate * args.lr_scale;
  const A clip = static_cast<A>(args.state->clip_coefficient);
  const A beta1 = static_cast<A>(args.beta1), rest1 = static_cast<A>(1 - args.beta1);
  const A beta2 = static_cast<A>(args.beta2), rest2 = static_cast<A>(1 - args.beta2);
  const A step_size = static_cast<A>(lr / (1 - std::pow(args.beta1, step)));
  const A inverse_correction2 = static_cast<A>(1 / (1 - std::pow(args.beta2, step)));
  const A decay = static_cast<A>(1 - lr * args.weight_decay), epsilon = static_cast<A>(args.epsilon);
  [[maybe_unused]] const bool store =
      args.weight && static_cast<const void*>(args.weight) != static_cast<const void*>(args.master);
  // Locals, so that the compiler need not assume that a store changes the pointers.
  const A* grad = args.grad;
  A *master = args.master, *first = args.m, *second = args.v;
  T* weight = args.weight;
#pragma omp parallel for simd schedule(static) if (args.count >= 32768)  // below, waking the threads costs more
  for (int64_t i = 0; i < args.count; ++i) {
    const A g = grad[i] * clip;
    const A m = beta1 * first[i] + rest1 * g;
    const A v = beta2 * second[i] + rest2 * g * g;
    const A w = master[i] * decay - step_size * m / (std::sqrt(v * inverse_correction2) + epsilon);
    first[i] = m;
    second[i] = v;
    master[i] = w;
    if constexpr (std::is_same_v<T, bf16>) {
      weight[i].bits = bf16(w).bits;  // the bits, because the copy of a class object would stop the vectoriser
    } else if (store) {
      weight[i] = w;
    }
  }
}

template void adamw<float>(Cpu, const AdamW<float>&);
template void adamw<bf16>(Cpu, const AdamW<bf16>&);
template void adamw<double>(Cpu, const AdamW<double>&);

}  // namespace sy::kernels
