#include "trainer/config.h"

#include <filesystem>

#include "csrc/io/list_fields.h"
#include "csrc/io/print_fields.h"
#include "csrc/io/yaml_document.h"
#include "csrc/io/yaml_fields.h"
#include "trainer/layout.h"

namespace sy {

namespace {

void require_schedule_fits(const Config& c, Fields& f) {
  const OptimizerConfig& o = c.optimizer;
  const bool is_constant = o.lr_decay_style == LrDecayStyle::kConstant;
  const int64_t decay_iters = o.lr_decay_iters != 0 ? o.lr_decay_iters : c.train.train_iters;
  const char* end = o.lr_decay_iters != 0 ? "lr_decay_iters" : "train.train_iters";
  f.require(is_constant || o.lr_warmup_iters < decay_iters, "optimizer.lr_warmup_iters",
            fmt::format("{} leaves no step for the decay, which ends at {} {}", o.lr_warmup_iters, end, decay_iters));
  f.require(o.lr_decay_style != LrDecayStyle::kWsd || o.lr_warmup_iters + o.lr_wsd_decay_iters <= decay_iters,
            "optimizer.lr_wsd_decay_iters",
            fmt::format("{} and lr_warmup_iters {} are together more than {} {}", o.lr_wsd_decay_iters,
                        o.lr_warmup_iters, end, decay_iters));
}

// Which key makes a mesh illegal: the first without which it is not.
const char* key_at_fault(MeshSizes mesh, const MeshDemands& demands) {
  const MeshSizes whole = mesh;
  mesh.expert = mesh.expert_tensor = 1;
  if (!why_illegal(mesh, demands).empty()) return "parallel.tensor_model_parallel_size";
  mesh.expert = whole.expert;
  const bool is_product = whole.ranks % (whole.expert * whole.expert_tensor) != 0;  // said of both keys
  const bool is_slices = whole.expert_tensor > 1 && !is_product && why_illegal(mesh, demands).empty();
  return is_slices ? "parallel.expert_tensor_parallel_size" : "parallel.expert_model_parallel_size";
}

Config read_config(YamlDocument document, const std::vector<std::string>& overrides, int64_t num_ranks) {
  for (const std::string& assignment : overrides) document.apply_override(assignment);
  Config config;
  read_fields(document, "", [&](Fields& f) { describe(config, f); });
  // Layouts are judged once every key is known to be sound by itself.
  read_fields(document, "", [&](Fields& f) {
    describe(config, f);
    if (num_ranks == 0) return;
    const MeshSizes mesh = mesh_sizes(config.parallel, num_ranks);
    const std::string why = why_illegal(mesh, mesh_demands(config));
    f.require(why.empty(), key_at_fault(mesh, mesh_demands(config)), why);
    if (!why.empty()) return;
    const int64_t wave = config.train.micro_batch_size * mesh.data();
    f.require(config.train.global_batch_size % wave == 0, "train.global_batch_size",
              fmt::format("{} is not a multiple of micro_batch_size {} x {} data-parallel ranks; {} is",
                          config.train.global_batch_size, config.train.micro_batch_size, mesh.data(),
                          (config.train.global_batch_size / wave + 1) * wave));
  });
  if (config.logging.run_dir.empty()) {
    config.logging.run_dir = (std::filesystem::path("runs") / std::filesystem::path(document.name()).stem()).string();
  }
  return config;
}

}  // namespace

void describe(Config& c, Fields& f) {
  f.section("model", "The decoder's shape; keys as in Hugging Face config.json.",
            [&](Fields& g) { describe(c.model, g); });
  f.section("moe", "Experts and how tokens choose them; keys as in Qwen3-MoE and DeepSeek.",
            [&](Fields& g) { describe(c.moe, g); });
  f.section("data", "Corpora, their proportions and their split; keys as in Megatron.",
            [&](Fields& g) { describe(c.data, g); });
  f.section("train", "Length and size of the training; keys as in Megatron.", [&](Fields& g) { describe(c.train, g); });
  f.section("optimizer", "AdamW and its learning-rate schedule; keys as in Megatron.",
            [&](Fields& g) { describe(c.optimizer, g); });
  f.section("parallel", "How ranks share the model; what is left of the ranks is data parallel. Keys as in Megatron.",
            [&](Fields& g) { describe(c.parallel, g); });
  f.section("comm", "What carries data between ranks, and how ranks watch each other.",
            [&](Fields& g) { describe(c.comm, g); });
  f.section("checkpoint", "Saving and continuing a run.", [&](Fields& g) { describe(c.checkpoint, g); });
  f.section("logging", "What a run reports, and where.", [&](Fields& g) { describe(c.logging, g); });
  f.section("device", "What a rank computes on.", [&](Fields& g) { describe(c.device, g); });

  require_consistent(c.model, c.moe, f);
  f.require(c.train.seq_length <= c.model.max_position_embeddings, "train.seq_length",
            fmt::format("{} is longer than model.max_position_embeddings {}", c.train.seq_length,
                        c.model.max_position_embeddings));
  f.require(c.train.dtype != ComputeType::kF64 || c.device.type == DeviceType::cpu, "train.dtype",
            "f64 runs on the CPU only; set device.type: cpu");
  f.require(c.comm.backend != CommBackend::kNccl || c.device.type == DeviceType::cuda, "comm.backend",
            "nccl carries GPU memory only; set device.type: cuda");
  f.require(c.logging.expert_divergence_interval == 0 || c.moe.is_moe(), "logging.expert_divergence_interval",
            "has no effect in a dense model; remove it");
  f.require(c.logging.expert_divergence_interval == 0 || c.moe.expert_intermediate_sizes.empty(),
            "logging.expert_divergence_interval",
            "compares experts of one width; remove it or moe.expert_intermediate_sizes");
  require_schedule_fits(c, f);
}

Config load_config(const std::string& path, const std::vector<std::string>& overrides, int64_t num_ranks) {
  return read_config(YamlDocument::from_file(path), overrides, num_ranks);
}

Config parse_config(const std::string& text, const std::string& name, const std::vector<std::string>& overrides,
                    int64_t num_ranks) {
  return read_config(YamlDocument::from_text(text, name), overrides, num_ranks);
}

std::string print_config(const Config& config) {
  Config copy = config;  // describing takes a mutable struct, but the printer changes nothing
  return print_fields([&](Fields& f) { describe(copy, f); });
}

std::string config_reference() {
  Config defaults;
  return "# Configuration reference\n\n"
         "Every key of a run's YAML file, one section of the file per heading. Generated from the code: do not edit.\n"
         "On the command line `section.key=value` after the file overrides it, `section.key=null` removes it.\n" +
         fields_markdown([&](Fields& f) { describe(defaults, f); });
}

}  // namespace sy
