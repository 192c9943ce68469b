// Training samples and evaluation windows from token corpora. S = seq_length; a sample is S inputs and, shifted by
// one, S targets: S + 1 tokens. Everything is a pure function of (corpus, config, seed, global sample index), so a run
// resumes from the number of consumed samples alone and every mesh sees the same samples.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "csrc/io/indexed_dataset.h"
#include "trainer/blend.h"
#include "trainer/data_config.h"

namespace sy {

// Packed training samples of one corpus. The documents of epoch 0, 1, 2 ..., each epoch in its own seeded order, form
// one endless stream; window k covers stream positions k*S .. k*S + S (its last token is the next window's first), so
// every position but 0 is a target exactly once. Windows are drawn shuffled within blocks of one epoch's length.
class TokenDataset {
 public:
  // Uses documents `range` of the corpus, which must hold at least one token (UserError).
  TokenDataset(std::shared_ptr<const IndexedDataset> corpus, DocumentRange range, int64_t seq_length, uint64_t seed,
               bool reset_attention_mask);

  // Block length of the shuffle: the windows that fit in one pass over the corpus, at least 1.
  int64_t num_samples_per_epoch() const { return samples_per_epoch_; }
  int64_t num_tokens() const { return num_tokens_; }  // in one pass
  const IndexedDataset& corpus() const { return *corpus_; }

  // Sets tokens_Sp1 [S + 1] and document_start_S [S]: the first position in the sample of the document that input
  // token i belongs to, or 0 everywhere without reset_attention_mask. Safe from several threads.
  void sample(int64_t global_index, int32_t* tokens_Sp1, int32_t* document_start_S) const;

 private:
  struct EpochOrder;

  std::shared_ptr<const EpochOrder> epoch_order(int64_t epoch) const;

  std::shared_ptr<const IndexedDataset> corpus_;
  DocumentRange range_;
  int64_t seq_length_;
  uint64_t seed_;
  bool reset_attention_mask_;
  int64_t num_tokens_ = 0, samples_per_epoch_ = 0;
  mutable std::mutex mutex_;
  mutable std::vector<std::shared_ptr<const EpochOrder>> recent_;  // most recently used first
};

// Several corpora by weight. A corpus is called a domain; its name is the last part of its prefix.
class BlendedDataset {
 public:
  BlendedDataset(std::vector<std::unique_ptr<TokenDataset>> sources, std::vector<double> weights);

  int64_t num_domains() const { return static_cast<int64_t>(sources_.size()); }
  const TokenDataset& domain(int64_t index) const { return *sources_.at(static_cast<std::size_t>(index)); }
  std::string domain_name(int64_t index) const;
  BlendSchedule::Place locate(int64_t global_index) const { return schedule_.locate(global_index); }

  // As TokenDataset::sample; returns the sample's domain.
  int64_t sample(int64_t global_index, int32_t* tokens_Sp1, int32_t* document_start_S) const;

 private:
  std::vector<std::unique_ptr<TokenDataset>> sources_;
  BlendSchedule schedule_;
};

// Consecutive windows over documents `range` in their order in the file. Window w predicts tokens w*S + 1 .. w*S + S
// of the range: every token but the first is a target exactly once. The last window is padded with input 0, target -1.
class EvalDataset {
 public:
  // The range must hold at least two tokens (UserError).
  EvalDataset(std::shared_ptr<const IndexedDataset> corpus, DocumentRange range, int64_t seq_length,
              bool reset_attention_mask);

  int64_t num_windows() const { return (num_targets() + seq_length_ - 1) / seq_length_; }
  int64_t num_targets() const { return end_ - begin_ - 1; }
  std::string domain_name() const;

  // Sets tokens_S, targets_S and document_start_S [S]; pads keep the last document's start.
  void window(int64_t index, int32_t* tokens_S, int32_t* targets_S, int32_t* document_start_S) const;

 private:
  std::shared_ptr<const IndexedDataset> corpus_;
  DocumentRange range_;
  int64_t seq_length_;
  bool reset_attention_mask_;
  int64_t begin_ = 0, end_ = 0;  // token positions in the corpus
};

// Opens the training blend. Ids not below vocab_size are a UserError (the first 16 Mi tokens are checked here, all when
// read). data.seed -1 is replaced by train_seed.
std::unique_ptr<BlendedDataset> open_train_data(const DataConfig& config, int64_t seq_length, int64_t vocab_size,
                                                int64_t train_seed);

// Opens each corpus of a held-out split; none when the config names no data for it. A corpus whose share rounds to no
// document is a UserError.
std::vector<std::unique_ptr<EvalDataset>> open_eval_data(const DataConfig& config, Split part, int64_t seq_length,
                                                         int64_t vocab_size);

}  // namespace sy
