#include "parallel/mesh.h"

#include "csrc/core/check.h"

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

}  // namespace

Mesh::Mesh(Comm& world, const MeshSizes& sizes, int64_t kv_heads) : sizes_(sizes), world_(world) {
  SY_CHECK(sizes.ranks == world.size() && sizes.ranks % sizes.tensor == 0 &&
               sizes.ranks % (sizes.expert * sizes.expert_tensor) == 0,
           "a mesh of {} in a world of {} ranks", describe(sizes), world.size());
  const auto group = [&](int64_t color, const char* name) {
    return world.split(static_cast<int>(color), world.rank(), name);
  };
  const int64_t rank = world.rank(), exchange = sizes.expert * sizes.expert_tensor;
  const int64_t tensor_rank = rank % sizes.tensor;
  const int64_t copies = key_value_copies(sizes, kv_heads);
  data_ = group(tensor_rank, "dp");
  tensor_ = group(rank / sizes.tensor, "tp");
  key_value_ = group(tensor_rank / copies, "kv");
  expert_ = group(rank / exchange, "ep");
  expert_data_ = group(rank % exchange, "edp");
}

Mesh::Mesh(std::unique_ptr<Comm> meta_world, const MeshSizes& sizes, int64_t kv_heads)
    : sizes_(sizes), meta_world_(std::move(meta_world)), world_(*meta_world_) {
  const auto group = [](int64_t size, const char* name) { return make_meta_comm(static_cast<int>(size), name); };
  data_ = group(sizes.data(), "dp");
  tensor_ = group(sizes.tensor, "tp");
  key_value_ = group(sizes.data() * key_value_copies(sizes, kv_heads), "kv");
  expert_ = group(sizes.expert * sizes.expert_tensor, "ep");
  expert_data_ = group(sizes.expert_data(), "edp");
}

std::unique_ptr<Mesh> Mesh::on_meta(const MeshSizes& sizes, int64_t kv_heads) {
  return std::unique_ptr<Mesh>(new Mesh(make_meta_comm(static_cast<int>(sizes.ranks), "world"), sizes, kv_heads));
}

}  // namespace sy
