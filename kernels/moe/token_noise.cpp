#include "kernels/moe/token_noise.h"

namespace sy::kernels {

namespace {

// Calls body(i, stream of the token's sample, first counter of the token's row) for the tokens t = first_token + i.
template <class Args, class Body>
void for_each_token(const Args& a, int64_t first_token, RngPurpose purpose, Body body) {
  const auto step = static_cast<uint64_t>(a.state->step);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < a.tokens; ++i) {
    const int64_t t = first_token + i;
    const auto sample = static_cast<uint64_t>(a.sample_id[t / a.seq_length]);
    body(i, Philox::keyed(a.state->seed, step, sample, a.layer, purpose),
         static_cast<uint64_t>((t % a.seq_length) * a.columns));
  }
}

}  // namespace

template <class A>
void token_noise(Cpu, const TokenNoise<A>& a) {
  for_each_token(a, 0, a.purpose, [&](int64_t t, const Philox& stream, uint64_t first) {
    for (int64_t c = 0; c < a.columns; ++c)
      a.noise[t * a.columns + c] = static_cast<A>(noise_value(stream, first + static_cast<uint64_t>(c), a.kind));
  });
}

template <class T>
void input_jitter(Cpu, const InputJitter<T>& a) {
  for_each_token(a, a.first_token, RngPurpose::kInputJitter, [&](int64_t i, const Philox& stream, uint64_t first) {
    for (int64_t c = 0; c < a.columns; ++c) {
      const auto factor =
          static_cast<Acc<T>>(1.0 + a.epsilon * (2.0 * stream.uniform(first + static_cast<uint64_t>(c)) - 1.0));
      a.y[i * a.columns + c] = T(static_cast<Acc<T>>(a.x[i * a.columns + c]) * factor);
    }
  });
}

template void token_noise(Cpu, const TokenNoise<float>&);
template void token_noise(Cpu, const TokenNoise<double>&);
template void input_jitter(Cpu, const InputJitter<float>&);
template void input_jitter(Cpu, const InputJitter<double>&);
template void input_jitter(Cpu, const InputJitter<bf16>&);

}  // namespace sy::kernels
