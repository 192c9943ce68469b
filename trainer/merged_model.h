// Several checkpoints of one architecture as one model's tensors (csrc/merging/merging.h): all of it for `switchyard
// merge`, what is not a feed-forward block for `switchyard upcycle`.
#pragma once

#include <memory>
#include <span>

#include "csrc/core/registry.h"
#include "csrc/io/tensor_source.h"
#include "csrc/merging/merging.h"
#include "trainer/recipe.h"
#include "trainer/sample_texts.h"
#include "trainer/stored_model.h"

namespace sy {

// A method, and the checkpoint that the inputs were fine-tuned from if it adds differences from one.
struct MergeChoice {
  const char* key = "method";  // of the recipe, for messages
  Component<merging::Merging> method;
  std::string base;
  SampleConfig samples;  // of the whole recipe: in upcycling, the blocks' method may read them too
};

// Each tensor is computed when it is asked for, or all at the first if the method needs the whole model.
class MergedModel final : public TensorSource {
 public:
  // Opens the recipe's inputs and the base. UserError if they are not of one architecture, or if the base is missing
  // or has no effect.
  MergedModel(const MergeChoice& choice, const RecipeConfig& recipe);

  std::string path() const override { return "the merged model"; }
  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  void read(size_t i, void* dst) const override;

  bool contains(const std::string& name) const { return inputs().front().contains(name); }
  std::vector<double> values(const std::string& name) const;
  // The base, if the method needs one, then the inputs; the inputs alone.
  const std::vector<StoredModel>& models() const { return models_; }
  bool reads_samples() const { return reads_samples_; }
  std::string remark() const { return method_->remark(); }
  std::span<const StoredModel> inputs() const { return std::span(models_).subspan(method_->needs_base() ? 1 : 0); }

 private:
  merging::MergeSet set_of(std::span<const SourceTensor> tensors) const;

  std::unique_ptr<merging::Merging> method_;
  std::vector<StoredModel> models_;
  std::vector<SourceTensor> tensors_;
  std::vector<int64_t> first_element_;
  bool reads_samples_ = false;
  mutable std::vector<double> whole_;
};

}  // namespace sy
