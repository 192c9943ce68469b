// A config's layout: which mesh its `parallel` section asks for, and whether the model fits it.
#pragma once

#include "parallel/mesh.h"
#include "trainer/config.h"

namespace sy {

MeshSizes mesh_sizes(const ParallelConfig& parallel, int64_t num_ranks);
MeshDemands mesh_demands(const Config& config);
// The mesh of a config over all ranks of `world`.
std::unique_ptr<Mesh> make_mesh(const Config& config, Comm& world);

}  // namespace sy
