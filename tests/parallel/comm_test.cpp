// The communicator, run by mpirun on several ranks (and on one): sums, broadcasts and texts of every size.
#include "parallel/comm.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/parallel/mpi_main.h"

namespace sy::testing {
namespace {

// Sizes: nothing, one, odd, and more than one network segment.
const std::vector<std::size_t> kCounts = {0, 1, 3, 1001, 300007};

template <class T>
class AllReduce : public ::testing::Test {};
using SumTypes = ::testing::Types<float, double, int64_t>;
TYPED_TEST_SUITE(AllReduce, SumTypes);

TYPED_TEST(AllReduce, GivesEveryRankTheSumOverRanks) {
  Comm& comm = mpi_world();
  const int n = comm.size();
  for (const std::size_t count : kCounts) {
    std::vector<TypeParam> values(count);
    for (std::size_t i = 0; i < count; ++i)
      values[i] = static_cast<TypeParam>(static_cast<int64_t>(i % 1000) * (comm.rank() + 1));
    comm.all_reduce_sum(std::span<TypeParam>(values));
    bool right = true;
    for (std::size_t i = 0; i < count; ++i)
      right = right && values[i] == static_cast<TypeParam>(static_cast<int64_t>(i % 1000) * n * (n + 1) / 2);
    EXPECT_TRUE(right) << count;
  }
}

TEST(AllReduce, KeepsAll64BitsOfCounts) {
  Comm& comm = mpi_world();
  int64_t value = comm.rank() == 0 ? (int64_t{1} << 62) + 1 : 0;
  comm.all_reduce_sum(std::span<int64_t>(&value, 1));
  EXPECT_EQ(value, (int64_t{1} << 62) + 1);
}

// memcmp, which refuses the null pointers of empty vectors.
bool same_bytes(std::span<const float> a, std::span<const float> b) {
  return std::ranges::equal(std::as_bytes(a), std::as_bytes(b));
}

// Sums whose value depends on their order: every rank must still hold the same bits, and the same ones every time.
TEST(AllReduce, GivesTheSameBitsOnEveryRankAndEveryTime) {
  Comm& comm = mpi_world();
  for (const std::size_t count : kCounts) {
    std::vector<float> mine(count);
    for (std::size_t i = 0; i < count; ++i)
      mine[i] = 1.0f / static_cast<float>(3 + 7 * comm.rank() + static_cast<int>(i % 101)) *
                (comm.rank() % 2 == 0 ? 1e4f : 1.0f);
    std::vector<float> first = mine, again = mine;
    comm.all_reduce_sum(std::span<float>(first));
    comm.all_reduce_sum(std::span<float>(again));
    EXPECT_TRUE(same_bytes(first, again)) << count;
    std::vector<float> of_root = first;
    comm.broadcast(std::as_writable_bytes(std::span<float>(of_root)), 0);
    EXPECT_TRUE(same_bytes(first, of_root)) << count;
  }
}

TEST(Broadcast, GivesEveryRankTheRootsBytes) {
  Comm& comm = mpi_world();
  for (int root = 0; root < comm.size(); ++root)
    for (const std::size_t count : kCounts) {
      std::vector<std::byte> bytes(count, std::byte{0xee});
      const auto expected = [&](std::size_t i) {
        return static_cast<std::byte>((i * 31 + static_cast<std::size_t>(root)) % 251);
      };
      if (comm.rank() == root)
        for (std::size_t i = 0; i < count; ++i) bytes[i] = expected(i);
      comm.broadcast(std::span(bytes), root);
      bool right = true;
      for (std::size_t i = 0; i < count; ++i) right = right && bytes[i] == expected(i);
      EXPECT_TRUE(right) << count << " from " << root;
    }
}

std::string text_of(int rank) {
  // Rank 0 sends nothing at all in one of the rounds; zero bytes and newlines are part of a text.
  return rank == 1 ? std::string("\0\n", 2) + std::string(70001, 'b')
                   : std::string(static_cast<std::size_t>(3 * rank), 'a');
}

// A name that the ranks of this run have in common and no other run has.
std::string shared_name(Comm& comm) { return comm.broadcast_string(std::to_string(::getpid()), 0); }

TEST(GatherStrings, GivesTheRootOneTextPerRankInOrder) {
  Comm& comm = mpi_world();
  for (int root = 0; root < comm.size(); ++root) {
    const std::vector<std::string> all = comm.gather_strings(text_of(comm.rank()), root);
    if (comm.rank() != root) {
      EXPECT_TRUE(all.empty());
      continue;
    }
    ASSERT_EQ(all.size(), static_cast<std::size_t>(comm.size()));
    for (int r = 0; r < comm.size(); ++r) EXPECT_EQ(all[static_cast<std::size_t>(r)], text_of(r)) << r;
  }
}

TEST(BroadcastString, GivesEveryRankTheRootsTextWhateverItHeldBefore) {
  Comm& comm = mpi_world();
  for (int root = 0; root < comm.size(); ++root)
    for (const std::string& text : {std::string(), std::string("x"), std::string("a\0b", 3), std::string(70001, 'z')})
      EXPECT_EQ(comm.broadcast_string(comm.rank() == root ? text : "something longer than x", root), text);
}

// Rank 0 comes late; a rank that has passed must find what rank 0 wrote before it came.
TEST(Barrier, NobodyPassesBeforeEverybodyHasCome) {
  Comm& comm = mpi_world();
  const std::string path = (std::filesystem::temp_directory_path() / ("sy_barrier_" + shared_name(comm))).string();
  if (comm.rank() == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    std::ofstream(path) << "here";
  }
  comm.barrier();
  EXPECT_TRUE(std::filesystem::exists(path));
  comm.barrier();
  if (comm.rank() == 0) std::filesystem::remove(path);
}

TEST(SingleComm, EveryCollectiveIsTheIdentity) {
  const auto comm = make_single_comm();
  EXPECT_EQ(comm->rank(), 0);
  EXPECT_EQ(comm->size(), 1);
  double value = 2.5;
  comm->all_reduce_sum(std::span<double>(&value, 1));
  comm->broadcast(std::as_writable_bytes(std::span<double>(&value, 1)), 0);
  EXPECT_EQ(value, 2.5);
  EXPECT_EQ(comm->gather_strings("me", 0), std::vector<std::string>{"me"});
  EXPECT_EQ(comm->broadcast_string("me", 0), "me");
}

}  // namespace
}  // namespace sy::testing
