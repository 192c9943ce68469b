// kernel_bench: every kernel at the shapes of known models. The result is checked against an f64 reference first; a
// kernel whose result is wrong is not timed, and the program ends with 1.
#include <fmt/format.h>

#include <chrono>

#include "benchmarks/harness/options.h"
#include "benchmarks/harness/report.h"
#include "benchmarks/kernels/problem.h"

namespace sy::bench {
namespace {

// Of the problem's first launch; the outputs of other copies of the operands are not looked at.
CheckResult check(Context& ctx, const Problem& problem) {
  problem.launches[0].run();
  CheckResult all;
  for (const SampledCheck& c : problem.checks) {
    const CheckResult one = check_samples(ctx, c);
    all.max_error = std::max(all.max_error, one.max_error);
    all.norm_error = std::max(all.norm_error, one.norm_error);
    all.passed = all.passed && one.passed;
  }
  return all;
}

struct Place {
  Context& ctx;
  Timer& timer;
  const Options& options;
  ResultFiles& results;
};

// False if the result was wrong.
bool run_case(const Place& place, const KernelCase& kernel, const MoeShape& shape, const Routing& routing) {
  const DType dtype = dtype_of(place.options);
  std::vector<Problem> copies = {kernel.build(place.ctx, shape, routing, dtype)};
  const CheckResult checked = check(place.ctx, copies[0]);
  const std::string what = fmt::format("{} {} {} {}", kernel.name, shape.name,
                                       kernel.depends_on_routing ? routing.name : "-", place.options.tokens);
  if (!checked.passed) {
    fmt::print(stderr, "WRONG {}: error {:.1e} of the largest element, {:.1e} of the norm\n", what, checked.max_error,
               checked.norm_error);
    return false;
  }
  const int64_t wanted = operand_copies(copies[0].work.bytes);
  while (static_cast<int64_t>(copies.size()) < wanted) copies.push_back(kernel.build(place.ctx, shape, routing, dtype));
  std::vector<Contender> contenders;
  for (std::size_t l = 0; l < copies[0].launches.size(); ++l) {
    contenders.push_back({copies[0].launches[l].contender, {}});
    for (const Problem& copy : copies) contenders.back().launches.push_back(copy.launches[l].run);
  }
  const std::vector<Timing> timings = measure(place.timer, contenders, place.options.measure);
  std::vector<Row> rows;
  for (std::size_t c = 0; c < contenders.size(); ++c)
    rows.push_back({.benchmark = kernel.name,
                    .shape = shape.name,
                    .routing = kernel.depends_on_routing ? routing.name : "-",
                    .dtype = dtype_name(dtype),
                    .contender = contenders[c].name,
                    .tokens = place.options.tokens,
                    .timing = timings[c],
                    .work = copies[0].work,
                    .floor_us = floor_us(place.options, copies[0].work),
                    .max_error = checked.max_error,
                    .norm_error = checked.norm_error});
  place.results.add(rows);
  fmt::print("{}: {:.1f} us\n", what, timings[0].median_us);
  std::fflush(stdout);
  return true;
}

int run(int argc, char** argv) {
  CLI::App app("Times kernels and their peers in this process, after checking their results", "kernel_bench");
  Options options;
  std::string shape_text = "core";
  std::vector<std::string> wanted;
  bool list = false;
  add_options(app, options);
  app.add_option("--shape", shape_text, "core, all, a model's name, or d,n,E,K")->capture_default_str();
  app.add_option("--kernel", wanted, "only kernels whose name contains one of these");
  app.add_flag("--list", list, "print kernels and shapes, run nothing");
  CLI11_PARSE(app, argc, argv);

  std::vector<KernelCase> kernels;
  for (const auto& group : {routing_cases(), row_cases(), product_cases(), dense_cases()})
    for (const KernelCase& k : group) {
      bool matches = wanted.empty();
      for (const std::string& part : wanted) matches = matches || k.name.find(part) != std::string::npos;
      if (matches) kernels.push_back(k);
    }
  if (kernels.empty()) user_error("no kernel has such a name; --list prints them");
  const std::vector<MoeShape> shapes = find_shapes(shape_text);
  if (list) {
    for (const KernelCase& k : kernels) fmt::print("{:<22} {}\n", k.name, k.what);
    for (const MoeShape& s : named_shapes())
      fmt::print("{:<22} d {}, n {}, {} experts, {} per token\n", s.name, s.hidden, s.width, s.experts, s.k);
    return 0;
  }

  const auto begin = std::chrono::steady_clock::now();
  const auto ctx = make_context(options);
  const auto timer = make_timer(*ctx);
  ResultFiles results(options.out + "/kernels", device_facts(ctx->device()), command_line(argc, argv));
  int64_t wrong = 0;
  for (const MoeShape& shape : shapes)
    for (std::size_t r = 0; r < options.routings.size(); ++r) {
      const Routing routing = make_routing(*ctx, options.routings[r], options.tokens, shape.experts, shape.k, 1);
      for (const KernelCase& kernel : kernels) {
        if (r > 0 && !kernel.depends_on_routing) continue;
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        if (options.time_limit_s > 0 && seconds > options.time_limit_s) {
          fmt::print(stderr, "stopped before {} {}: --time-limit {} s is over\n", kernel.name, shape.name,
                     options.time_limit_s);
          return wrong > 0 ? 1 : 0;
        }
        wrong += run_case({*ctx, *timer, options, results}, kernel, shape, routing) ? 0 : 1;
      }
    }
  return wrong > 0 ? 1 : 0;
}

}  // namespace
}  // namespace sy::bench

int main(int argc, char** argv) {
  return sy::bench::run_program("kernel_bench", [&] { return sy::bench::run(argc, argv); });
}
