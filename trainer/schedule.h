// Learning rates as pure functions of the step, with Megatron's styles and key names.
//
// Let s = step + 1 (so that no step is taken at rate 0), W = warmup, D = decay_iters (the end of the schedule):
//   s <= W:  lr s / W
//   s <= D:  min_lr + c (lr - min_lr)
//            cosine c = (1 + cos(pi r)) / 2, linear c = 1 - r, both with r = (s - W) / (D - W)
//            WSD    c = 1 until D - A, then with r = (s - (D - A)) / A, A = wsd_decay_iters:
//                   linear 1 - r, cosine (1 + cos(pi r)) / 2, exponential 2 (1/2)^r - 1, minus_sqrt 1 - sqrt(r)
//   s > D:   min_lr
// A constant schedule stays at lr after the warmup.
// Sources: Loshchilov and Hutter 2017 (arXiv 1608.03983) for cosine; Hu et al. 2024 (arXiv 2404.06395) for
// warmup-stable-decay; Haegele et al. 2024 (arXiv 2405.18392) for 1 - sqrt.
#pragma once

#include <cstdint>

namespace sy {

enum class LrDecayStyle { kConstant, kLinear, kCosine, kWsd };
enum class WsdDecayStyle { kLinear, kCosine, kExponential, kMinusSqrt };

struct Schedule {
  double lr = 1e-3;
  double min_lr = 0;
  LrDecayStyle style = LrDecayStyle::kCosine;
  int64_t warmup_iters = 0;
  int64_t decay_iters = 1;
  int64_t wsd_decay_iters = 0;
  WsdDecayStyle wsd_style = WsdDecayStyle::kLinear;
};

// The rate of optimizer step `step`, counted from 0.
double learning_rate(const Schedule& schedule, int64_t step);

}  // namespace sy
