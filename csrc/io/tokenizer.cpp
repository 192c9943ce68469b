#include "csrc/io/tokenizer.h"

#include "csrc/core/check.h"

namespace sy {
namespace {

class BytesTokenizer final : public Tokenizer {
 public:
  void encode_append(std::string_view text, std::vector<int32_t>& ids) const override {
    const std::size_t begin = ids.size();
    ids.resize(begin + text.size());
    for (std::size_t i = 0; i < text.size(); ++i) ids[begin + i] = static_cast<unsigned char>(text[i]);
  }
  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    text.reserve(ids.size());
    for (const int32_t id : ids) {
      if (id < 0 || id > kEod) user_error("token id {} is outside the bytes vocabulary of {} ids", id, kEod + 1);
      if (id != kEod) text.push_back(static_cast<char>(id));
    }
    return text;
  }
  int64_t vocab_size() const override { return kEod + 1; }
  int32_t eod_id() const override { return kEod; }
  std::string spec() const override { return "bytes"; }

 private:
  static constexpr int32_t kEod = 256;
};

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec) {
  if (spec == "bytes") return std::make_unique<BytesTokenizer>();
  user_error("unknown tokenizer '{}': known is 'bytes'", spec);
}

}  // namespace sy
