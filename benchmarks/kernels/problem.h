// Problem: one kernel at one shape, with operands in device memory, ready to launch, and what its result must be.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "benchmarks/harness/pattern.h"
#include "benchmarks/harness/routing_cases.h"
#include "benchmarks/harness/sampled_check.h"
#include "benchmarks/harness/shapes.h"
#include "csrc/core/launch.h"
#include "kernels/work.h"

namespace sy::bench {

struct Launch {
  std::string contender;
  std::function<void()> run;
};

struct Problem {
  kernels::Work work = {};                // without padding, and without the weights of experts that have no token
  std::vector<Launch> launches = {};      // ours first, then its peers in this process
  std::vector<SampledCheck> checks = {};  // of what our first launch leaves
};

struct KernelCase {
  std::string name, what;
  bool depends_on_routing;
  Problem (*build)(Context& ctx, const MoeShape& shape, const Routing& routing, DType dtype);
};

std::vector<KernelCase> routing_cases();  // scores, selection, index tables
std::vector<KernelCase> row_cases();      // rows to experts and back
std::vector<KernelCase> product_cases();  // grouped products
std::vector<KernelCase> dense_cases();    // norm, activation, loss, optimizer

inline constexpr const char* kOurs = "switchyard";

}  // namespace sy::bench
