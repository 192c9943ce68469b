// Parameter: a named weight with its main gradient, how it starts, how it is decayed, which parts it is made of and
// how the ranks of a mesh share it.
//
// `value` is what ops compute with (the training type, or the accumulation type for state that must stay exact, such as
// router weights); `grad` is the main gradient in the accumulation type, summed over micro-batches. Names are Hugging
// Face's; a fused weight lists its parts (q|k|v, gate|up) so that files hold them separately.
//
// For training, parameters that are shared by the same ranks lie one after the other in buckets. A bucket is what those
// ranks reduce and gather in one piece, and each of them owns an equal share of it: there live its fp32 masters (of
// rounded values) and the optimizer's moments (ZeRO stage 1).
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "csrc/core/box.h"
#include "csrc/core/context.h"
#include "parallel/comm.h"

namespace sy {

enum class InitKind : uint8_t { kNormal, kTruncatedNormal, kOnes, kZeros };

struct InitSpec {
  InitKind kind = InitKind::kNormal;
  double stddev = 0.02;  // a truncated normal is cut at two standard deviations (kTruncatedNormal)
};

// How the ranks of a mesh share a parameter. Which ranks sum its gradients, which share its optimizer state and whose
// copy counts in the global norm follows from this alone (ParameterList::make_training_buffers).
enum class Sharing : uint8_t {
  kTensorSharded,     // each tensor-parallel rank holds a slice
  kTensorPartial,     // each tensor-parallel rank holds all, with the gradient of its own tokens or heads only
  kTensorReplicated,  // each tensor-parallel rank holds all, with the whole gradient
  kKeyValue,          // a slice that several tensor-parallel ranks hold, each with the gradient of its own query heads
  kExpert,            // each rank of an expert group holds a slice
};

// Of weights that act on the hidden states between tensor-parallel parts (norms).
Sharing between_sharing(const Context& ctx);

// What this rank holds of the Hugging Face tensor `name`: a box, whose elements stand in row-major order from `offset`
// on in the parameter.
struct ParameterPart {
  std::string name;
  Shape shape;  // of the whole tensor, as stored in files
  Box box;
  int64_t offset = 0;

  // The box row by row (a row: a run of its last dimension): how many, how long, and the index in the whole tensor of
  // a row's first element.
  int64_t rows() const { return columns() == 0 ? 0 : box.count() / columns(); }
  int64_t columns() const { return box.extent.back(); }
  int64_t row_start(int64_t row) const;
};

struct ParameterBucket;

struct Parameter {
  std::string name;  // of this model's fused weight; parts have the names of files
  Tensor value;
  Tensor grad;  // defined once training buffers are made
  InitSpec init;
  Sharing sharing = Sharing::kTensorPartial;
  bool decay = true;  // weight decay applies
  double lr_scale = 1.0;
  std::vector<ParameterPart> parts;
  ParameterBucket* bucket = nullptr;  // with training buffers
  int64_t bucket_begin = 0;           // first element in the bucket
};

struct ParameterBucket {
  Comm* ranks = nullptr;  // that hold the same elements; null: this one only
  bool counts = true;     // false on ranks whose copy another rank counts in the norm and writes to checkpoints
  Tensor value, grad;     // [count], each in its type
  Tensor master;          // [share_count] f32: the exact values of a rounded bucket; undefined otherwise
  int64_t count = 0;      // a multiple of the number of ranks; gaps between parameters stay zero
  int64_t share_begin = 0, share_count = 0;  // what this rank owns
  std::vector<Parameter*> parameters;
  CommRequest gathering;  // other ranks' shares of the values, on their way after an optimizer step
  int64_t number = 0;     // in the list of buckets
  // What this rank's optimizer updates.
  Tensor share(const Tensor& whole) const { return whole.slice(share_begin, share_begin + share_count); }
};

// A parameter's elements inside this rank's share of a bucket.
struct OwnedRange {
  Parameter* parameter;
  int64_t begin;  // in the parameter
  int64_t share;  // in the share
  int64_t count;
};

// The same cut at the borders of parts: a flat range of a part's box.
struct OwnedPart {
  const Parameter* parameter;
  const ParameterPart* part;
  Region region;
  int64_t share;
};

inline constexpr int64_t kBucketElements = 40'000'000;

// All parameters of a model in registration order; addresses stay valid.
class ParameterList {
 public:
  explicit ParameterList(Context& ctx, DType dtype) : ctx_(ctx), dtype_(dtype) {}

  // `shape` is what this rank holds. One part of the same name and shape unless the caller sets others. `keep_exact`:
  // store in the accumulation type whatever the training type is.
  Parameter& add(std::string name, Shape shape, InitSpec init, Sharing sharing = Sharing::kTensorPartial,
                 bool keep_exact = false);
  std::deque<Parameter>& all() { return parameters_; }
  const std::deque<Parameter>& all() const { return parameters_; }
  Parameter* find(const std::string& name);
  int64_t count() const;  // elements that this rank holds
  Context& context() const { return ctx_; }
  DType dtype() const { return dtype_; }

  // Draws every value from Philox keyed by (seed, part name), counter = the element's index in the whole part.
  void initialise(uint64_t seed);
  // Moves the values into buckets and adds gradients (zero) and masters (unset: initialise or load afterwards). Buckets
  // close when they reach `bucket_elements`. Once; a second call does nothing.
  void make_training_buffers(int64_t bucket_elements = kBucketElements);
  std::deque<ParameterBucket>& buckets() { return buckets_; }
  // This rank's share of a bucket, parameter by parameter.
  static std::vector<OwnedRange> owned(const ParameterBucket& bucket);
  static std::vector<OwnedPart> owned_parts(const ParameterBucket& bucket);
  void zero_gradients();
  // Before the values of parameters [first, last) are read or set: waits for what other ranks send of them.
  void await(int64_t first, int64_t last);
  // Sets value and, where this rank owns it, master from exact values (accumulation type) on the host.
  void set_exact(Parameter& p, const void* values);
  // The exact values (accumulation type) of this rank's share of a bucket.
  static Tensor exact_share(const ParameterBucket& bucket);

 private:
  Context& ctx_;
  DType dtype_;
  std::deque<Parameter> parameters_;
  std::deque<ParameterBucket> buckets_;
};

}  // namespace sy
