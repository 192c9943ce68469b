// The index of a training checkpoint: what is stored where, and the proof that it is everything exactly once.
//
// index.json = {"format": "switchyard_checkpoint", "format_version": 1, "index": {...}, "xxh64": hash of the index
// text}
//   index.pieces: one entry per stored piece: tensor name, part, dtype, the part's global shape, box (start, extent),
//                 flat range inside the box if not all of it, shard file, key in that file, xxh64 of the bytes
//   index.files:  every shard with its size, so that a cut one is seen without reading it
//   index.blobs:  small named byte strings (sampler state ...) with size and xxh64
//   index.state:  xxh64 of state.json
// Fused tensors (gate|up, q|k|v) are stored as separate parts, each with its own global shape.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "csrc/core/box.h"
#include "csrc/core/dtype.h"

namespace sy {

// Identity of a tensor in a checkpoint; part is "" for tensors of one part.
struct CheckpointTensor {
  std::string name;
  std::string part;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;  // global, of the part
};

struct CheckpointPiece {
  CheckpointTensor tensor;
  Region region;
  std::string file;
  std::string key;
  uint64_t hash = 0;
};

struct CheckpointBlob {
  std::string name;
  std::string file;
  int64_t num_bytes = 0;
  uint64_t hash = 0;
};

struct CheckpointIndex {
  std::vector<CheckpointPiece> pieces;
  std::map<std::string, int64_t> file_bytes;  // shard file -> size
  std::vector<CheckpointBlob> blobs;
  uint64_t state_hash = 0;
};

// Everything about the training run that is not a tensor.
struct CheckpointState {
  int64_t step = 0;
  int64_t consumed_samples = 0;
  std::string config_text;  // resolved configuration, YAML
  std::string mesh;         // the layout that wrote it, for people
  std::string version;      // commit that wrote it
};

// "experts.gate_up (part up)", for messages; a part that is the whole tensor is not named twice.
std::string tensor_label(const std::string& name, const std::string& part);

std::string dump_index(const CheckpointIndex& index);
// UserError naming `path` for text that is not an undamaged index.
CheckpointIndex parse_index(const std::string& text, const std::string& path);

std::string dump_state(const CheckpointState& state);
CheckpointState parse_state(const std::string& text, const std::string& path);

// Proves that the pieces of every tensor agree on dtype and shape, lie inside it and hold each element exactly once.
// UserError that starts with `where` and names tensor and first element that is missing or stored twice.
void verify_tiling(const std::vector<CheckpointPiece>& pieces, const std::string& where);

}  // namespace sy
