#include "csrc/io/tokenizer.h"

#include "csrc/core/check.h"
#include "csrc/io/tokenizers/hf_tokenizer.h"
#include "csrc/io/tokenizers/utf8.h"

namespace sy {
namespace {

class BytesTokenizer final : public Tokenizer {
 public:
  void encode_append(std::string_view text, std::vector<int32_t>& ids) const override {
    const std::size_t begin = ids.size();
    ids.resize(begin + text.size());
    for (std::size_t i = 0; i < text.size(); ++i) ids[begin + i] = static_cast<unsigned char>(text[i]);
  }
  void decode_append(int32_t id, DecodeState& state, std::string& text) const override {
    if (token_bytes(id) == 0) return;
    state.pending.push_back(static_cast<char>(id));
    const std::size_t final_bytes = state.pending.size() - unfinished_tail(state.pending);
    text.append(state.pending, 0, final_bytes);
    state.pending.erase(0, final_bytes);
  }
  void decode_finish(DecodeState& state, std::string& text) const override {
    text.append(state.pending);
    state.pending.clear();
  }
  int64_t token_bytes(int32_t id) const override {
    if (id < 0 || id > kEod) user_error("token id {} is outside the bytes vocabulary of {} ids", id, kEod + 1);
    return id == kEod ? 0 : 1;
  }
  int64_t vocab_size() const override { return kEod + 1; }
  int32_t eod_id() const override { return kEod; }
  const SpecialIds& special_ids() const override { return special_ids_; }
  std::string spec() const override { return "bytes"; }

 private:
  static constexpr int32_t kEod = 256;
  SpecialIds special_ids_;  // none
};

}  // namespace

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  encode_append(text, ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  DecodeState state;
  for (const int32_t id : ids) decode_append(id, state, text);
  decode_finish(state, text);
  return text;
}

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec) {
  if (spec == "bytes") return std::make_unique<BytesTokenizer>();
  if (spec.ends_with(".json")) return std::make_unique<HfTokenizer>(spec);
  user_error("unknown tokenizer '{}': known are 'bytes' and the path of a Hugging Face tokenizer.json", spec);
}

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec, int64_t model_vocab_size) {
  auto tokenizer = make_tokenizer(spec);
  // Corpora of bare numbers are called bytes too, whatever their vocabulary; their ids are checked as they are read.
  if (spec != "bytes" && tokenizer->vocab_size() > model_vocab_size)
    user_error("data.tokenizer {} has {} ids, but model.vocab_size is {}: raise it", spec, tokenizer->vocab_size(),
               model_vocab_size);
  return tokenizer;
}

}  // namespace sy
