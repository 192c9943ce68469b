#include "trainer/layout.h"

namespace sy {

MeshSizes mesh_sizes(const ParallelConfig& p, int64_t num_ranks) {
  return {.ranks = num_ranks,
          .tensor = p.tensor_model_parallel_size,
          .expert = p.expert_model_parallel_size,
          .expert_tensor = p.expert_tensor_parallel_size,
          .sequence_parallel = p.sequence_parallel,
          .dispatch_chunks = p.dispatch_chunks};
}

MeshDemands mesh_demands(const Config& c) {
  MeshDemands m{.heads = c.model.num_attention_heads,
                .kv_heads = c.model.kv_heads(),
                .padded_vocab = c.model.padded_vocab_size(),
                .norms_all_heads = c.model.use_qk_norm && c.model.qk_norm_scope == QkNormScope::kAllHeads,
                .seq_length = c.train.seq_length,
                .dense_widths = {},
                .expert_widths = {},
                .experts = {}};
  if (c.moe.shared_expert_intermediate_size > 0) m.dense_widths.push_back(c.moe.shared_expert_intermediate_size);
  for (int64_t layer = 0; layer < c.model.num_hidden_layers; ++layer) {
    const int64_t experts = c.moe.num_experts_in_layer(layer);
    if (experts == 0) m.dense_widths.push_back(c.model.intermediate_size);
    else m.experts.push_back(experts);
    for (int64_t e = 0; e < experts; ++e) m.expert_widths.push_back(c.moe.expert_intermediate_size(e));
  }
  return m;
}

std::unique_ptr<Mesh> make_mesh(const Config& config, Comm& world) {
  const MeshSizes sizes = mesh_sizes(config.parallel, world.size());
  if (const std::string why = why_illegal(sizes, mesh_demands(config)); !why.empty()) user_error("parallel: {}", why);
  return std::make_unique<Mesh>(world, sizes, config.model.kv_heads());
}

}  // namespace sy
