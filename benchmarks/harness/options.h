// Options that kernel_bench and layer_bench share, and the context that they ask for.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/harness/measure.h"
#include "kernels/work.h"

namespace sy::bench {

struct Options {
  std::string device = "cpu", dtype, hardware, out = "benchmarks/results/here";
  std::vector<std::string> routings = {"multinomial", "zipf"};
  int64_t tokens = 4096, row_alignment = 0;
  double time_limit_s = 0;
  MeasureOptions measure;
};

void add_options(CLI::App& app, Options& options);
// Per-step values as in a first step. UserError where the device is not there.
std::unique_ptr<Context> make_context(const Options& options);
// f32 on the CPU and bf16 on a GPU unless told otherwise.
DType dtype_of(const Options& options);
// Microseconds of `work` by the cost file; 0 without one.
double floor_us(const Options& options, const kernels::Work& work);
std::string command_line(int argc, char** argv);
// Exit code of `run`; an error is one line behind the program's name: 2 for a user's mistake, otherwise 1.
int run_program(const char* name, const std::function<int()>& run);

}  // namespace sy::bench
