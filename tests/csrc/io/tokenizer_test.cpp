#include "csrc/io/tokenizer.h"

#include <gtest/gtest.h>

#include "csrc/core/check.h"

namespace sy {
namespace {

std::string every_byte() {
  std::string text;
  for (int b = 0; b < 256; ++b) text.push_back(static_cast<char>(b));
  return text;
}

TEST(BytesTokenizer, EncodesEveryByteAsItsUnsignedValue) {
  const auto ids = make_tokenizer("bytes")->encode(every_byte());
  ASSERT_EQ(ids.size(), 256u);
  for (int32_t b = 0; b < 256; ++b) EXPECT_EQ(ids[static_cast<std::size_t>(b)], b);
}

TEST(BytesTokenizer, DecodeInvertsEncodeForAnyBytes) {
  const auto tokenizer = make_tokenizer("bytes");
  const std::string text = every_byte() + "\xff\xfe not UTF-8 \xc3";
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
}

TEST(BytesTokenizer, EndOfDocumentIsTheLastIdAndDecodesToNothing) {
  const auto tokenizer = make_tokenizer("bytes");
  EXPECT_EQ(tokenizer->vocab_size(), 257);
  EXPECT_EQ(tokenizer->eod_id(), 256);
  EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{'a', 256, 'b'}), "ab");
}

TEST(BytesTokenizer, EncodeAppendKeepsWhatIsThere) {
  std::vector<int32_t> ids = {7};
  make_tokenizer("bytes")->encode_append("hi", ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{7, 'h', 'i'}));
}

TEST(BytesTokenizer, DecodeRefusesIdsOutsideTheVocabulary) {
  const auto tokenizer = make_tokenizer("bytes");
  EXPECT_THROW(tokenizer->decode(std::vector<int32_t>{257}), UserError);
  EXPECT_THROW(tokenizer->decode(std::vector<int32_t>{-1}), UserError);
}

TEST(MakeTokenizer, RebuildsATokenizerFromItsSpecAndRefusesUnknownOnes) {
  EXPECT_EQ(make_tokenizer(make_tokenizer("bytes")->spec())->spec(), "bytes");
  EXPECT_THROW(make_tokenizer("byte"), UserError);
}

}  // namespace
}  // namespace sy
