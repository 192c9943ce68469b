// Text generation with a key-value cache: greedy, temperature, top-p; several prompts of different lengths at once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "csrc/io/tokenizer.h"
#include "csrc/models/decoder.h"

namespace sy {

struct SampleOptions {
  int64_t max_new_tokens = 128;
  double temperature = 0;  // 0: greedy
  double top_p = 1;        // keep the smallest set of tokens whose probability reaches this
  uint64_t seed = 1234;    // random numbers: (seed, prompt index, position)
  bool use_cache = true;   // false: the whole text is fed again for every token (for checks)
  int64_t vocab_size = 0;  // only ids below it are drawn; 0: all of the model's
};

// False when a layer's routing looks at other tokens: a token alone has no competition then.
bool can_generate(Decoder& decoder);

// Continuations (without the prompts) up to the end-of-document token or max_new_tokens. An empty prompt starts from
// the end-of-document token. UserError if prompt and continuation exceed max_position_embeddings.
std::vector<std::vector<int32_t>> generate_tokens(Context& ctx, Decoder& decoder, int32_t eod_id,
                                                  const std::vector<std::vector<int32_t>>& prompts,
                                                  const SampleOptions& options);
std::vector<std::string> generate_texts(Context& ctx, Decoder& decoder, const Tokenizer& tokenizer,
                                        const std::vector<std::string>& prompts, const SampleOptions& options);

// The next token from logits [vocab] (accumulation type widened to double).
int32_t sample_token(const std::vector<double>& logits, const SampleOptions& options, uint64_t prompt,
                     uint64_t position);

// `switchyard generate CHECKPOINT --prompt ...`
int run_generate(int argc, char** argv);

}  // namespace sy
