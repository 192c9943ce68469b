// What every subcommand that runs a model needs: the context of a config's device, threads, and errors that all ranks
// meet together.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "csrc/core/context.h"
#include "parallel/mesh.h"
#include "trainer/config.h"

namespace sy {

DType training_dtype(ComputeType type);

// The context for config.device, with OpenMP threads set. Refuses `cuda` when no GPU is there or kernels are missing
// for this config (found by a dry run on the meta device), naming them.
std::unique_ptr<Context> make_context(const Config& config, Mesh& mesh);

// CPU threads this process may use (its affinity mask).
int allowed_cpus();

// Runs `work` on rank 0; a UserError there is thrown on every rank, so that no rank waits for one that has given up.
void on_root(Comm& comm, const std::function<void()>& work);

}  // namespace sy
