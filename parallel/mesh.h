// Mesh: the ranks of a job in two factorisations, one for attention and dense parts, one for experts.
//
//   ranks = data x tensor                          rank = d * tensor + t
//         = expert_data x expert x expert_tensor   rank = (x * expert + p) * expert_tensor + j
// Neighbouring ranks share the most traffic: tensor-parallel groups first, then expert groups. Expert groups may span
// tensor and data ranks, and expert_tensor may differ from tensor ("parallel folding"). Pipeline and context ranks will
// stand outside and inside of `data`.
//
// Every communicator is created here, in one order on all ranks, before memory fills; connect_devices() lets those of
// more than one rank move device memory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "parallel/comm.h"

namespace sy {

class DeviceTransfers;

// What carries device memory between ranks.
enum class CommBackend {
  kAuto,  // NCCL where it can, MPI otherwise
  kMpi,   // staged through the host's memory
  kNccl,
};

struct MeshSizes {
  int64_t ranks = 1;
  int64_t tensor = 1;
  int64_t expert = 1;
  int64_t expert_tensor = 1;
  // Hidden states between the tensor-parallel parts: each rank holds its share of a micro-batch's tokens (true), or all
  // of them (false). No difference for tensor = 1.
  bool sequence_parallel = true;
  // Into how many parts an expert-parallel rank cuts its tokens, so that experts compute on one part while others
  // travel.
  int64_t dispatch_chunks = 1;

  int64_t data() const { return ranks / tensor; }
  int64_t expert_data() const { return ranks / (expert * expert_tensor); }
  bool operator==(const MeshSizes&) const = default;
};
// "1 rank", "2 data-parallel ranks", "4 ranks = data 2 x tensor 2 = expert data 1 x expert 4 x expert tensor 1".
std::string describe(const MeshSizes& sizes);

// What of a model the mesh has to divide.
struct MeshDemands {
  int64_t heads = 1, kv_heads = 1;
  int64_t padded_vocab = 1;
  bool norms_all_heads = false;  // queries and keys, all heads of a token together
  int64_t seq_length = 1;
  std::vector<int64_t> dense_widths;   // of dense and shared feed-forward layers
  std::vector<int64_t> expert_widths;  // of routed experts
  std::vector<int64_t> experts;        // per MoE layer
};
// Why a model cannot run on a mesh, with the numbers: "" if it can. The one place that says what is legal.
std::string why_illegal(const MeshSizes& sizes, const MeshDemands& demands);

// The ranks of the world that form a group ("dp", "tp", "kv", "ep", "edp", "world") with `rank`, in order. kv_heads as
// in Mesh.
std::vector<int64_t> group_ranks(const MeshSizes& sizes, int64_t kv_heads, const std::string& group, int64_t rank);

class Mesh {
 public:
  // Every rank of `world` calls. sizes.ranks must be world.size(), and legal. `kv_heads` (0: none) decides which
  // tensor-parallel ranks hold the same key and value heads.
  Mesh(Comm& world, const MeshSizes& sizes, int64_t kv_heads = 0);
  // Rank 0 of a mesh whose ranks do not exist: for shapes on the meta device.
  static std::unique_ptr<Mesh> on_meta(const MeshSizes& sizes, int64_t kv_heads = 0);
  ~Mesh();

  // Every rank calls, with its GPU as the current device. "" if GPUs exchange as `backend` says; the reason if kAuto
  // has to leave it to MPI. Throws UserError on all ranks where kNccl is not possible.
  std::string connect_devices(CommBackend backend);
  DeviceTransfers& transfers() const { return *transfers_; }

  const MeshSizes& sizes() const { return sizes_; }
  Comm& world() const { return *world_; }              // all ranks
  Comm& data() const { return *data_; }                // the same shard of attention and dense parts
  Comm& tensor() const { return *tensor_; }            // the same micro-batches, other shards
  Comm& key_value() const { return *key_value_; }      // the same key and value heads (and their data-parallel copies)
  Comm& expert() const { return *expert_; }            // expert x expert_tensor ranks that exchange tokens
  Comm& expert_data() const { return *expert_data_; }  // the same expert shards
  CommPlace& place() const { return world_->place(); }

  int64_t data_rank() const { return data_->rank(); }
  int64_t tensor_rank() const { return tensor_->rank(); }
  int64_t expert_rank() const { return expert_->rank() / sizes_.expert_tensor; }
  int64_t expert_tensor_rank() const { return expert_->rank() % sizes_.expert_tensor; }

 private:
  Mesh(std::unique_ptr<Comm> world, const MeshSizes& sizes);

  MeshSizes sizes_;
  std::unique_ptr<Comm> world_, data_, tensor_, key_value_, expert_, expert_data_;
  std::unique_ptr<DeviceTransfers> transfers_;  // by these communicators, so it goes first
};

}  // namespace sy
