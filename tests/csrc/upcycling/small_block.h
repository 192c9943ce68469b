// Small SwiGLU blocks for tests of upcycling, and what they compute.
#pragma once

#include <cmath>

#include "csrc/upcycling/ffn.h"

namespace sy::upcycling::testing {

// x [D] -> [D], in f64.
inline std::vector<double> forward(const Ffn& ffn, const std::vector<double>& x) {
  std::vector<double> y(x.size(), 0.0);
  for (int64_t i = 0; i < ffn.width(); ++i) {
    double gate = 0, up = 0;
    const auto row = static_cast<size_t>(i * ffn.hidden_size);
    for (size_t j = 0; j < x.size(); ++j) {
      gate += ffn.weight_FD[kGate][row + j] * x[j];
      up += ffn.weight_FD[kUp][row + j] * x[j];
    }
    const double h = gate / (1 + std::exp(-gate)) * up;
    for (size_t j = 0; j < x.size(); ++j) y[j] += ffn.weight_FD[kDown][row + j] * h;
  }
  return y;
}

inline Ffn with_origins(Ffn ffn, int64_t width, int64_t input = 0) {
  for (int64_t i = 0; i < width; ++i) ffn.origin_F.push_back({input, 0, i});
  return ffn;
}

// D = 2, F = 4; down is written neuron by neuron, the columns of [[1, 0, 2, -1], [0, 1, .5, 1]].
inline Ffn hand_block() {
  return with_origins({.hidden_size = 2,
                       .weight_FD = {std::vector<double>{1, 0, 0, 1, 1, 1, -1, 1},
                                     {1, 2, 0, -1, .5, 0, 1, 1},
                                     {1, 0, 0, 1, 2, .5, -1, 1}},
                       .origin_F = {}},
                      4);
}

inline Ffn random_block(int64_t width, int64_t hidden_size, uint64_t seed, int64_t input = 0) {
  Ffn ffn{.hidden_size = hidden_size, .weight_FD = {}, .origin_F = {}};
  for (const Matrix m : kMatrices)
    ffn.weight_FD[m] = normal_rows(width, hidden_size, 1, Stream(seed, "block", m, input));
  return with_origins(ffn, width, input);
}

}  // namespace sy::upcycling::testing
