// Operations on the weights of one SwiGLU block,  FFN(x) = W_down ( silu(W_gate x) * (W_up x) ),  in f64 on the host:
// the pieces from which upcycling methods make experts. Pure functions; what is random comes from a Stream.
//
// F neurons, D width. A neuron is row i of W_gate, row i of W_up and column i of W_down, so all three are kept neuron
// by neuron (W_down transposed), beside the place where each neuron came from: its lineage.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/philox.h"

namespace sy::upcycling {

// The random numbers of one operation on one expert of one layer: independent of the order of loops and of threads.
class Stream {
 public:
  Stream(uint64_t seed, const std::string& operation, int64_t layer, int64_t expert);
  double uniform(uint64_t index) const { return philox_.uniform(index); }
  double normal(uint64_t index) const { return philox_.normal(index); }
  // The numbers 0 .. count-1 in random order; `chosen` of them, rising.
  std::vector<int64_t> permutation(int64_t count) const;
  std::vector<int64_t> choose(int64_t chosen, int64_t count) const;

 private:
  Philox philox_;
};

// Where a neuron came from. neuron < 0: new, that is, some of its weights were drawn.
struct Origin {
  int64_t input = 0, layer = 0, neuron = 0;
  bool operator==(const Origin&) const = default;
};
inline constexpr Origin kNew{-1, -1, -1};

enum Matrix { kGate, kUp, kDown };
inline constexpr std::array<Matrix, 3> kMatrices = {kGate, kUp, kDown};

struct Ffn {
  int64_t hidden_size = 0;
  std::array<std::vector<double>, 3> weight_FD;  // by Matrix
  std::vector<Origin> origin_F;

  int64_t width() const { return std::ssize(origin_F); }
};

// The neurons index_F in that order; a neuron may stand several times.
Ffn neurons(const Ffn& from, std::span<const int64_t> index_F);
// Neurons [begin, begin + count).
Ffn slice(const Ffn& from, int64_t begin, int64_t count);

struct Normal {
  double mean = 0, std = 1;
};
// Mean and unbiased standard deviation of one matrix over the neurons index_S.
Normal statistics(const Ffn& ffn, Matrix matrix, std::span<const int64_t> index_S);
// Draws one matrix's weights of the neurons index_S anew; they count as new from then on.
void reinitialise(Ffn& ffn, Matrix matrix, std::span<const int64_t> index_S, const Normal& normal,
                  const Stream& stream);
// Adds to the weights of the neurons index_S, which keep their origin.
void add_noise(Ffn& ffn, std::span<const int64_t> index_S, double std, const Stream& stream);
void scale(Ffn& ffn, Matrix matrix, double factor);

// Router rows [E, D]: normal; uniform, centred on their own mean; `groups` normal rows, each repeated `times` times.
std::vector<double> normal_rows(int64_t experts, int64_t hidden_size, double std, const Stream& stream);
std::vector<double> centred_uniform_rows(int64_t experts, int64_t hidden_size, double std, const Stream& stream);
std::vector<double> repeated_rows(int64_t groups, int64_t times, int64_t hidden_size, double std, const Stream& stream);

}  // namespace sy::upcycling
