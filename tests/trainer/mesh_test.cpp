// Layout invariance (DESIGN promise P1): every legal mesh of this many ranks gives the one-rank run.
//
// One program per number of ranks builds all meshes (tensor, expert, expert tensor, sequence parallel or not) one after
// the other. The plain case runs on all of them in f64; models, types and variants are spread over the meshes so that
// every pair of choices meets at least once (SY_LAYOUTS=full: the whole product). Rank 0 runs the reference, and
// compares; the others only take part.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>

#include "csrc/core/registry.h"
#include "csrc/moe/linear_router.h"
#include "tests/parallel/mpi_main.h"
#include "tests/trainer/toy_run.h"
#include "trainer/layout_run.h"

namespace sy::testing {
namespace {

// Optimizer steps of the plain case and of the whole product, and of the covering set.
constexpr int64_t kSteps = 10, kCoveringSteps = 3;

// A router that only tests want: every token to the first experts, the others never used.
class FirstExperts final : public moe::Router {
 public:
  struct Config {};
  FirstExperts(const Config&, const Build& b) : k_(b.num_experts_per_tok), scorer_(b) {}

  moe::Scores score(Context& ctx, const moe::RouterInput& input) const override {
    moe::Scores s;
    s.logits_TE = scorer_.logits(ctx, input.x_TD);
    s.score_TE = ops::router_scores(ctx, s.logits_TE, kernels::ScoreLink::kSigmoid);
    return s;
  }
  moe::Assignment select(Context& ctx, const moe::RouterInput& input, const moe::Scores&) const override {
    std::vector<int32_t> token, expert;
    for (int64_t t = 0; t < input.tokens(); ++t)
      for (int64_t j = 0; j < k_; ++j) {
        token.push_back(static_cast<int32_t>(t));
        expert.push_back(static_cast<int32_t>(j));
      }
    const auto count = static_cast<int64_t>(token.size());
    return {ctx.from_host<int32_t>(token, {count}, MemoryKind::activations),
            ctx.from_host<int32_t>(expert, {count}, MemoryKind::activations),
            {},
            k_};
  }
  Var weigh(Context& ctx, const moe::Scores& s, const moe::Assignment& a, const Tensor& active) const override {
    return ops::gate_weight(ctx, s.score_TE, a.token_N, a.expert_N, active, {.per_token = k_});
  }
  double assignments_per_token() const override { return static_cast<double>(k_); }
  int64_t max_assignments(int64_t tokens, int64_t) const override { return tokens * k_; }

 private:
  int64_t k_;
  moe::LinearScorer scorer_;
};

void describe(FirstExperts::Config&, Fields&) {}

SY_REGISTER(moe::Router, FirstExperts, "first_experts", "every token to the first experts")

// 12 heads, 6 key-value heads, hidden 96, vocabulary 257 (of 384 rows): what TP 2, 3 and 6 divide and what they do not.
const char* const kBase = R"(
model:
  vocab_size: 257
  hidden_size: 96
  intermediate_size: 144
  num_hidden_layers: 3
  num_attention_heads: 12
  num_key_value_heads: 6
  head_dim: 8
  max_position_embeddings: 64
  use_qk_norm: true
  initializer_range: 0.1
moe:
  num_experts: 12
  moe_intermediate_size: 48
  first_k_dense_replace: 1
train:
  train_iters: 20
  micro_batch_size: 2
  global_batch_size: 8
  seq_length: 12
optimizer:
  lr: 0.001
  lr_decay_style: constant
  lr_warmup_iters: 2
)";

using Overrides = std::vector<std::string>;
struct Choice {
  const char* name;
  Overrides overrides;
};

const std::vector<Choice> kModels = {
    {"top-2 with capacity",
     {"moe.capacity={type: position, factor: 1.0, overflow: identity}",
      "moe.balance=[{type: load_balancing, scope: micro_batch}, {type: z_loss}]"}},
    {"dropless top-8 of 24",
     {"moe.num_experts=24", "moe.num_experts_per_tok=8", "moe.router={type: sigmoid_topk, n_group: 4, topk_group: 2}",
      "moe.shared_expert_intermediate_size=72", "moe.shared_expert_gate=true",
      "moe.hooks=[{type: selection_bias, update_rate: 0.01}]",
      "moe.balance=[{type: load_balancing, scope: sequence}]"}},
    {"hash",
     {"model.qkv_bias=true", "model.embedding_multiplier=2", "model.residual_multiplier=0.5",
      "model.attention_multiplier=0.3", "model.logits_scaling=4", "moe.router={type: hash}",
      "moe.num_experts_per_tok=1", "moe.shared_expert_intermediate_size=36"}},
};

// f32: Adam divides a gradient by its own size; with an epsilon of 1e-8 the row of a token that hardly has a gradient
// would move by the learning rate in the direction of rounding.
const std::vector<Choice> kTypes = {{"f64", {"train.dtype=f64"}},
                                    {"f32", {"train.dtype=f32", "optimizer.adam_eps=1e-6"}}};

// What a name does beyond its overrides stands in case_config().
const std::vector<Choice> kVariants = {
    {"plain", {}},
    {"one expert takes all tokens",
     {"moe.router={type: first_experts}", "moe.num_experts_per_tok=1", "moe.hooks=[]",
      "moe.capacity={type: dropless}"}},
    {"accumulation", {}},
    {"dispatch in three parts", {}},
    {"recompute", {"train.recompute=full"}},
    {"random capacity", {"moe.capacity={type: random, factor: 0.8, overflow: next_choice}"}},
    {"router noise",
     {"moe.router={type: switch_top1, jitter_eps: 0.3}", "moe.num_experts_per_tok=1", "moe.hooks=[]",
      "moe.balance=[{type: load_balancing}]"}},
    {"tied embeddings", {"model.tie_word_embeddings=true"}},
    // Dropless: capacity is a matter of the micro-batch, which one rank makes larger here.
    {"global_batch",
     {"moe.balance=[{type: load_balancing, coefficient: 0.1, scope: global_batch}]", "moe.capacity={type: dropless}"}},
    {"global_batch_lagged", {"moe.balance=[{type: load_balancing, coefficient: 0.1, scope: global_batch_lagged}]"}},
};

struct Case {
  MeshSizes mesh;
  std::size_t model = 0, type = 0, variant = 0;
};

std::string name_of(const Case& c) {
  return fmt::format("{}{}: {}, {}, {}", describe(c.mesh),
                     c.mesh.sequence_parallel ? "" : " without sequence parallelism", kModels[c.model].name,
                     kTypes[c.type].name, kVariants[c.variant].name);
}

bool is_variant(const Case& c, const char* name) { return kVariants[c.variant].name == std::string(name); }

// A choice without meaning for another: hash routing has neither scores, for a loss or a next choice, nor noise.
// Without equal micro-batches there are no assignments to replay, which f32 needs.
bool is_possible(const Case& c) {
  if (is_variant(c, "global_batch") && kTypes[c.type].name == std::string("f32")) return false;
  const bool hash = kModels[c.model].name == std::string("hash");
  return !hash || !(is_variant(c, "global_batch") || is_variant(c, "global_batch_lagged") ||
                    is_variant(c, "router noise") || is_variant(c, "random capacity"));
}

Config case_config(const Case& c, bool one_rank) {
  const int64_t ranks = c.mesh.ranks;
  Overrides all = kModels[c.model].overrides;
  for (const auto* more : {&kTypes[c.type].overrides, &kVariants[c.variant].overrides})
    all.insert(all.end(), more->begin(), more->end());
  int64_t micro = 1;
  // One wave on a mesh whose ranks are all data-parallel; more where they are not.
  const int64_t batch = (is_variant(c, "accumulation") ? 2 : 1) * ranks;
  // The value of this scope depends on the number of waves: one rank takes larger micro-batches, to have as many.
  if (one_rank && is_variant(c, "global_batch")) micro *= c.mesh.data();
  all.push_back(fmt::format("train.micro_batch_size={}", micro));
  all.push_back(fmt::format("train.global_batch_size={}", batch));
  if (!one_rank) {
    all.push_back(fmt::format("parallel.tensor_model_parallel_size={}", c.mesh.tensor));
    all.push_back(fmt::format("parallel.expert_model_parallel_size={}", c.mesh.expert));
    all.push_back(fmt::format("parallel.expert_tensor_parallel_size={}", c.mesh.expert_tensor));
    if (is_variant(c, "dispatch in three parts") && c.mesh.expert * c.mesh.expert_tensor > 1)
      all.push_back("parallel.dispatch_chunks=3");
    if (c.mesh.tensor > 1) all.push_back(fmt::format("parallel.sequence_parallel={}", c.mesh.sequence_parallel));
  }
  return parse_config(kBase, "mesh.yaml", all, one_rank ? 1 : ranks);
}

AddSample samples_of(const Config& config) {
  return [config](BatchBuilder& builder, int64_t sample) { add_toy_sample(builder, config, sample); };
}

std::vector<MeshSizes> legal_meshes(int64_t ranks, const Case& c) {
  std::vector<MeshSizes> legal;
  Case one = c;
  one.mesh = {.ranks = 1};
  const MeshDemands demands = mesh_demands(case_config(one, true));
  for (int64_t tensor = 1; tensor <= ranks; ++tensor)
    for (int64_t expert = 1; expert <= ranks; ++expert)
      for (int64_t slices = 1; slices <= ranks; ++slices)
        for (const bool sequence_parallel : {true, false}) {
          const MeshSizes sizes{ranks, tensor, expert, slices, sequence_parallel};
          if (tensor == 1 && !sequence_parallel) continue;  // makes no difference
          if (why_illegal(sizes, demands).empty()) legal.push_back(sizes);
        }
  return legal;
}

// The one-rank runs of this process, on rank 0.
class References {
 public:
  struct Reference {
    LayoutRun run;
    std::string log;
  };
  const Reference& of(const Case& c, int64_t steps) {
    const Config config = case_config(c, true);
    const std::string key = fmt::format("{}{}", print_config(config), steps);
    auto found = known_.find(key);
    if (found != known_.end()) return found->second;
    const auto comm = make_single_comm();
    moe::RoutingLog log;
    LayoutRun run = run_layout(config, *comm, steps, samples_of(config), &log);
    return known_.emplace(key, Reference{std::move(run), log.bytes()}).first->second;
  }

 private:
  std::map<std::string, Reference> known_;
};

References& references() {
  static References all;
  return all;
}

// Returns how far the mesh was from one rank (rank 0 alone knows).
LayoutDifference expect_one_rank_run(const Case& c, int64_t steps) {
  SCOPED_TRACE(name_of(c));
  Comm& world = mpi_world();
  const bool is_f32 = kTypes[c.type].name == std::string("f32"), root = world.rank() == 0;
  const Config config = case_config(c, false);
  // f32 compares numbers under equal assignments; in f64 decisions must be the same by themselves.
  moe::RoutingLog log;
  if (is_f32) {
    log = moe::RoutingLog::from_bytes(world.broadcast_string(root ? references().of(c, steps).log : "", 0));
    log.set_mode(moe::RoutingLog::Mode::kReplay);
  }
  const LayoutRun run = run_layout(config, world, steps, samples_of(config), is_f32 ? &log : nullptr);
  // Every rank has compared its own micro-batches.
  EXPECT_LE(log.largest_gap(), 1e-5) << log.differing() << " of " << log.assignments() << " assignments differ";
  if (!root) return {};
  const LayoutRun& reference = references().of(c, steps).run;
  const LayoutDifference d = compare(run, reference);
  const double bound = is_f32 ? 1e-5 : 1e-10;
  EXPECT_LE(d.loss, bound);
  if (!is_f32) {
    EXPECT_LE(d.grad_norm, bound);
    EXPECT_LE(d.parameter, bound) << d.worst_parameter;
  }
  const StepReport &first = run.steps.front(), &first_alone = reference.steps.front();
  EXPECT_NEAR(first.lm_loss / first_alone.lm_loss, 1, is_f32 ? 1e-6 : bound);
  EXPECT_NEAR(first.grad_norm / first_alone.grad_norm, 1, bound);
  EXPECT_LE(d.gradient, bound) << "gradient of step 1: " << d.worst_gradient;
  EXPECT_LE(d.state, bound) << d.worst_state;
  for (std::size_t s = 0; s < run.steps.size(); ++s) {
    EXPECT_EQ(run.steps[s].target_tokens, reference.steps[s].target_tokens);
    for (std::size_t m = 0; m < run.steps[s].moe.size(); ++m)
      EXPECT_EQ(run.steps[s].moe[m].load, reference.steps[s].moe[m].load) << "step " << s + 1;
  }
  return d;
}

// Runs the cases; prints the largest differences of every (model, type, variant) over its meshes.
void run_all(const std::vector<Case>& cases, int64_t steps) {
  struct Largest {
    int64_t meshes = 0;
    double loss = 0, gradient = 0, parameter = 0;
  };
  std::map<std::string, Largest> rows;
  const auto begin = std::chrono::steady_clock::now();
  for (const Case& c : cases) {
    const LayoutDifference d = expect_one_rank_run(c, steps);
    Largest& row =
        rows[fmt::format("{} | {} | {}", kModels[c.model].name, kTypes[c.type].name, kVariants[c.variant].name)];
    ++row.meshes;
    row.loss = std::max(row.loss, d.loss);
    row.gradient = std::max(row.gradient, d.gradient);
    row.parameter = std::max(row.parameter, d.parameter);
  }
  if (mpi_world().rank() != 0) return;
  for (const auto& [name, row] : rows)
    fmt::print("| {} | {} | {} | {:.0e} | {:.0e} | {:.0e} |\n", mpi_world().size(), name, row.meshes, row.loss,
               row.gradient, row.parameter);
  fmt::print("{} layouts in {:.1f} s\n", cases.size(),
             std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
}

TEST(Mesh, EveryLegalMeshGivesTheOneRankRun) {
  std::vector<Case> cases;
  for (const MeshSizes& mesh : legal_meshes(mpi_world().size(), {})) cases.push_back({mesh});
  EXPECT_FALSE(cases.empty());
  run_all(cases, kSteps);
}

// All combinations, or a set in which every two choices of different kinds meet: greedily, each case taking as many new
// pairs as it can.
std::vector<Case> combinations(int64_t ranks, bool full) {
  std::vector<Case> all;
  for (std::size_t model = 0; model < kModels.size(); ++model)
    for (std::size_t type = 0; type < kTypes.size(); ++type)
      for (std::size_t variant = 0; variant < kVariants.size(); ++variant) {
        const Case c{{}, model, type, variant};
        if (!is_possible(c)) continue;
        for (const MeshSizes& mesh : legal_meshes(ranks, c)) all.push_back({mesh, model, type, variant});
      }
  if (full) return all;
  const auto pairs = [](const Case& c) {
    const std::string mesh = describe(c.mesh) + (c.mesh.sequence_parallel ? "s" : "");
    const auto model = std::to_string(c.model), type = std::to_string(c.type), variant = std::to_string(c.variant);
    return std::vector<std::string>{mesh + "|m" + model,          mesh + "|t" + type,
                                    mesh + "|v" + variant,        "m" + model + "|t" + type,
                                    "m" + model + "|v" + variant, "t" + type + "|v" + variant};
  };
  std::vector<std::vector<std::string>> pairs_of;
  std::set<std::string> open;
  for (const Case& c : all) {
    pairs_of.push_back(pairs(c));
    open.insert(pairs_of.back().begin(), pairs_of.back().end());
  }
  std::vector<Case> chosen;
  while (!open.empty()) {
    std::size_t best = 0, best_new = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      std::size_t fresh = 0;
      for (const std::string& pair : pairs_of[i]) fresh += open.count(pair);
      if (fresh > best_new) {
        best = i;
        best_new = fresh;
      }
    }
    for (const std::string& pair : pairs_of[best]) open.erase(pair);
    chosen.push_back(all[best]);
  }
  return chosen;
}

TEST(Mesh, EveryPairOfChoicesGivesTheOneRankRun) {
  const char* asked = std::getenv("SY_LAYOUTS");
  const bool full = asked != nullptr && std::strcmp(asked, "full") == 0;
  run_all(combinations(mpi_world().size(), full), full ? kSteps : kCoveringSteps);
}

// More tensor-parallel ranks than key-value heads: several ranks hold the same head, and its gradient is their sum.
TEST(Mesh, KeyValueHeadsThatRanksShareGiveTheOneRankRun) {
  Comm& world = mpi_world();
  const int64_t ranks = world.size();
  const auto config = [&](int64_t tensor, int64_t num_ranks) {
    return parse_config(kBase, "mesh.yaml",
                        {"train.dtype=f64", "model.num_key_value_heads=1", "model.qkv_bias=true",
                         fmt::format("train.global_batch_size={}", 4 * ranks),
                         fmt::format("parallel.tensor_model_parallel_size={}", tensor)},
                        num_ranks);
  };
  for (int64_t tensor = 2; tensor <= ranks; ++tensor) {
    if (ranks % tensor != 0 || 12 % tensor != 0) continue;
    const Config shared = config(tensor, ranks), alone = config(1, 1);
    const LayoutRun run = run_layout(shared, world, 3, samples_of(shared));
    if (world.rank() != 0) continue;
    const auto comm = make_single_comm();
    const LayoutDifference d = compare(run, run_layout(alone, *comm, 3, samples_of(alone)));
    EXPECT_LE(std::max({d.loss, d.grad_norm, d.gradient, d.parameter}), 1e-10) << tensor << " " << d.worst_gradient;
  }
}

TEST(Mesh, TheSameMeshTwiceGivesTheSameBits) {
  Comm& world = mpi_world();
  for (const MeshSizes& mesh : legal_meshes(world.size(), {})) {
    if (mesh.expert == 1 && mesh.tensor == 1) continue;
    const Case c{mesh, 1, 1, 0};
    const Config config = case_config(c, false);
    const LayoutRun first = run_layout(config, world, 3, samples_of(config));
    const LayoutRun again = run_layout(config, world, 3, samples_of(config));
    for (std::size_t s = 0; s < first.steps.size(); ++s) {
      EXPECT_EQ(first.steps[s].lm_loss, again.steps[s].lm_loss) << name_of(c);
      EXPECT_EQ(first.steps[s].grad_norm, again.steps[s].grad_norm) << name_of(c);
    }
    expect_same_bits(again.parameters, first.parameters, name_of(c));
  }
}

}  // namespace
}  // namespace sy::testing
