// SwiGLU experts (Shazeer 2020, arXiv 2002.05202):   FFN_e(x) = W_down,e ( silu(W_gate,e x) * (W_up,e x) ).
//
// Experts of one width form a bank: gate_up [E_b, 2 F_b, D] (gate rows, then up rows) and down [E_b, D, F_b]. Slots are the
// experts sorted by width class in order of first appearance, so each bank owns a contiguous range of row segments.
// Hugging Face names (Qwen3-MoE): <prefix>.experts.<e>.{gate_proj,up_proj,down_proj}.weight.
// Differs from the paper: nothing.
#include <algorithm>

#include "csrc/core/registry.h"
#include "csrc/moe/routing.h"

namespace sy::moe {
namespace {

class SwigluExperts final : public Experts {
 public:
  struct Config {};

  SwigluExperts(const Config&, const Build& b) {
    const std::vector<int64_t>& widths = b.intermediate_sizes;
    std::vector<int64_t> classes;
    for (const int64_t w : widths)
      if (std::find(classes.begin(), classes.end(), w) == classes.end()) classes.push_back(w);
    std::vector<int32_t> slot(widths.size());
    for (const int64_t width : classes) {
      std::vector<int64_t> members;
      for (std::size_t e = 0; e < widths.size(); ++e)
        if (widths[e] == width) members.push_back(static_cast<int64_t>(e));
      for (std::size_t i = 0; i < members.size(); ++i)
        slot[static_cast<std::size_t>(members[i])] = static_cast<int32_t>(slots_ + static_cast<int64_t>(i));
      banks_.push_back(make_bank(b.layer, width, members, classes.size() > 1));
      slots_ += static_cast<int64_t>(members.size());
    }
    if (classes.size() > 1)
      slot_of_expert_ = b.layer.parameters->context().from_host<int32_t>(slot, {slots_}, MemoryKind::parameters);
    double total = 0;
    for (const int64_t w : widths) total += 3.0 * static_cast<double>(w * b.layer.hidden_size);
    macs_ = total / static_cast<double>(widths.size());
  }

  Var forward(Context& ctx, const Var& rows_RD, const ops::RowIndex& index) const override {
    Var sum;
    for (const Bank& bank : banks_) {
      const Var h = ops::grouped_linear(ctx, rows_RD, *bank.gate_up, index, bank.first_slot);
      const Var a = ops::swiglu(ctx, h, index.row_end);
      const Var y = ops::grouped_linear(ctx, a, *bank.down, index, bank.first_slot);
      sum = sum.defined() ? ops::add(ctx, sum, y) : y;
    }
    return sum;
  }
  int64_t slots() const override { return slots_; }
  Tensor slot_of_expert() const override { return slot_of_expert_; }
  double macs_per_row() const override { return macs_; }

 private:
  struct Bank {
    Parameter* gate_up;
    Parameter* down;
    int64_t first_slot;
  };

  Bank make_bank(const LayerBuild& l, int64_t width, const std::vector<int64_t>& members, bool several) const {
    const std::string suffix = several ? "." + std::to_string(width) : "";
    const auto count = static_cast<int64_t>(members.size());
    const InitSpec init{InitKind::kNormal, l.initializer_range};
    Parameter& up = l.parameters->add(l.prefix + ".experts" + suffix + ".gate_up_proj", {count, 2 * width, l.hidden_size}, init);
    Parameter& down = l.parameters->add(l.prefix + ".experts" + suffix + ".down_proj", {count, l.hidden_size, width}, init);
    up.is_expert = down.is_expert = true;
    up.parts.clear();
    down.parts.clear();
    for (int64_t i = 0; i < count; ++i) {
      const std::string name = l.prefix + ".experts." + std::to_string(members[static_cast<std::size_t>(i)]) + ".";
      up.parts.push_back({name + "gate_proj.weight", i, 0, width, {width, l.hidden_size}});
      up.parts.push_back({name + "up_proj.weight", i, width, width, {width, l.hidden_size}});
      down.parts.push_back({name + "down_proj.weight", i, 0, l.hidden_size, {l.hidden_size, width}});
    }
    return {&up, &down, slots_};
  }

  std::vector<Bank> banks_;
  Tensor slot_of_expert_;
  int64_t slots_ = 0;
  double macs_ = 0;
};

void describe(SwigluExperts::Config&, Fields&) {}

SY_REGISTER(Experts, SwigluExperts, "swiglu", "gated SiLU experts in banks of equal width")

}  // namespace
}  // namespace sy::moe
