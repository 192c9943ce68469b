#include "trainer/session.h"

#include <omp.h>
#include <sched.h>

#include <fmt/ranges.h>
#include <algorithm>
#include <cstdlib>

#include "csrc/core/device.h"
#include "csrc/core/launch.h"
#include "trainer/dry_run.h"

namespace sy {

DType training_dtype(ComputeType type) {
  switch (type) {
    case ComputeType::kF32:
      return DType::f32;
    case ComputeType::kBf16:
      return DType::bf16;
    case ComputeType::kF64:
      return DType::f64;
  }
  return DType::f32;
}

int allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

namespace {

void set_threads(const Config& config, const Comm& comm) {
  const int allowed = allowed_cpus();
  const int asked = config.device.threads > 0                   ? static_cast<int>(config.device.threads)
                    : std::getenv("OMP_NUM_THREADS") != nullptr ? omp_get_max_threads()
                                                                : allowed;
  omp_set_num_threads(asked);
  if (asked > allowed && comm.rank() == 0)
    fmt::print(stderr,
               "warning: {} threads per rank on {} cores this rank may use: they will wait for each other; give mpirun "
               "`--bind-to none`, or set device.threads: {}\n",
               asked, allowed, allowed);
}

// This process's number among those of its machine, as the launcher tells it.
int local_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"})
    if (const char* text = std::getenv(name)) return std::atoi(text);
  return 0;
}

}  // namespace

std::unique_ptr<Context> make_context(const Config& config, Mesh& mesh) {
  set_threads(config, mesh.world());
  if (config.device.type == DeviceType::cuda) {
    if (!kHasCuda)
      user_error("device.type: cuda needs a build with CUDA; use `cmake --preset cuda`, or set device.type: cpu");
    if (device_api::device_count() == 0)
      user_error("device.type: cuda, but no usable GPU was found; see `switchyard doctor`, or set device.type: cpu");
    device_api::use_device(local_rank() % device_api::device_count());  // the ranks of a machine take its GPUs in turn
    dry_run(config);
    if (const auto missing = kernels_without_cuda(); !missing.empty())
      user_error("device.type: cuda: this config needs kernels without a CUDA body yet: {}; set device.type: cpu",
                 fmt::join(missing, ", "));
    const std::string why = mesh.connect_devices(config.comm.backend);
    if (!why.empty() && mesh.world().rank() == 0)
      fmt::print(stderr, "note: GPU memory travels between ranks through the host and MPI: {}\n", why);
  }
  auto ctx = std::make_unique<Context>(config.device.type);
  ctx->mesh = &mesh;
  ctx->host_step_state.seed = static_cast<uint64_t>(config.train.seed);
  return ctx;
}

void on_root(Comm& comm, const std::function<void()>& work) {
  std::string error;
  if (comm.rank() == 0) {
    try {
      work();
    } catch (const UserError& e) {
      error = e.what();
    }
  }
  error = comm.broadcast_string(error, 0);
  if (!error.empty()) throw UserError(error);
}

}  // namespace sy
