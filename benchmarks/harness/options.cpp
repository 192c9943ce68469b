#include "benchmarks/harness/options.h"

#include "benchmarks/harness/routing_cases.h"
#include "csrc/core/device.h"
#include "trainer/hardware.h"

namespace sy::bench {

void add_options(CLI::App& app, Options& o) {
  app.add_option("--device", o.device, "cpu or cuda")->check(CLI::IsMember({"cpu", "cuda"}))->capture_default_str();
  app.add_option("--dtype", o.dtype, "f32, bf16 or f64; default f32 on the CPU, bf16 on a GPU");
  app.add_option("--tokens", o.tokens, "tokens of the layer")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--routing", o.routings, "uniform, multinomial, zipf, hot, empty: as many as wanted")
      ->check(CLI::IsMember(kRoutings))
      ->capture_default_str();
  app.add_option("--row-alignment", o.row_alignment, "of expert segments; default 1 on the CPU, 128 on a GPU");
  app.add_option("--hardware", o.hardware, "cost file for '% of floor' (configs/hardware)")->check(CLI::ExistingFile);
  app.add_option("--rounds", o.measure.rounds, "of A-B-B-A: two samples per contender each")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--sample-us", o.measure.sample_us, "shortest time of one sample")->capture_default_str();
  app.add_option("--time-limit", o.time_limit_s, "seconds after which no further problem is started; 0: none");
  app.add_option("--out", o.out, "folder of the results")->capture_default_str();
}

std::unique_ptr<Context> make_context(const Options& o) {
  const bool cuda = o.device == "cuda";
  if (cuda && device_api::device_count() == 0)
    user_error("--device cuda, but no usable GPU was found, or this build has no CUDA (`cmake --preset cuda`)");
  auto ctx = std::make_unique<Context>(cuda ? DeviceType::cuda : DeviceType::cpu);
  ctx->row_alignment = o.row_alignment > 0 ? o.row_alignment : cuda ? 128 : 1;
  StepState& state = ctx->host_step_state;
  state.step = 1;
  state.seed = 1;
  state.learning_rate = 1e-3;
  state.inv_loss_tokens = state.inv_batch_tokens = 1.0 / static_cast<double>(o.tokens);
  state.clip_coefficient = 1;
  ctx->upload_step_state();
  return ctx;
}

DType dtype_of(const Options& o) {
  return o.dtype.empty() ? (o.device == "cuda" ? DType::bf16 : DType::f32) : dtype_from_name(o.dtype);
}

double floor_us(const Options& o, const kernels::Work& work) {
  return o.hardware.empty() ? 0 : 1e6 * kernel_seconds(load_hardware(o.hardware), work);
}

std::string command_line(int argc, char** argv) {
  std::string text;
  for (int i = 0; i < argc; ++i) text += (i == 0 ? "" : " ") + std::string(argv[i]);
  return text;
}

int run_program(const char* name, const std::function<int()>& run) {
  try {
    return run();
  } catch (const UserError& e) {
    fmt::print(stderr, "{}: {}\n", name, e.what());
    return 2;
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}: {}\n", name, e.what());
    return 1;
  }
}

}  // namespace sy::bench
