#include "csrc/models/rope_frequencies.h"

#include <cmath>
#include <numbers>

namespace sy {

namespace {

// Llama 3.1: long wavelengths are stretched by factor, short ones stay, a linear ramp lies between.
double llama3(double frequency, const RopeScalingConfig& s) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const auto original = static_cast<double>(s.original_max_position_embeddings);
  if (wavelength < original / s.high_freq_factor) return frequency;
  if (wavelength > original / s.low_freq_factor) return frequency / s.factor;
  const double smooth = (original / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1 - smooth) * frequency / s.factor + smooth * frequency;
}

}  // namespace

std::vector<double> rope_frequencies(int64_t head_dim, double theta, const RopeScalingConfig& scaling) {
  std::vector<double> frequencies(static_cast<std::size_t>(head_dim / 2));
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double f = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    switch (scaling.type) {
      case RopeScalingType::kNone: frequencies[i] = f; break;
      case RopeScalingType::kLinear: frequencies[i] = f / scaling.factor; break;
      case RopeScalingType::kLlama3: frequencies[i] = llama3(f, scaling); break;
    }
  }
  return frequencies;
}

}  // namespace sy
