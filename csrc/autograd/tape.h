// The tape: a small eager record of coarse ops, replayed backwards once.
//
// An op computes its value, then records a closure that turns the gradient of its output into gradients of its inputs.
// Losses carry no Var of their own: they are divided by global denominators before backward (kernels/step_state.h), so
// their closures add final gradients directly and backward() needs no seed. Gradients of parameters go straight into
// the parameter's main gradient in the accumulation type. Closures run in reverse order of recording and are freed as
// they run; no double backward.
#pragma once

#include <functional>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "csrc/core/context.h"

namespace sy {

struct Parameter;

// A value in the computation and, during backward, its gradient.
class Var {
 public:
  Var() = default;
  explicit Var(Tensor value, bool requires_grad = false)
      : node_(std::make_shared<Node>(Node{std::move(value), {}, requires_grad})) {}

  bool defined() const { return node_ != nullptr; }
  const Tensor& value() const { return node_->value; }
  bool requires_grad() const { return node_ != nullptr && node_->requires_grad; }
  DType dtype() const { return node_->value.dtype(); }
  const Shape& shape() const { return node_->value.shape(); }
  int64_t dim(int64_t i) const { return node_->value.dim(i); }

  // The gradient so far; undefined when nothing has reached this value.
  const Tensor& grad() const { return node_->grad; }
  // Moves the gradient out (the last reader's right).
  Tensor take_grad() const { return std::move(node_->grad); }
  // Adds a gradient of the value's shape. The first one is kept without copying; a shared one is never overwritten.
  void add_grad(Context& ctx, Tensor gradient) const;
  // Replaces a value's storage reference (used by ops that work in place).
  void set_grad(Tensor gradient) const { node_->grad = std::move(gradient); }

 private:
  struct Node {
    Tensor value;
    Tensor grad;
    bool requires_grad;
  };
  std::shared_ptr<Node> node_;
};

class Tape {
 public:
  // Called when a parameter's gradient of this optimizer step is complete.
  using GradReady = std::function<void(Parameter&)>;

  // Records a closure; `parameters` are those whose main gradient the closure adds to.
  void record(std::function<void()> backward, std::vector<Parameter*> parameters = {});
  // Runs the closures in reverse and empties the tape.
  void backward();
  void clear();
  bool empty() const { return entries_.empty(); }
  std::size_t length() const { return entries_.size(); }

  // grad_ready(p) fires when the last recorded use of p has run, if `last_micro_batch` is set. A parameter with several
  // uses (tied weights, weights shared by layers, recomputed regions) fires once, after all of them. Those of `all`
  // that this micro-batch did not use fire at the end of backward(), in the given order (registration order): every
  // rank then reduces every gradient, whatever its own tokens used.
  void set_grad_ready(GradReady callback, std::vector<Parameter*> all = {}) {
    grad_ready_ = std::move(callback);
    all_parameters_ = std::move(all);
  }
  void set_last_micro_batch(bool last) { last_micro_batch_ = last; }
  // Holds p open (as if used) until release(p), also beyond the end of backward().
  void hold(Parameter& parameter) { ++pending_[&parameter]; }
  void release(Parameter& parameter);

  // While a region runs without recording (its ops will be recomputed), record() collects here what it would have used.
  std::vector<Parameter*>* collect_uses = nullptr;

 private:
  struct Entry {
    std::function<void()> backward;
    std::vector<Parameter*> parameters;
  };
  void fire(Parameter& parameter);
  void fire_unused();

  std::vector<Entry> entries_;
  std::unordered_map<Parameter*, int64_t> pending_;
  std::unordered_set<Parameter*> fired_;  // in this backward()
  GradReady grad_ready_;
  std::vector<Parameter*> all_parameters_;
  bool last_micro_batch_ = true;
};

// True when ops on these inputs must be recorded.
inline bool needs_record(const Context& ctx, std::initializer_list<const Var*> inputs, bool parameters_train = false) {
  if (ctx.tape == nullptr) return false;
  if (parameters_train) return true;
  for (const Var* v : inputs)
    if (v != nullptr && v->requires_grad()) return true;
  return false;
}

}  // namespace sy
