#include "csrc/io/indexed_dataset.h"

#include "tests/csrc/io/corpus_fixture.h"

namespace sy {
namespace {

using IndexedDatasetTest = CorpusTest;

std::string bytes(std::initializer_list<int> values) {
  std::string text;
  for (const int value : values) text.push_back(static_cast<char>(value));
  return text;
}

// What Megatron's writer makes of the uint16 documents [1, 300], [] and [65000, 2, 3], spelled out from the format.
const std::string kBin = bytes({1, 0, 0x2c, 0x01, 0xe8, 0xfd, 2, 0, 3, 0});
const std::string kIdx = bytes({'M', 'M', 'I', 'D', 'I', 'D', 'X', 0, 0}) +         // magic
                         bytes({1, 0, 0, 0, 0, 0, 0, 0}) +                          // version 1
                         bytes({8}) +                                               // uint16
                         bytes({3, 0, 0, 0, 0, 0, 0, 0}) +                          // sequences
                         bytes({4, 0, 0, 0, 0, 0, 0, 0}) +                          // documents + 1
                         bytes({2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0}) +              // sizes 2, 0, 3
                         bytes({0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0}) +  // pointers 0, 4,
                         bytes({4, 0, 0, 0, 0, 0, 0, 0}) +                          // 4 bytes
                         bytes({0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}) +  // documents 0, 1,
                         bytes({2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0});   // 2, 3

constexpr std::size_t kSizesAt = 34, kPointersAt = kSizesAt + 12, kDocumentsAt = kPointersAt + 24;

std::vector<int32_t> all_tokens(const IndexedDataset& corpus) {
  std::vector<int32_t> ids(static_cast<std::size_t>(corpus.num_tokens()));
  corpus.read(0, corpus.num_tokens(), ids.data());
  return ids;
}

TEST_F(IndexedDatasetTest, BuilderMakesTheBytesOfMegatronsWriter) {
  write_corpus("c", {{1, 300}, {}, {65000, 2, 3}});
  EXPECT_EQ(read_file(path("c.bin")), kBin);
  EXPECT_EQ(read_file(path("c.idx")), kIdx);
  EXPECT_EQ(files(), (std::vector<std::string>{"c.bin", "c.idx"})) << "temporary files are left";
}

TEST_F(IndexedDatasetTest, ReaderReadsTheBytesOfMegatronsWriter) {
  write_file("c.bin", kBin);
  write_file("c.idx", kIdx);
  const IndexedDataset corpus(path("c"));
  EXPECT_EQ(corpus.num_sequences(), 3);
  EXPECT_EQ(corpus.num_documents(), 3);
  EXPECT_EQ(corpus.num_tokens(), 5);
  EXPECT_EQ(corpus.dtype(), TokenDtype::kUint16);
  EXPECT_EQ(all_tokens(corpus), (std::vector<int32_t>{1, 300, 65000, 2, 3}));
  EXPECT_EQ(corpus.document_begin(0), 0);
  EXPECT_EQ(corpus.document_begin(1), 2);
  EXPECT_EQ(corpus.document_length(1), 0);
  EXPECT_EQ(corpus.document_length(2), 3);
  EXPECT_EQ(corpus.document_begin(3), 5);
}

TEST_F(IndexedDatasetTest, EveryIntegerDtypeRoundTrips) {
  const std::vector<int32_t> document = {0, 1, 42, 127};
  for (const TokenDtype dtype : {TokenDtype::kUint8, TokenDtype::kInt8, TokenDtype::kInt16, TokenDtype::kUint16,
                                 TokenDtype::kInt32, TokenDtype::kInt64}) {
    const std::string prefix = write_corpus(token_dtype_name(dtype), {document}, dtype);
    EXPECT_EQ(std::filesystem::file_size(prefix + ".bin"), 4u * static_cast<std::size_t>(token_dtype_bytes(dtype)));
    EXPECT_EQ(all_tokens(IndexedDataset(prefix)), document) << token_dtype_name(dtype);
  }
}

TEST_F(IndexedDatasetTest, SequencesInPiecesAndDocumentsOfSeveralSequencesKeepTheirBorders) {
  IndexedDatasetBuilder builder(path("c"), TokenDtype::kInt32);
  builder.add_tokens(std::vector<int32_t>{1, 2});
  builder.add_tokens(std::vector<int32_t>{3});
  builder.end_sequence();
  builder.add_tokens(std::vector<int32_t>{100000});
  builder.end_sequence();
  builder.end_document();
  builder.add_tokens(std::vector<int32_t>{5});
  builder.end_sequence();
  builder.end_document();
  builder.finish();
  const IndexedDataset corpus(path("c"));
  EXPECT_EQ(corpus.sequence_length(0), 3);
  EXPECT_EQ(corpus.sequence_length(1), 1);
  EXPECT_EQ(corpus.document_length(0), 4);
  EXPECT_EQ(corpus.document_begin(1), 4);
  EXPECT_EQ(all_tokens(corpus), (std::vector<int32_t>{1, 2, 3, 100000, 5}));
}

TEST_F(IndexedDatasetTest, DtypeFollowsMegatronsChoice) {
  EXPECT_EQ(token_dtype_for_vocab(65499), TokenDtype::kUint16);
  EXPECT_EQ(token_dtype_for_vocab(65500), TokenDtype::kInt32);
}

TEST_F(IndexedDatasetTest, BuilderRefusesAnIdThatDoesNotFitTheDtype) {
  IndexedDatasetBuilder builder(path("c"), TokenDtype::kUint16);
  EXPECT_THROW(builder.add_tokens(std::vector<int32_t>{65536}), Error);
}

TEST_F(IndexedDatasetTest, AnAbandonedBuilderLeavesNothing) {
  {
    IndexedDatasetBuilder builder(path("c"), TokenDtype::kUint16);
    builder.add_tokens(std::vector<int32_t>(1 << 20, 1));
  }
  EXPECT_TRUE(files().empty());
}

TEST_F(IndexedDatasetTest, BuilderOverwritesOnlyWhenTold) {
  write_corpus("c", {{1}});
  const std::string message = user_error_of([&] { write_corpus("c", {{2}}); });
  EXPECT_MENTIONS(message, path("c.bin"));
  EXPECT_MENTIONS(message, "--overwrite");
  EXPECT_EQ(all_tokens(IndexedDataset(path("c"))), std::vector<int32_t>{1});

  IndexedDatasetBuilder builder(path("c"), TokenDtype::kUint16, true);
  builder.add_tokens(std::vector<int32_t>{3});
  builder.end_sequence();
  builder.end_document();
  EXPECT_EQ(all_tokens(IndexedDataset(path("c"))), std::vector<int32_t>{1}) << "visible before finish";
  builder.finish();
  EXPECT_EQ(all_tokens(IndexedDataset(path("c"))), std::vector<int32_t>{3});
}

TEST_F(IndexedDatasetTest, AFullDiskIsOneClearErrorThatLeavesNothing) {
  // /dev/full fails every write with ENOSPC; the builder's temporary file is led there by a link of its name.
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  std::filesystem::create_symlink("/dev/full", path("c.bin.partial." + std::to_string(::getpid())));
  const std::string message = user_error_of([&] { write_corpus("c", {{1, 2, 3}}); });
  EXPECT_MENTIONS(message, path("c.bin"));
  EXPECT_MENTIONS(message, "No space left");
  EXPECT_TRUE(files().empty());
}

TEST_F(IndexedDatasetTest, AMissingFileIsNamed) {
  EXPECT_MENTIONS(user_error_of([&] { IndexedDataset corpus(path("none")); }), path("none.idx"));
  write_file("half.idx", kIdx);
  const std::string message = user_error_of([&] { IndexedDataset corpus(path("half")); });
  EXPECT_MENTIONS(message, path("half.bin"));
  EXPECT_MENTIONS(message, "switchyard tokenize");
}

TEST_F(IndexedDatasetTest, AFileNameInPlaceOfThePrefixIsExplained) {
  write_corpus("c", {{1}});
  EXPECT_MENTIONS(user_error_of([&] { IndexedDataset corpus(path("c.bin")); }), "give the prefix " + path("c") + " ");
}

TEST_F(IndexedDatasetTest, EveryTruncationOfTheIndexIsRefusedByName) {
  write_file("c.bin", kBin);
  for (std::size_t kept = 0; kept < kIdx.size(); ++kept) {
    write_file("c.idx", kIdx.substr(0, kept));
    EXPECT_MENTIONS(user_error_of([&] { IndexedDataset corpus(path("c")); }), path("c.idx") + " is truncated");
  }
}

TEST_F(IndexedDatasetTest, EveryTruncationOfTheTokensIsRefusedByName) {
  write_file("c.idx", kIdx);
  for (std::size_t kept = 0; kept < kBin.size(); ++kept) {
    write_file("c.bin", kBin.substr(0, kept));
    EXPECT_MENTIONS(user_error_of([&] { IndexedDataset corpus(path("c")); }), path("c.bin") + " is truncated");
  }
}

// One changed byte at a time; each must be refused with a message that names the file and the fault.
TEST_F(IndexedDatasetTest, DamagedIndexesAreRefusedWithTheFault) {
  struct Damage {
    std::size_t at;
    int value;
    const char* says;
  };
  write_file("c.bin", kBin);
  for (const Damage& damage :
       {Damage{0, 'm', "not a Megatron index"},        //
        Damage{9, 2, "format version 2"},              //
        Damage{17, 9, "unknown dtype code 9"},         //
        Damage{17, 0, "unknown dtype code 0"},         //
        Damage{17, 7, "holds float32 values"},         //
        Damage{17, 4, "sequence 1 points to byte 4"},  // int32: lengths give byte 8
        Damage{18, 4, "is truncated"},                 // one sequence too many
        Damage{25, 0x7f, "is truncated"},              // a count near 2^63 must not overflow
        Damage{33, 0x7f, "is truncated"},              //
        Damage{26, 3, "8 bytes after its document entries"}, Damage{kSizesAt + 3, 0x80, "sequence 0 has length -"},
        Damage{kPointersAt + 8, 2, "sequence 1 points to byte 2 where 4"},
        Damage{kPointersAt + 7, 0x70, "sequence 0 points to byte"}, Damage{kDocumentsAt, 1, "do not start with 0"},
        Damage{kDocumentsAt + 16, 9, "document 1 spans sequences 1 to 9 of 3"},
        Damage{kDocumentsAt + 24, 2, "its documents hold 2 sequences but it has 3"}}) {
    std::string idx = kIdx;
    idx[damage.at] = static_cast<char>(damage.value);
    write_file("c.idx", idx);
    const std::string message = user_error_of([&] { IndexedDataset corpus(path("c")); });
    EXPECT_MENTIONS(message, path("c.idx"));
    EXPECT_MENTIONS(message, damage.says);
  }
}

TEST_F(IndexedDatasetTest, TokensBeyondTheIndexMeanThatTheFilesDoNotBelongTogether) {
  write_file("c.idx", kIdx);
  write_file("c.bin", kBin + bytes({1, 0}));
  EXPECT_MENTIONS(user_error_of([&] { IndexedDataset corpus(path("c")); }), "do not belong together");
}

TEST_F(IndexedDatasetTest, AnIdBeyondTheVocabularyIsNamedWithItsPlace) {
  const std::string prefix = write_corpus("c", {{1, 2}, {3, 256, 4}});
  IndexedDataset(prefix, 257).check_token_ids(5);
  const IndexedDataset corpus(prefix, 256);
  corpus.check_token_ids(3);
  const std::string message = user_error_of([&] { corpus.check_token_ids(1000); });
  EXPECT_MENTIONS(message, prefix + ".bin: token id 256 at position 3");
  EXPECT_MENTIONS(message, "vocabulary of 256");
  int32_t id = 0;
  EXPECT_THROW(corpus.read(3, 1, &id), UserError);
}

TEST_F(IndexedDatasetTest, ANegativeIdIsRefused) {
  write_file("c.idx", [] {
    std::string idx = kIdx;
    idx[17] = 3;  // int16: 65000 reads as a negative number
    return idx;
  }());
  write_file("c.bin", kBin);
  const IndexedDataset corpus(path("c"));
  EXPECT_MENTIONS(user_error_of([&] { corpus.check_token_ids(5); }), "token id -536 at position 2");
}

TEST_F(IndexedDatasetTest, ACorpusWithoutTokensOpens) {
  const IndexedDataset corpus(write_corpus("c", {}));
  EXPECT_EQ(corpus.num_documents(), 0);
  EXPECT_EQ(corpus.num_tokens(), 0);
}

}  // namespace
}  // namespace sy
