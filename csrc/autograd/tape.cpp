#include "csrc/autograd/tape.h"

#include "csrc/core/launch.h"
#include "kernels/dense/elementwise.h"

namespace sy {

void Var::add_grad(Context& ctx, Tensor gradient) const {
  if (!node_->requires_grad) return;
  SY_CHECK(gradient.shape() == node_->value.shape() && gradient.dtype() == node_->value.dtype(),
           "gradient {} {} for a value {} {}", dtype_name(gradient.dtype()), shape_string(gradient.shape()),
           dtype_name(node_->value.dtype()), shape_string(node_->value.shape()));
  if (!node_->grad.defined()) {
    node_->grad = std::move(gradient);
    return;
  }
  // Two inputs of one op may have received the same tensor: write only into storage that nobody else holds.
  Tensor sum = node_->grad.unique() ? node_->grad
               : gradient.unique()  ? gradient
                                    : ctx.empty(gradient.shape(), gradient.dtype());
  dispatch_float(sum.dtype(), [&]<class T>() {
    SY_LAUNCH(ctx, add,
              (kernels::Add<T>{
                  .a = node_->grad.data<T>(), .b = gradient.data<T>(), .y = sum.data<T>(), .count = sum.count()}));
  });
  node_->grad = std::move(sum);
}

void Tape::record(std::function<void()> backward, std::vector<Parameter*> parameters) {
  if (collect_uses != nullptr) {
    collect_uses->insert(collect_uses->end(), parameters.begin(), parameters.end());
    return;
  }
  for (Parameter* p : parameters) hold(*p);
  entries_.push_back({std::move(backward), std::move(parameters)});
}

void Tape::backward() {
  fired_.clear();
  while (!entries_.empty()) {
    Entry entry = std::move(entries_.back());
    entries_.pop_back();
    entry.backward();
    entry.backward = nullptr;  // frees what the closure kept before the next one allocates
    for (Parameter* p : entry.parameters) release(*p);
  }
  fire_unused();
}

void Tape::clear() {
  entries_.clear();
  pending_.clear();
}

void Tape::release(Parameter& parameter) {
  const auto it = pending_.find(&parameter);
  SY_CHECK(it != pending_.end() && it->second > 0, "a parameter was released more often than used");
  if (--it->second == 0) {
    pending_.erase(it);
    fire(parameter);
  }
}

void Tape::fire(Parameter& parameter) {
  if (!last_micro_batch_ || !grad_ready_) return;
  SY_CHECK(fired_.insert(&parameter).second, "grad_ready of one parameter twice in a step");
  grad_ready_(parameter);
}

void Tape::fire_unused() {
  for (Parameter* p : all_parameters_)
    if (!fired_.contains(p) && !pending_.contains(p)) fire(*p);
}

}  // namespace sy
