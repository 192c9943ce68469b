// Training checkpoints: write and read all tensors of a run, each rank the pieces it owns, any layout from any layout.
//
//   <folder>/step_00000100/shard_00000_of_00002.safetensors   what rank 0 owns
//                          shard_00001_of_00002.safetensors
//                          index.json                          what is where (checkpoint_index.h)
//                          state.json                          step, consumed samples, configuration, mesh, version
//                          blob_<name>                         small named byte strings
//   <folder>/latest                                            checkpoint_folder.h
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "csrc/io/checkpoint_folder.h"
#include "csrc/io/checkpoint_index.h"
#include "csrc/io/safetensors.h"

namespace sy {

// How the ranks that write one checkpoint talk. The defaults serve one rank.
struct CheckpointRanks {
  int rank = 0;
  int size = 1;
  // Every rank gives a text; rank 0 gets all, in rank order; the others get an empty list.
  std::function<std::vector<std::string>(const std::string&)> gather_to_root = [](const std::string& text) {
    return std::vector<std::string>{text};
  };
  // Every rank gets rank 0's text. Also serves as the barrier.
  std::function<std::string(const std::string&)> broadcast_from_root = [](const std::string& text) { return text; };
};

// A piece to be stored: region.count() elements in host memory that stay unchanged until write_shard returns, or, so
// that a model larger than memory can be written, a function that sets them when their turn comes.
struct PieceView {
  CheckpointTensor tensor;
  Region region;
  const void* data = nullptr;
  std::function<void(void*)> fill = {};  // used where data is null
};

// Writes one checkpoint in three steps, so that the middle one, which holds all the work, can run on its own thread:
//   CheckpointWriter writer(folder, step, ranks, keep_last);  // all ranks together
//   writer.write_shard(pieces, blobs);                        // each rank by itself, no communication
//   writer.commit(state);                                     // all ranks together
// If any rank fails (full disk, ...), every rank's commit throws the same UserError, nothing is published, what was
// written is deleted and earlier checkpoints stay as they are.
class CheckpointWriter {
 public:
  CheckpointWriter(std::string folder, int64_t step, CheckpointRanks ranks = {}, int64_t keep_last = 0);
  // Never throws: an error is kept for commit. Blob names consist of letters, digits, '.', '-' and '_' and are unique
  // over all ranks. Every piece of every tensor is written by exactly one rank (commit proves it).
  void write_shard(const std::vector<PieceView>& pieces, const std::map<std::string, std::string>& blobs = {}) noexcept;
  // Returns the published directory. `state` counts on rank 0; its step must be the one given at the start.
  std::string commit(const CheckpointState& state);

 private:
  void publish(const std::vector<std::string>& reports, const CheckpointState& state);
  void agree(const std::string& error);
  std::string failure(const char* what) const;

  std::string folder_;
  std::string directory_;  // temporary
  int64_t step_;
  CheckpointRanks ranks_;
  int64_t keep_last_;
  CheckpointIndex written_;
  std::string error_ = "write_shard was not called";
};

// The three steps in one call, on every rank.
std::string write_checkpoint(const std::string& folder, const CheckpointState& state,
                             const std::vector<PieceView>& pieces, const std::map<std::string, std::string>& blobs = {},
                             const CheckpointRanks& ranks = {}, int64_t keep_last = 0);

// Reads a step directory. The constructor proves that it is complete and that its pieces tile every tensor exactly
// once; bytes are held against their checksum the first time a piece is touched. Not thread-safe.
class CheckpointReader {
 public:
  explicit CheckpointReader(const std::string& directory);

  const std::string& directory() const { return directory_; }
  const CheckpointState& state() const { return state_; }
  // Every tensor once, sorted by name and part.
  std::vector<CheckpointTensor> tensors() const;
  bool contains(const std::string& name, const std::string& part = "") const;
  // UserError if the checkpoint's tensors are not exactly these: names the first that is missing, unexpected or of
  // another dtype or shape (a checkpoint of another configuration).
  void require_tensors(const std::vector<CheckpointTensor>& expected) const;

  // Sets dst[0 .. region.count()) to the elements of a box, or of a flat range inside a box, of a tensor, in row-major
  // order and in the stored dtype, from whatever pieces hold them. UserError for unknown or damaged tensors.
  void read_box(const std::string& name, const std::string& part, const Box& box, void* dst) const;
  void read_region(const std::string& name, const std::string& part, const Region& region, void* dst) const;
  bool has_blob(const std::string& name) const;
  std::string blob(const std::string& name) const;

  // Reads everything and compares the checksums.
  void verify_checksums() const;

 private:
  using TensorKey = std::pair<std::string, std::string>;
  const std::vector<size_t>& pieces_of(const std::string& name, const std::string& part) const;
  const void* checked_data(size_t piece) const;

  std::string directory_;
  CheckpointIndex index_;
  CheckpointState state_;
  std::map<TensorKey, std::vector<size_t>> pieces_;
  mutable std::map<std::string, std::unique_ptr<SafetensorsReader>> shards_;  // opened when first needed
  mutable std::vector<bool> is_checked_;
};

}  // namespace sy
