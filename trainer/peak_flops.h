// The peak rate that "% of peak" refers to: for GPUs the data sheet's dense rate of the type; for CPUs, where data
// sheets say little about a virtual machine, the rate of a large matrix product measured at start (a third of a second).
#pragma once

#include "csrc/core/context.h"

namespace sy {

// TFLOP/s of one rank's device in `dtype`; 1e9 (so that the fraction is 0) on devices without a known figure.
double measured_peak_tflops(Context& ctx, DType dtype);

}  // namespace sy
