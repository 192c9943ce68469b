// Random numbers for routing: addressed by (seed, step, sample, layer, purpose) and the element's index inside its
// sample, so that the same token draws the same number on any rank, in any micro-batch and again in a recomputation.
//
// sample_id [tokens/seq_length] i64: global sample index of each sequence. Element (t, c) has counter
// (t mod seq_length) * columns + c under the key of its sample.
// token_noise:  noise[t, c] (A, set): uniform in (0,1), standard normal, or standard Gumbel (-log(-log u)).
// input_jitter: y[i, c] (T, set) = x[i, c] * (1 + epsilon * (2u - 1))   (Switch; the same call on dy is its backward)
//   x and y hold the tokens [first_token, first_token + tokens) of the micro-batch, sample_id all of its samples: row i
//   draws the numbers of token t = first_token + i.
#pragma once

#include "kernels/philox.h"
#include "kernels/step_state.h"
#include "kernels/types.h"
#include "kernels/work.h"

namespace sy::kernels {

enum class NoiseKind : int32_t { kUniform = 0, kNormal = 1, kGumbel = 2 };

template <class A>
struct TokenNoise {
  A* noise = nullptr;
  const int64_t* sample_id = nullptr;
  const StepState* state = nullptr;
  int64_t tokens = 0, columns = 1, seq_length = 0;
  uint32_t layer = 0;
  RngPurpose purpose = RngPurpose::kRouterNoise;
  NoiseKind kind = NoiseKind::kUniform;

  Work work() const { return {.bytes = bytes_of<A>(tokens * columns)}; }
};

template <class T>
struct InputJitter {
  const T* x = nullptr;
  T* y = nullptr;
  const int64_t* sample_id = nullptr;
  const StepState* state = nullptr;
  int64_t tokens = 0, columns = 1, seq_length = 0;
  int64_t first_token = 0;
  uint32_t layer = 0;
  double epsilon = 0;

  Work work() const { return {.bytes = bytes_of<T, T>(tokens * columns)}; }
};

// One number of the given kind (shared by the CPU and CUDA bodies).
SY_HD inline double noise_value(const Philox& stream, uint64_t index, NoiseKind kind) {
  if (kind == NoiseKind::kNormal) return stream.normal(index);
  const double u = stream.uniform(index);
  return kind == NoiseKind::kUniform ? u : -log(-log(u));
}

template <class A>
void token_noise(Cpu, const TokenNoise<A>& args);
template <class A>
void token_noise(Cuda, const TokenNoise<A>& args);
template <class T>
void input_jitter(Cpu, const InputJitter<T>& args);
template <class T>
void input_jitter(Cuda, const InputJitter<T>& args);

}  // namespace sy::kernels
