#include "csrc/upcycling/samples.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "csrc/core/check.h"

namespace sy::upcycling {

std::vector<float> all_inputs(const LayerSamples& samples) {
  std::vector<float> x_TD;
  for (const BlockSamples& text : samples) x_TD.insert(x_TD.end(), text.x_TD.begin(), text.x_TD.end());
  return x_TD;
}

std::vector<double> products(std::span<const float> x_TD, std::span<const double> rows_RD, int64_t hidden_size) {
  const int64_t tokens = std::ssize(x_TD) / hidden_size, rows = std::ssize(rows_RD) / hidden_size;
  std::vector<double> y_TR(static_cast<size_t>(tokens * rows));
#pragma omp parallel for schedule(static)
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t r = 0; r < rows; ++r) {
      const float* x = x_TD.data() + t * hidden_size;
      const double* row = rows_RD.data() + r * hidden_size;
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t j = 0; j < hidden_size; ++j) sum += static_cast<double>(x[j]) * row[j];
      y_TR[static_cast<size_t>(t * rows + r)] = sum;
    }
  return y_TR;
}

std::vector<double> activations(const Ffn& ffn, std::span<const float> x_TD) {
  std::vector<double> h_TF = products(x_TD, ffn.weight_FD[kGate], ffn.hidden_size);
  const std::vector<double> up_TF = products(x_TD, ffn.weight_FD[kUp], ffn.hidden_size);
  for (size_t i = 0; i < h_TF.size(); ++i) h_TF[i] *= up_TF[i] / (1 + std::exp(-h_TF[i]));
  return h_TF;
}

std::vector<double> outputs(const Ffn& ffn, std::span<const float> x_TD) {
  const std::vector<double> h_TF = activations(ffn, x_TD);
  const int64_t width = ffn.width(), hidden_size = ffn.hidden_size, tokens = std::ssize(x_TD) / hidden_size;
  std::vector<double> y_TD(x_TD.size(), 0.0);
#pragma omp parallel for schedule(static)
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t i = 0; i < width; ++i)
      for (int64_t j = 0; j < hidden_size; ++j)
        y_TD[static_cast<size_t>(t * hidden_size + j)] +=
            h_TF[static_cast<size_t>(t * width + i)] * ffn.weight_FD[kDown][static_cast<size_t>(i * hidden_size + j)];
  return y_TD;
}

std::vector<double> salience(const Ffn& ffn, const BlockSamples& samples) {
  SY_CHECK(samples.dy_TD.size() == samples.x_TD.size() && !samples.x_TD.empty(), "no gradients for {} inputs",
           samples.x_TD.size());
  const std::vector<double> h_TF = activations(ffn, samples.x_TD);
  const std::vector<double> dh_TF = products(samples.dy_TD, ffn.weight_FD[kDown], ffn.hidden_size);
  std::vector<double> mean_F(static_cast<size_t>(ffn.width()), 0.0);
  const double tokens = static_cast<double>(h_TF.size()) / static_cast<double>(mean_F.size());
  for (size_t i = 0; i < h_TF.size(); ++i) mean_F[i % mean_F.size()] += std::fabs(h_TF[i] * dh_TF[i]) / tokens;
  return mean_F;
}

std::vector<double> coactivation(const Ffn& ffn, std::span<const float> x_TD, int64_t active) {
  const std::vector<double> h_TF = activations(ffn, x_TD);
  const auto width = static_cast<size_t>(ffn.width());
  std::vector<double> together_FF(width * width, 0.0);
  std::vector<size_t> order(width);
  for (auto h = h_TF.begin(); h != h_TF.end(); h += static_cast<std::ptrdiff_t>(width)) {
    std::iota(order.begin(), order.end(), size_t{0});
    const auto magnitude = [&](size_t i) { return std::fabs(h[static_cast<std::ptrdiff_t>(i)]); };
    std::nth_element(order.begin(), order.begin() + active, order.end(), [&](size_t a, size_t b) {
      return magnitude(a) != magnitude(b) ? magnitude(a) > magnitude(b) : a < b;
    });
    for (auto i = order.begin(); i != order.begin() + active; ++i)
      for (auto j = order.begin(); j != order.begin() + active; ++j)
        if (*i != *j) ++together_FF[*i * width + *j];
  }
  return together_FF;
}

}  // namespace sy::upcycling
