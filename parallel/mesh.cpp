#include "parallel/mesh.h"

#include "csrc/core/check.h"
#include "csrc/core/device.h"
#include "parallel/device_transfers.h"

namespace sy {

std::string describe(const MeshSizes& s) {
  if (s.ranks == 1) return "1 rank";
  if (s.tensor == 1 && s.expert == 1 && s.expert_tensor == 1) return fmt::format("{} data-parallel ranks", s.ranks);
  return fmt::format("{} ranks = data {} x tensor {} = expert data {} x expert {} x expert tensor {}", s.ranks,
                     s.data(), s.tensor, s.expert_data(), s.expert, s.expert_tensor);
}

std::string why_illegal(const MeshSizes& s, const MeshDemands& m) {
  const auto divides = [](int64_t part, int64_t whole) { return part > 0 && whole % part == 0; };
  if (!divides(s.tensor, s.ranks))
    return fmt::format("{} needs a multiple of {} ranks, there {} {}: ranks = data x tensor", s.tensor, s.tensor,
                       s.ranks == 1 ? "is" : "are", s.ranks);
  if (!divides(s.expert * s.expert_tensor, s.ranks))
    return fmt::format(
        "{} x expert_tensor_parallel_size {} needs a multiple of {} ranks, there {} {}: ranks = expert data x expert x "
        "expert tensor",
        s.expert, s.expert_tensor, s.expert * s.expert_tensor, s.ranks == 1 ? "is" : "are", s.ranks);
  const auto shared_by_tensor = [&](const char* what, int64_t count) {
    return divides(s.tensor, count)
               ? std::string()
               : fmt::format("{} {} cannot be divided among {} tensor-parallel ranks", what, count, s.tensor);
  };
  if (auto why = shared_by_tensor("num_attention_heads", m.heads); !why.empty()) return why;
  if (!divides(s.tensor, m.kv_heads) && !divides(m.kv_heads, s.tensor))
    return fmt::format(
        "num_key_value_heads {} and {} tensor-parallel ranks: one must be a multiple of the other (each rank holds "
        "whole heads, or several ranks hold the same one)",
        m.kv_heads, s.tensor);
  if (m.norms_all_heads && s.tensor > 1)
    return "qk_norm_scope: all_heads norms all heads of a token together, which tensor-parallel ranks cannot share";
  if (auto why = shared_by_tensor("the padded vocabulary", m.padded_vocab); !why.empty()) return why;
  for (const int64_t width : m.dense_widths)
    if (auto why = shared_by_tensor("intermediate size", width); !why.empty()) return why;
  if (auto why = shared_by_tensor("seq_length", m.seq_length); !why.empty()) return why;
  if (m.experts.empty() && s.expert * s.expert_tensor > 1)
    return "the model has no experts that expert-parallel ranks could share";
  for (const int64_t experts : m.experts)
    if (!divides(s.expert, experts))
      return fmt::format("num_experts {} cannot be divided among {} expert-parallel ranks", experts, s.expert);
  for (const int64_t width : m.expert_widths)
    if (!divides(s.expert_tensor, width))
      return fmt::format("expert width {} cannot be divided among {} expert-tensor-parallel ranks", width,
                         s.expert_tensor);
  return "";
}

namespace {

// Tensor-parallel ranks beyond the number of key-value heads hold copies: how many neighbours share one.
int64_t key_value_copies(const MeshSizes& sizes, int64_t kv_heads) {
  return kv_heads > 0 && sizes.tensor > kv_heads ? sizes.tensor / kv_heads : 1;
}

// Ranks of equal color form a group.
int64_t color_of(const MeshSizes& sizes, int64_t kv_heads, const std::string& group, int64_t rank) {
  const int64_t exchange = sizes.expert * sizes.expert_tensor;
  if (group == "dp") return rank % sizes.tensor;
  if (group == "tp") return rank / sizes.tensor;
  if (group == "kv") return rank % sizes.tensor / key_value_copies(sizes, kv_heads);
  if (group == "ep") return rank / exchange;
  if (group == "edp") return rank % exchange;
  SY_CHECK(group == "world", "a mesh has no group '{}'", group);
  return 0;
}

}  // namespace

std::vector<int64_t> group_ranks(const MeshSizes& sizes, int64_t kv_heads, const std::string& group, int64_t rank) {
  std::vector<int64_t> members;
  for (int64_t r = 0; r < sizes.ranks; ++r)
    if (color_of(sizes, kv_heads, group, r) == color_of(sizes, kv_heads, group, rank)) members.push_back(r);
  return members;
}

Mesh::Mesh(std::unique_ptr<Comm> world, const MeshSizes& sizes)
    : sizes_(sizes), world_(std::move(world)), transfers_(std::make_unique<DeviceTransfers>()) {}

Mesh::~Mesh() = default;

Mesh::Mesh(Comm& world, const MeshSizes& sizes, int64_t kv_heads)
    : Mesh(world.split(0, world.rank(), world.name()), sizes) {
  SY_CHECK(sizes.ranks == world.size() && sizes.ranks % sizes.tensor == 0 &&
               sizes.ranks % (sizes.expert * sizes.expert_tensor) == 0,
           "a mesh of {} in a world of {} ranks", describe(sizes), world.size());
  const auto group = [&](const char* name) {
    return world.split(static_cast<int>(color_of(sizes, kv_heads, name, world.rank())), world.rank(), name);
  };
  data_ = group("dp");
  tensor_ = group("tp");
  key_value_ = group("kv");
  expert_ = group("ep");
  expert_data_ = group("edp");
}

std::unique_ptr<Mesh> Mesh::on_meta(const MeshSizes& sizes, int64_t kv_heads) {
  const auto group = [&](const char* name) {
    return make_meta_comm(static_cast<int>(group_ranks(sizes, kv_heads, name, 0).size()), name);
  };
  std::unique_ptr<Mesh> mesh(new Mesh(group("world"), sizes));
  mesh->data_ = group("dp");
  mesh->tensor_ = group("tp");
  mesh->key_value_ = group("kv");
  mesh->expert_ = group("ep");
  mesh->expert_data_ = group("edp");
  return mesh;
}

namespace {

// Why NCCL cannot connect the current devices of the ranks, the same on all of them; "" if it can.
std::string why_not_connected(Comm& world) {
  if (std::string why = why_no_nccl(); !why.empty()) return why;
  const std::vector<std::string> devices = world.gather_strings(device_api::device_identity(), 0);
  std::string why;
  for (std::size_t r = 0; r < devices.size() && why.empty(); ++r)
    for (std::size_t other = 0; other < r; ++other)
      if (devices[r] == devices[other])
        why = fmt::format("ranks {} and {} share the GPU {}, which NCCL refuses", other, r, devices[r]);
  return world.broadcast_string(why, 0);
}

}  // namespace

std::string Mesh::connect_devices(CommBackend backend) {
  if (world_->size() == 1 || backend == CommBackend::kMpi) return "";
  const std::string why = why_not_connected(*world_);
  if (!why.empty()) {
    if (backend == CommBackend::kNccl) user_error("comm.backend: nccl: {}; set comm.backend: auto or mpi", why);
    return why;
  }
  for (const auto* group : {&world_, &data_, &tensor_, &key_value_, &expert_, &expert_data_})
    if ((*group)->size() > 1) (*group)->set_device(make_nccl_comm(**group));
  return "";
}

}  // namespace sy
