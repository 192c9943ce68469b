// The `data` section of the YAML: which corpora, in which proportions, split how. Keys and forms are Megatron's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "csrc/core/fields.h"

namespace sy {

enum class Split { kTrain = 0, kValid = 1, kTest = 2 };

struct DataConfig {
  std::vector<std::string> data_path;  // one blend for all splits, cut by `split`
  std::string split = "99,1,0";
  std::vector<std::string> train_data_path;  // or: a blend per split, each used whole
  std::vector<std::string> valid_data_path;
  std::vector<std::string> test_data_path;
  std::string tokenizer = "bytes";
  bool reset_attention_mask = false;
  int64_t seed = -1;  // -1: train.seed

  bool operator==(const DataConfig&) const = default;
};

void describe(DataConfig& config, Fields& fields);

// One corpus of a blend. All weights of a blend are positive and sum to 1, or all are 0: in proportion to tokens.
struct BlendEntry {
  std::string prefix;
  double weight = 0;
};

// ["a", "b"] or ["0.7", "a", "0.3", "b"], as Megatron reads it; `key` names the list in errors (UserError).
std::vector<BlendEntry> parse_blend(const std::vector<std::string>& list, const std::string& key);

// Documents [begin, end) of a corpus of num_documents that belong to `part` under "train,valid,test" weights.
struct DocumentRange {
  int64_t begin = 0, end = 0;
};
DocumentRange split_documents(const std::string& split, int64_t num_documents, Split part);

// Whether `split` gives `part` a share at all.
bool split_has(const std::string& split, Split part);

const char* split_name(Split part);

}  // namespace sy
