// The seam of upcycling: how the feed-forward blocks of one layer of dense models become the experts, the shared expert
// and the router of an MoE layer. Methods register in csrc/upcycling/methods, one file each.
#pragma once

#include <optional>
#include <vector>

#include "csrc/moe/layer.h"
#include "csrc/upcycling/ffn.h"
#include "csrc/upcycling/samples.h"

namespace sy::upcycling {

// The layer to be made. Every method makes experts of one width.
struct LayerPlan {
  int64_t layer = 0, hidden_size = 0;
  int64_t num_inputs = 1, dense_width = 0;
  int64_t num_experts = 0, num_experts_per_tok = 0, expert_width = 0;
  int64_t shared_width = 0;           // 0: no shared expert
  double weight_at_equal_logits = 0;  // of each selected expert (below)
  int64_t num_texts = 0;              // that samples are from
  uint64_t seed = 0;

  Stream stream(const std::string& operation, int64_t expert = 0) const { return {seed, operation, layer, expert}; }
};

struct MoeWeights {
  std::vector<Ffn> experts;
  std::optional<Ffn> shared;
  std::vector<double> router_ED;
};

// What a method looks at beside weights: inputs of the first model's blocks on sample texts, and gradients of the loss.
enum class SampleNeed : uint8_t { kNothing, kInputs, kGradients };

class Upcycling {
 public:
  using Build = LayerPlan;  // a constructor throws UserError if the method cannot make such a layer
  virtual ~Upcycling() = default;
  virtual SampleNeed needs() const { return SampleNeed::kNothing; }
  // `samples`: empty unless needed.
  virtual MoeWeights convert(const std::vector<Ffn>& inputs, const LayerSamples& samples) const = 0;
};

// The combine weight that a router gives each expert it selects when all logits are equal, found by routing one token:
// 1/E for softmax before the top-k, 1/K for normalised weights, each times the router's own factor. Methods that keep
// the dense model's output undo it in the experts' weights.
double weight_at_equal_logits(const moe::MoeChoices& choices, int64_t num_experts, int64_t num_experts_per_tok);

// For constructors: one line that says which key has to change.
void require_inputs(const LayerPlan& plan, const char* method, int64_t num_inputs);
void require_no_shared(const LayerPlan& plan, const char* method);
void require_equal_shares(const LayerPlan& plan, const char* method);
void require_expert_width(const LayerPlan& plan, const char* method, int64_t width, const char* why);

}  // namespace sy::upcycling
