// The seam of merging: how tensors of several models of one shape become one model's. Methods register in
// csrc/merging/methods, one file each.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "csrc/merging/posterior.h"

namespace sy::merging {

// The same tensor of every model, or, for methods that look at a whole model at once, all its tensors in a row; f64 on
// the host, n elements each.
struct MergeSet {
  std::string name;                         // of the tensor: keys random numbers
  std::vector<double> base_n;               // theta_0; empty unless the method needs a base
  std::vector<std::vector<double>> inputs;  // theta_1, theta_2 ...
};

struct MergeBuild {
  int64_t num_inputs = 0;
  uint64_t seed = 0;
  std::string key = "method";  // of the recipe, under which the method's options stand
  // What every input gives to the recipe's sample texts; UserError if it names none. Runs the models.
  std::function<std::vector<SequenceEvidence>()> evidence = {};
};

class Merging {
 public:
  using Build = MergeBuild;  // a constructor throws UserError for settings that do not fit the inputs
  virtual ~Merging() = default;
  virtual bool needs_base() const = 0;
  // True: merge() is called once with the whole model, which then stands in memory as f64 for every input.
  virtual bool needs_whole_model() const { return false; }
  virtual std::vector<double> merge(const MergeSet& set) const = 0;
  // A line for the report; empty: none.
  virtual std::string remark() const { return {}; }
};

}  // namespace sy::merging
