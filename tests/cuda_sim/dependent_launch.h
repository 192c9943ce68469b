// Programmatic dependent launch: a kernel that was launched early may begin while the one before it on its stream still
// runs, from that one's first griddepcontrol.launch_dependents on.
//
// Grids run one after the other here. So that an early start shows all the same, a block of an early grid first finds
// device memory as it was at that moment: what the earlier grid wrote later appears when a thread has executed
// griddepcontrol.wait and no other thread of the block can go on without it. What an early block writes before it waits
// comes too late to disturb the earlier grid.
//
// The kernel before must follow at once, with nothing else on the stream in between and no wait of the host. A block of
// an early grid that ends without a wait is a Fault: kernels after it could not know what they wait for.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace sy::cuda_sim {

// Bytes of device memory and where they stood.
struct SavedBytes {
  unsigned char* address;
  std::vector<unsigned char> bytes;
};

// One launch of a kernel, for the next one.
struct Grid {
  bool may_start_early = false;
  bool has_started_dependents = false;
  // Of all device memory when dependents could start; once the grid is complete, only where it has changed since.
  std::vector<SavedBytes> before_dependents{};
};

// The launch that a kernel launched now on `stream` would follow at once; null: none.
std::shared_ptr<Grid> grid_before(cudaStream_t stream);
void set_newest_grid(cudaStream_t stream, std::shared_ptr<Grid> grid);

// Called by the executor around a launch and each of its blocks. `earlier` is null where nothing earlier is unfinished.
void begin_grid(Grid* grid, Grid* earlier);
void end_grid();
void begin_early_block();
// Whether a thread waits for the earlier grid, which is complete from here on.
bool complete_earlier_grid();
void end_early_block();

}  // namespace sy::cuda_sim
