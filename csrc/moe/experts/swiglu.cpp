// SwiGLU experts (Shazeer 2020, arXiv 2002.05202):   FFN_e(x) = W_down,e ( silu(W_gate,e x) * (W_up,e x) ).
//
// Experts of one width form a bank: gate_up [E_b, 2 F_b, D] (gate rows, then up rows) and down [E_b, D, F_b], where E_b
// are those of this rank and F_b its slice of their width. Slots are the experts sorted by width class in order of
// first appearance, so each bank owns a contiguous range of row segments. Hugging Face names (Qwen3-MoE):
// <prefix>.experts.<e>.{gate_proj,up_proj,down_proj}.weight. Differs from the paper: nothing.
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
      banks_.push_back(make_bank(b, width, members, classes.size() > 1));
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

  Bank make_bank(const Build& b, int64_t whole, const std::vector<int64_t>& members, bool several) const {
    const LayerBuild& l = b.layer;
    const int64_t width = whole / b.slices, begin = width * b.slice, d = l.hidden_size;
    const std::string suffix = several ? "." + std::to_string(whole) : "";
    const auto count = static_cast<int64_t>(members.size());
    const InitSpec init{InitKind::kNormal, l.initializer_range};
    Parameter& up = l.parameters->add(l.prefix + ".experts" + suffix + ".gate_up_proj", {count, 2 * width, d}, init,
                                      Sharing::kExpert);
    Parameter& down =
        l.parameters->add(l.prefix + ".experts" + suffix + ".down_proj", {count, d, width}, init, Sharing::kExpert);
    up.parts.clear();
    down.parts.clear();
    for (int64_t i = 0; i < count; ++i) {
      const int64_t expert = b.first_expert + members[static_cast<std::size_t>(i)];
      const std::string name = l.prefix + ".experts." + std::to_string(expert) + ".";
      const Box rows{{begin, 0}, {width, d}}, columns{{0, begin}, {d, width}};
      up.parts.push_back({name + "gate_proj.weight", {whole, d}, rows, 2 * i * width * d});
      up.parts.push_back({name + "up_proj.weight", {whole, d}, rows, (2 * i + 1) * width * d});
      down.parts.push_back({name + "down_proj.weight", {d, whole}, columns, i * d * width});
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
