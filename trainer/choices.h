// Multiple choice by log-probability: of the choices that may follow a context, the model picks the likeliest.
//
// A JSON line is {"context": text, "choices": [text, ...], "answer": index from 0}; the choice follows the context as
// it stands, so that one that is a word begins with a space. Tokens are those of the LM Evaluation Harness (EleutherAI,
// lm_eval/api/model.py, _encode_pair): white space that ends the context moves to the choice; both are encoded together
// and the choice's tokens are those behind as many as the context alone has. An empty context is the end-of-document
// token.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "csrc/io/tokenizer.h"
#include "csrc/models/decoder.h"

namespace sy {

struct Choice {
  std::vector<int32_t> tokens;  // context and choice
  int64_t context_tokens = 0;   // at least 1
  int64_t choice_bytes = 0;     // of the text in the file, at least 1
  int64_t num_choice_tokens() const { return std::ssize(tokens) - context_tokens; }
};

struct ChoiceItem {
  std::vector<Choice> choices;
  int64_t answer = 0;
};

// UserError names the line that is malformed or longer than max_inputs tokens; blank lines are passed over.
std::vector<ChoiceItem> read_choices(const std::string& path, const Tokenizer& tokenizer, int64_t max_inputs);

// Shares of the items whose answer has the largest sum of log-probabilities, and the largest per byte and per token of
// the choice; of equal ones the first counts.
struct ChoiceReport {
  int64_t num_items = 0;
  double accuracy = 0, accuracy_per_byte = 0, accuracy_per_token = 0;
};

ChoiceReport score_choices(Context& ctx, Decoder& decoder, const std::vector<ChoiceItem>& items, int64_t batch_size,
                           const std::function<void(int64_t done, int64_t total)>& progress);

}  // namespace sy
