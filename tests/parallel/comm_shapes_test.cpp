// Counts and calls as numbers and words, without any rank: pieces of long messages, counts beyond 2^31, refused counts,
// and the sentences of debug mode.
#include <gtest/gtest.h>

#include <sys/mman.h>

#include <array>
#include <limits>

#include "csrc/core/check.h"
#include "parallel/comm.h"
#include "parallel/pieces.h"

namespace sy {
namespace {

TEST(Pieces, CoverALongMessageInOrderAndEachFitsAnInt) {
  const int64_t total = (int64_t{1} << 33) + 5;
  int64_t end = 0, pieces = 0;
  for_each_piece(total, kMaxMessageBytes, [&](int64_t begin, int64_t length) {
    EXPECT_EQ(begin, end);
    EXPECT_GT(length, 0);
    EXPECT_LE(length, std::numeric_limits<int>::max());
    end = begin + length;
    ++pieces;
  });
  EXPECT_EQ(end, total);
  EXPECT_EQ(pieces, 9);
}

TEST(Pieces, OfNothingAreNone) {
  for_each_piece(0, 4, [](int64_t, int64_t) { ADD_FAILURE(); });
  int64_t pieces = 0;
  for_each_piece(8, 4, [&](int64_t, int64_t length) { pieces += length == 4 ? 1 : 100; });
  EXPECT_EQ(pieces, 2);
}

// Three ranks of which only the arguments matter.
class Recorder final : public Comm {
 public:
  int rank() const override { return 1; }
  int size() const override { return 3; }
  const std::string& name() const override { return name_; }
  std::unique_ptr<Comm> split(int, int, const std::string&) override { return nullptr; }
  CommPlace& place() override { return place_; }
  void all_reduce_sum(std::span<float>) override {}
  void all_reduce_sum(std::span<double>) override {}
  void all_reduce_sum(std::span<int64_t>) override {}
  void broadcast(std::span<std::byte>, int) override {}
  void barrier() override {}
  std::vector<std::string> gather_strings(const std::string&, int) override { return {}; }

  std::vector<int64_t> counts;
  std::string element;

 protected:
  CommRequest start_all_gather_elements(const void*, void*, int64_t count, CommElement type) override {
    counts = {count};
    element = type.name;
    return {};
  }
  CommRequest start_all_to_all_elements(const void*, std::span<const int64_t> send, void*,
                                        std::span<const int64_t> recv, CommElement type, CommKind) override {
    counts.assign(send.begin(), send.end());
    counts.insert(counts.end(), recv.begin(), recv.end());
    element = type.name;
    return {};
  }

 private:
  std::string name_ = "three";
  CommPlace place_;
};

TEST(Counts, BeyondTwoToThe31ReachTheTransportWhole) {
  // Addresses without memory behind them: nothing is read.
  const std::size_t most = (std::size_t{1} << 33) + 3;
  void* place = ::mmap(nullptr, most, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(place, MAP_FAILED);
  const std::span<uint8_t> bytes(static_cast<uint8_t*>(place), most);
  Recorder comm;
  const std::size_t third = (std::size_t{1} << 31) + 7;
  comm.start_all_gather(std::span<const uint8_t>(bytes.first(third)), bytes.first(3 * third));
  EXPECT_EQ(comm.counts, std::vector<int64_t>{(int64_t{1} << 31) + 7});
  EXPECT_EQ(comm.element, "u8");
  const std::vector<int64_t> send = {0, int64_t{1} << 33, 3}, recv = {int64_t{1} << 32, 0, 1};
  comm.start_all_to_all(std::span<const uint8_t>(bytes), send, bytes, recv);
  EXPECT_EQ(comm.counts, (std::vector<int64_t>{0, int64_t{1} << 33, 3, int64_t{1} << 32, 0, 1}));
  ::munmap(place, most);
}

TEST(Counts, ThatDoNotFitTheSpansAreRefused) {
  Recorder comm;
  std::array<float, 6> from = {}, to = {};
  const std::span<const float> send(from);
  const std::span<float> recv(to);
  const std::vector<int64_t> good = {1, 2, 3}, few = {3, 3}, negative = {7, -1, 0}, many = {1, 2, 4},
                             huge = {std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::max(), 2};
  EXPECT_NO_THROW(comm.all_to_all(send, good, recv, good));
  for (const auto& bad : {few, negative, many, huge}) {
    EXPECT_THROW(comm.all_to_all(send, bad, recv, good), Error);
    EXPECT_THROW(comm.all_to_all(send, good, recv, bad), Error);
  }
  EXPECT_NO_THROW(comm.all_gather(send.first(2), recv));
  EXPECT_THROW(comm.all_gather(send.first(3), recv), Error);
  EXPECT_THROW(comm.all_gather(send.first(2), recv.first(5)), Error);
  EXPECT_THROW(comm.start_reduce_scatter_sum(send, recv.first(3)), Error);
}

TEST(Calls, ThatAreEqualOnAllRanksGiveNoWord) {
  const CommCall call(CommKind::kAllGather, 31, comm_element<float>(), 12, -1);
  const std::array<CommCall, 3> calls = {call, call, call};
  EXPECT_EQ(describe_difference("tp", std::array<int, 3>{0, 1, 2}, calls), "");
}

TEST(Calls, TheFirstRankThatDiffersIsNamedWithBothCalls) {
  const std::array<int, 4> ranks = {0, 2, 4, 6};
  const CommCall usual(CommKind::kAllReduceSum, 31, comm_element<double>(), 7, -1);
  const auto differing = [&](const CommCall& other) {
    return describe_difference("tp", ranks, std::array<CommCall, 4>{usual, usual, other, other});
  };
  EXPECT_EQ(differing(CommCall(CommKind::kAllGather, 31, comm_element<float>(), 12, -1)),
            "rank 4 calls all_gather of 12 f32, rank 0 all_reduce_sum of 7 f64, as number 31 of group 'tp'");
  EXPECT_EQ(differing(CommCall(CommKind::kAllReduceSum, 31, comm_element<double>(), 8, -1)),
            "rank 4 calls all_reduce_sum of 8 f64, rank 0 all_reduce_sum of 7 f64, as number 31 of group 'tp'");
  EXPECT_EQ(differing(CommCall(CommKind::kAllReduceSum, 31, comm_element<int64_t>(), 7, -1)),
            "rank 4 calls all_reduce_sum of 7 i64, rank 0 all_reduce_sum of 7 f64, as number 31 of group 'tp'");
  EXPECT_EQ(differing(CommCall(CommKind::kBarrier, 31, {}, -1, -1)),
            "rank 4 calls barrier, rank 0 all_reduce_sum of 7 f64, as number 31 of group 'tp'");
  EXPECT_EQ(
      differing(CommCall(CommKind::kBroadcast, 31, comm_element<std::byte>(), 9, 2)),
      "rank 4 calls broadcast of 9 bytes from group rank 2, rank 0 all_reduce_sum of 7 f64, as number 31 of group "
      "'tp'");
  EXPECT_EQ(differing(CommCall(CommKind::kAllToAll, 31, comm_element<bf16>(), -1, -1)),
            "rank 4 calls all_to_all of bf16, rank 0 all_reduce_sum of 7 f64, as number 31 of group 'tp'");
}

TEST(Calls, AnAllToAllNamesTheFirstMessageOfAnotherLengthThanExpected) {
  const std::array<int, 2> ranks = {3, 5};
  const CommCall call(CommKind::kAllToAll, 8, comm_element<bf16>(), -1, -1);
  // Rank by rank: sends to 3, sends to 5, expects from 3, expects from 5.
  EXPECT_EQ(describe_difference("ep", ranks, call, std::array<int64_t, 8>{1, 2, 1, 4, 4, 0, 2, 0}), "");
  EXPECT_EQ(describe_difference("ep", ranks, call, std::array<int64_t, 8>{1, 2, 1, 4, 5, 0, 2, 0}),
            "rank 5 sends 5 bf16 to rank 3, which expects 4, in all_to_all number 8 of group 'ep'");
}

}  // namespace
}  // namespace sy
