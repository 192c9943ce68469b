// Fixture of the gradient checks: random f64 inputs and parameters, a random upstream gradient u, and the comparison of
// the tape's gradients of  sum(y * u)  (or of a loss) with central differences.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <limits>

#include "csrc/autograd/gradcheck.h"
#include "csrc/ops/ops.h"
#include "kernels/philox.h"

namespace sy {

class OpGradcheck : public ::testing::Test {
 protected:
  // Central differences with a step of 1e-6 are good to about 1e-9 of the loss; analytic gradients to rounding.
  static constexpr double kBound = 1e-6;

  OpGradcheck() { poison(); }

  // Leaves blocks full of NaN in the allocator, so that an op that reads what nobody wrote is seen.
  void poison() {
    std::vector<Tensor> blocks;
    for (const int64_t bytes : {256, 4096, 16384, 65536, 262144})
      for (int i = 0; i < 32; ++i) {
        blocks.push_back(ctx.empty({bytes}, DType::u8));
        std::memset(blocks.back().raw(), 0xff, static_cast<std::size_t>(bytes));
      }
  }

  Tensor random(const Shape& shape, double scale = 1.0) {
    const Philox stream = Philox::keyed(++draws_, 0, 0, 0, RngPurpose::kTest);
    Tensor t = ctx.empty(shape, DType::f64, MemoryKind::data);
    for (int64_t i = 0; i < t.count(); ++i) t.data<double>()[i] = scale * stream.normal(static_cast<uint64_t>(i));
    return t;
  }
  Tensor ints(const std::vector<int32_t>& values) {
    return ctx.from_host<int32_t>(values, {static_cast<int64_t>(values.size())}, MemoryKind::data);
  }
  Tensor flags(const std::vector<uint8_t>& values) {
    return ctx.from_host<uint8_t>(values, {static_cast<int64_t>(values.size())}, MemoryKind::data);
  }

  // Inputs and parameters made here are checked, all elements of each.
  Var input(const std::string& name, const Tensor& value) {
    inputs_.emplace_back(name, Var(value, true));
    return inputs_.back().second;
  }
  Var input(const std::string& name, const Shape& shape, double scale = 1.0) {
    return input(name, random(shape, scale));
  }
  Parameter& parameter(const std::string& name, const Shape& shape, double scale = 1.0) {
    Parameter& p = parameters_.emplace_back();
    p.name = name;
    p.value = random(shape, scale);
    // Main gradients are added to, never set: what stood there before is taken off again in gradient().
    p.grad = random(shape);
    before_.push_back(ctx.empty(shape, DType::f64, MemoryKind::data));
    ctx.copy(before_.back(), p.grad);
    return p;
  }

  // What backward added to a parameter made by parameter().
  Tensor gradient(const Parameter& p) {
    const Tensor added = ctx.empty(p.grad.shape(), DType::f64, MemoryKind::data);
    for (std::size_t i = 0; i < parameters_.size(); ++i)
      if (&parameters_[i] == &p)
        for (int64_t k = 0; k < added.count(); ++k)
          added.data<double>()[k] = p.grad.data<double>()[k] - before_[i].data<double>()[k];
    return added;
  }

  // y = op() for every element of y. `used_rows`: rows of y that count (others may hold anything); empty: all.
  void check(const std::function<Var()>& op, const std::vector<bool>& used_rows = {}) {
    Tensor u;
    const Var y = recorded([&] {
      Var out = op();
      u = random(out.shape());
      if (!used_rows.empty()) {
        // What lies in rows nobody uses may not matter, be it the value or its gradient.
        const int64_t columns = u.count() / u.dim(0);
        for (int64_t i = 0; i < u.count(); ++i)
          if (!used_rows[static_cast<std::size_t>(i / columns)])
            u.data<double>()[i] = std::numeric_limits<double>::quiet_NaN();
      }
      const Tensor upstream = ctx.empty(u.shape(), u.dtype());
      ctx.copy(upstream, u);
      out.set_grad(upstream);
      return out;
    });
    ASSERT_TRUE(y.requires_grad());
    compare([&] {
      const Tensor value = op().value();
      double sum = 0;
      for (int64_t i = 0; i < value.count(); ++i)
        if (!std::isnan(u.data<double>()[i])) sum += value.data<double>()[i] * u.data<double>()[i];
      return sum;
    });
  }

  // A loss: op adds its value to the slot and its gradient in backward.
  void check_loss(const std::function<void(const Tensor& slot)>& op) {
    recorded([&] {
      op(ctx.zeros({1}, DType::f64));
      return Var();
    });
    compare([&] {
      const Tensor slot = ctx.zeros({1}, DType::f64);
      op(slot);
      return *slot.data<double>();
    });
  }

  void set_inv_tokens(double inv_loss_tokens, double inv_batch_tokens) {
    ctx.host_step_state.inv_loss_tokens = inv_loss_tokens;
    ctx.host_step_state.inv_batch_tokens = inv_batch_tokens;
    ctx.upload_step_state();
  }

  // Checks `gradient` as the gradient of these elements; check() calls it for every input, or only for the live rows
  // after restrict_rows.
  void restrict_rows(const std::string& name, std::vector<std::pair<int64_t, int64_t>> ranges) {
    ranges_.emplace_back(name, std::move(ranges));
  }

  Context ctx{DeviceType::cpu};
  int64_t samples = std::numeric_limits<int64_t>::max();  // elements per input

 private:
  Var recorded(const std::function<Var()>& op) {
    Tape tape;
    ctx.tape = &tape;
    Var y = op();
    tape.backward();
    ctx.tape = nullptr;
    return y;
  }

  void add_check(std::vector<GradcheckInput>& all, const std::string& name, const Tensor& value,
                 const Tensor& gradient) {
    for (const auto& [restricted, ranges] : ranges_) {
      if (restricted != name) continue;
      for (const auto& [begin, end] : ranges)
        all.push_back({name, value.slice(begin, end), gradient.slice(begin, end)});
      return;
    }
    all.push_back({name, value, gradient});
  }

  void compare(const std::function<double()>& loss) {
    std::vector<GradcheckInput> all;
    for (const auto& [name, var] : inputs_) {
      ASSERT_TRUE(var.grad().defined()) << name << " received no gradient";
      add_check(all, name, var.value(), var.grad());
    }
    for (const Parameter& p : parameters_) add_check(all, p.name, p.value, gradient(p));
    ASSERT_FALSE(all.empty());
    for (const GradcheckInput& i : all) {
      double largest = 0;
      for (int64_t k = 0; k < i.gradient.count(); ++k)
        largest = std::max(largest, std::abs(i.gradient.data<double>()[k]));
      EXPECT_GT(largest, 0) << "every gradient of " << i.name << " is zero: nothing is checked";
    }
    const GradcheckResult result = gradcheck(all, loss, 1e-6, samples);
    EXPECT_LT(result.worst_relative_error, kBound) << result.worst;
    EXPECT_GT(result.worst_relative_error, 0) << "differences that agree to the bit were not taken";
  }

  std::vector<std::pair<std::string, Var>> inputs_;
  std::deque<Parameter> parameters_;
  std::vector<Tensor> before_;
  std::vector<std::pair<std::string, std::vector<std::pair<int64_t, int64_t>>>> ranges_;
  uint64_t draws_ = 0;
};

}  // namespace sy
