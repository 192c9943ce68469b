// Parameter: a named weight with its main gradient, how it starts, how it is decayed, and which parts it is made of.
//
// `value` is what ops compute with (the training type, or the accumulation type for state that must stay exact, such as
// router weights); `grad` is the main gradient in the accumulation type, summed over micro-batches. An fp32 master
// copy stands beside it when the value is rounded; the moments belong to the optimizer. Names are Hugging Face's; a fused weight lists its parts
// (q|k|v, gate|up) so that files hold them separately.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "csrc/core/context.h"

namespace sy {

enum class InitKind : uint8_t { kNormal, kTruncatedNormal, kOnes, kZeros };

struct InitSpec {
  InitKind kind = InitKind::kNormal;
  double stddev = 0.02;  // a truncated normal is cut at two standard deviations (kTruncatedNormal)
};

// Rows [begin, begin + rows) of dimension `dim` of a parameter are the Hugging Face tensor `name`. For expert banks each
// expert's slice is a part of its own.
struct ParameterPart {
  std::string name;
  int64_t expert = -1;      // index on dimension 0 for [E, rows, columns] banks, -1 otherwise
  int64_t row_begin = 0;    // on the row dimension (dimension 0, or 1 inside an expert)
  int64_t rows = 0;
  Shape shape;              // of the part as stored in files
};

struct Parameter {
  std::string name;         // canonical: keys the initial random numbers and the optimizer state
  Tensor value;
  Tensor master;            // accumulation-type original of a rounded value; undefined when value is exact itself
  Tensor grad;              // defined once training buffers are made
  InitSpec init;
  bool decay = true;        // weight decay applies
  bool is_expert = false;   // sharded over expert-parallel ranks when there are several
  double lr_scale = 1.0;
  std::vector<ParameterPart> parts;
};

// All parameters of a model in registration order; addresses stay valid.
class ParameterList {
 public:
  explicit ParameterList(Context& ctx, DType dtype) : ctx_(ctx), dtype_(dtype) {}

  // `keep_exact`: store in the accumulation type whatever the training type is.
  Parameter& add(std::string name, Shape shape, InitSpec init, bool keep_exact = false);
  std::deque<Parameter>& all() { return parameters_; }
  const std::deque<Parameter>& all() const { return parameters_; }
  Parameter* find(const std::string& name);
  int64_t count() const;  // elements
  Context& context() const { return ctx_; }
  DType dtype() const { return dtype_; }

  // Draws every value from Philox keyed by (seed, name), counter = global element index (per expert for banks).
  void initialise(uint64_t seed);
  // Buffers for training: fp32 masters of rounded values, and the gradients, which lie one after the other in one
  // tensor (one reduction over ranks, one norm).
  void make_masters();
  void make_gradients();
  void zero_gradients();
  const Tensor& gradient_buffer() const { return gradients_; }
  // What a parameter's exact value is kept in: the master if there is one.
  static const Tensor& exact(const Parameter& p) { return p.master.defined() ? p.master : p.value; }
  // Sets master and value from exact values (accumulation type) on the host.
  void set_exact(Parameter& p, const void* values);

 private:
  Context& ctx_;
  DType dtype_;
  std::deque<Parameter> parameters_;
  Tensor gradients_;
};

}  // namespace sy
