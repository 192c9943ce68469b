#include "tests/cuda_sim/dependent_launch.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "tests/cuda_sim/block.h"
#include "tests/cuda_sim/hopper.h"
#include "tests/cuda_sim/memory.h"
#include "tests/cuda_sim/streams.h"

namespace sy::cuda_sim {
namespace {

struct Newest {
  uint64_t operation;
  std::shared_ptr<Grid> grid;
};
std::map<cudaStream_t, Newest> newest_grids;

Grid *current = nullptr, *earlier = nullptr;
// Of the block that runs: what the earlier grid wrote, while memory shows what stood there before.
std::vector<SavedBytes> hidden;
bool is_hidden = false, is_awaited = false, has_waited = false;

// Of one block of memory, the part between the first and the last byte that changed.
void keep_changed(SavedBytes& saved) {
  const auto& old = saved.bytes;
  const auto first = std::mismatch(old.begin(), old.end(), saved.address).first;
  if (first == old.end()) return saved.bytes.clear();
  auto last = old.end();
  while (last[-1] == saved.address[last - old.begin() - 1]) --last;
  saved.address += first - old.begin();
  saved.bytes = std::vector<unsigned char>(first, last);
}

void hide() {
  hidden.clear();
  for (const SavedBytes& old : earlier->before_dependents) {
    hidden.push_back({old.address, std::vector<unsigned char>(old.address, old.address + old.bytes.size())});
    std::memcpy(old.address, old.bytes.data(), old.bytes.size());
  }
  is_hidden = true;
}

void reveal() {
  if (!std::exchange(is_hidden, false)) return;
  for (const SavedBytes& written : hidden) std::memcpy(written.address, written.bytes.data(), written.bytes.size());
}

}  // namespace

std::shared_ptr<Grid> grid_before(cudaStream_t stream) {
  const auto found = newest_grids.find(stream);
  const bool is_newest = found != newest_grids.end() && found->second.operation == newest_operation(stream);
  return is_newest ? found->second.grid : nullptr;
}

void set_newest_grid(cudaStream_t stream, std::shared_ptr<Grid> grid) {
  newest_grids[stream] = {newest_operation(stream), std::move(grid)};
}

void begin_grid(Grid* grid, Grid* earlier_grid) {
  current = grid;
  earlier = earlier_grid;
}

void end_grid() {
  reveal();
  for (SavedBytes& saved : current->before_dependents) keep_changed(saved);
  std::erase_if(current->before_dependents, [](const SavedBytes& saved) { return saved.bytes.empty(); });
  current = earlier = nullptr;
}

void begin_early_block() {
  is_awaited = has_waited = false;
  if (earlier != nullptr) hide();
}

bool complete_earlier_grid() {
  if (!is_hidden || !is_awaited) return false;
  reveal();
  return true;
}

void end_early_block() {
  reveal();
  if (current->may_start_early && !has_waited)
    fault("a block of a kernel that was launched early ends without a wait for the kernels before it");
}

void start_dependent_grids() {
  if (std::exchange(current->has_started_dependents, true)) return;
  for (const auto& block : device_blocks())
    current->before_dependents.push_back({block.data(), {block.begin(), block.end()}});
}

void wait_for_earlier_grids() {
  is_awaited = has_waited = true;
  if (is_hidden) wait_until({[] { return !is_hidden; }, [] { return std::string("the kernels before its own"); }});
}

}  // namespace sy::cuda_sim
