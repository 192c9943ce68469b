// Collectives that carry rows (all-gather, all-to-all, reduce-scatter), groups made by split, and requests under way:
// by mpirun on several ranks, and the same calls on a communicator of one rank.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "parallel/comm.h"
#include "tests/parallel/mpi_main.h"

namespace sy::testing {
namespace {

// Nothing, one, odd, and beyond what MPI sends without asking the receiver first.
const std::vector<std::size_t> kCounts = {0, 1, 3, 1001, 70001};

// Every test runs on all ranks together, and once more on each rank alone.
class EachComm {
 public:
  template <class Body>
  void operator()(Body&& body) {
    body(mpi_world());
    body(*single_);
  }

 private:
  std::unique_ptr<Comm> single_ = make_single_comm();
};

template <class T>
T value_of(int rank, std::size_t i) {
  return static_cast<T>(static_cast<float>(static_cast<int>(i * 7 + static_cast<std::size_t>(rank) * 31) % 251));
}

// memcmp, which refuses the null pointers of empty vectors.
template <class T>
bool same_bytes(std::span<const T> a, std::span<const T> b) {
  return std::ranges::equal(std::as_bytes(a), std::as_bytes(b));
}

template <class T>
class AllGather : public ::testing::Test {};
template <class T>
class AllToAll : public ::testing::Test {};
using RowTypes = ::testing::Types<float, double, bf16, int32_t, int64_t, uint8_t>;
TYPED_TEST_SUITE(AllGather, RowTypes);
TYPED_TEST_SUITE(AllToAll, RowTypes);

TYPED_TEST(AllGather, PutsTheRanksPartsInRankOrder) {
  EachComm()([](Comm& comm) {
    for (const std::size_t count : kCounts)
      for (const bool in_place : {false, true}) {
        const std::size_t begin = count * static_cast<std::size_t>(comm.rank());
        std::vector<TypeParam> mine(count), all(count * static_cast<std::size_t>(comm.size()), TypeParam(99));
        for (std::size_t i = 0; i < count; ++i) mine[i] = value_of<TypeParam>(comm.rank(), i);
        if (in_place) {
          std::copy(mine.begin(), mine.end(), all.begin() + static_cast<std::ptrdiff_t>(begin));
          comm.all_gather(std::span<const TypeParam>(all).subspan(begin, count), std::span<TypeParam>(all));
        } else {
          comm.all_gather(std::span<const TypeParam>(mine), std::span<TypeParam>(all));
        }
        bool right = true;
        for (std::size_t i = 0; i < all.size(); ++i)
          right = right && all[i] == value_of<TypeParam>(static_cast<int>(i / count), i % count);
        EXPECT_TRUE(right) << count << " in place: " << in_place;
      }
  });
}

// Elements that rank `from` sends to rank `to`: nothing for some pairs, and one rank that sends and gets nothing.
int64_t pair_count(int from, int to, int64_t scale) {
  if (from == 1 || to == 2) return 0;
  return (from * 3 + to * 5 + 1) % 4 * scale;
}

TYPED_TEST(AllToAll, BringsEveryRankItsElementsWhateverTheirNumber) {
  EachComm()([](Comm& comm) {
    for (const int64_t scale : {int64_t{0}, int64_t{1}, int64_t{333}, int64_t{20001}}) {
      std::vector<int64_t> send_counts, recv_counts;
      std::vector<TypeParam> send, expected;
      for (int r = 0; r < comm.size(); ++r) {
        send_counts.push_back(pair_count(comm.rank(), r, scale));
        recv_counts.push_back(pair_count(r, comm.rank(), scale));
        for (int64_t i = 0; i < send_counts.back(); ++i)
          send.push_back(value_of<TypeParam>(comm.rank() * 10 + r, static_cast<std::size_t>(i)));
        for (int64_t i = 0; i < recv_counts.back(); ++i)
          expected.push_back(value_of<TypeParam>(r * 10 + comm.rank(), static_cast<std::size_t>(i)));
      }
      // Buffers are bounds: what lies behind the counted elements stays as it is.
      expected.resize(expected.size() + 3, TypeParam(99));
      send.resize(send.size() + 5, TypeParam(98));
      std::vector<TypeParam> recv(expected.size(), TypeParam(99));
      comm.all_to_all(std::span<const TypeParam>(send), send_counts, std::span<TypeParam>(recv), recv_counts);
      EXPECT_TRUE(same_bytes<TypeParam>(recv, expected)) << scale;
    }
  });
}

template <class T>
class ReduceScatter : public ::testing::Test {
 protected:
  // Sums of these depend on their order: of the odd elements, ranks 1 and 2 (4 and 5 ...) cancel and swallow what is
  // there before them. Of the even ones they depend on each rounding in between.
  static T addend(int rank, std::size_t i) {
    const float small = 1.0f / static_cast<float>(3 + 7 * rank + static_cast<int>(i % 101));
    const float large = static_cast<float>(1 + i % 7) * (sizeof(T) == 8 ? 0x1p60f : 0x1p30f);
    if (i % 2 == 0 || rank % 3 == 0) return static_cast<T>(small);
    return static_cast<T>(rank % 3 == 1 ? large : -large);
  }
  // Added in the type Sum.
  template <class Sum>
  static std::vector<T> sums(const std::vector<int>& order, std::size_t begin, std::size_t count) {
    std::vector<T> sums(count);
    for (std::size_t i = 0; i < count; ++i) {
      Sum sum = static_cast<Sum>(addend(order.front(), begin + i));
      for (std::size_t r = 1; r < order.size(); ++r)
        sum = static_cast<Sum>(static_cast<Acc<T>>(sum) + static_cast<Acc<T>>(addend(order[r], begin + i)));
      sums[i] = static_cast<T>(sum);
    }
    return sums;
  }
};
using FloatTypes = ::testing::Types<float, double, bf16>;
TYPED_TEST_SUITE(ReduceScatter, FloatTypes);

TYPED_TEST(ReduceScatter, AddsInRankOrderAndRoundsOnce) {
  EachComm()([](Comm& comm) {
    std::vector<int> order, reversed;
    for (int r = 0; r < comm.size(); ++r) {
      order.push_back(r);
      reversed.insert(reversed.begin(), r);
    }
    for (const std::size_t count : kCounts)
      for (const bool in_place : {false, true}) {
        const std::size_t begin = count * static_cast<std::size_t>(comm.rank());
        std::vector<TypeParam> all(count * static_cast<std::size_t>(comm.size())), mine(count, TypeParam(99));
        for (std::size_t i = 0; i < all.size(); ++i) all[i] = TestFixture::addend(comm.rank(), i);
        const std::span<TypeParam> to = in_place ? std::span(all).subspan(begin, count) : std::span(mine);
        comm.reduce_scatter_sum(std::span<const TypeParam>(all), to);
        using Sum = Acc<TypeParam>;
        const auto expected = TestFixture::template sums<Sum>(order, begin, count);
        EXPECT_TRUE(same_bytes<TypeParam>(expected, to)) << count << " in place: " << in_place;
        if (comm.size() < 3 || count < 1000) continue;
        // The numbers are able to tell the order, and the roundings.
        EXPECT_FALSE(same_bytes<TypeParam>(TestFixture::template sums<Sum>(reversed, begin, count), to));
        if (std::is_same_v<TypeParam, bf16>) {
          EXPECT_FALSE(same_bytes<TypeParam>(TestFixture::template sums<TypeParam>(order, begin, count), to));
        }
      }
  });
}

TEST(Split, GroupsRanksByColorAndOrdersThemByKey) {
  Comm& world = mpi_world();
  std::unique_ptr<Comm> inner;
  std::vector<int64_t> members;
  {
    const auto half = world.split(world.rank() % 2, -world.rank(), "half");
    EXPECT_EQ(half->name(), "half");
    for (int r = world.size() - 1; r >= 0; --r)
      if (r % 2 == world.rank() % 2) members.push_back(r);
    EXPECT_EQ(half->size(), static_cast<int>(members.size()));
    EXPECT_EQ(members[static_cast<std::size_t>(half->rank())], world.rank());
    const int64_t mine = world.rank();
    std::vector<int64_t> gathered(members.size());
    half->all_gather(std::span<const int64_t>(&mine, 1), std::span<int64_t>(gathered));
    EXPECT_EQ(gathered, members);
    int64_t sum = mine, expected = 0;
    half->all_reduce_sum(std::span<int64_t>(&sum, 1));
    for (const int64_t r : members) expected += r;
    EXPECT_EQ(sum, expected);
    inner = half->split(0, world.rank(), "inner");  // the same ranks, in the order of the world again
    EXPECT_EQ(&half->place(), &world.place());
  }
  // `half` is gone.
  const int64_t mine = world.rank();
  std::vector<int64_t> gathered(members.size());
  inner->all_gather(std::span<const int64_t>(&mine, 1), std::span<int64_t>(gathered));
  EXPECT_EQ(gathered, std::vector<int64_t>(members.rbegin(), members.rend()));
  EXPECT_EQ(&inner->place(), &world.place());
}

TEST(Split, AGroupOfOneRankIsLikeASingleCommunicator) {
  Comm& world = mpi_world();
  for (Comm* parent : {&world, make_single_comm().release()}) {
    const auto alone = parent->split(parent->rank(), 0, "alone");
    EXPECT_EQ(alone->rank(), 0);
    EXPECT_EQ(alone->size(), 1);
    EXPECT_EQ(alone->name(), "alone");
    EXPECT_EQ(&alone->place(), &parent->place());
    std::array<double, 3> from = {1, 2, 3}, to = {};
    alone->all_gather(std::span<const double>(from), std::span<double>(to));
    EXPECT_EQ(to, from);
    to = {};
    const std::array<int64_t, 1> counts = {3};
    alone->all_to_all(std::span<const double>(from), counts, std::span<double>(to), counts);
    EXPECT_EQ(to, from);
    to = {};
    alone->reduce_scatter_sum(std::span<const double>(from), std::span<double>(to));
    EXPECT_EQ(to, from);
    alone->all_reduce_sum(std::span<double>(to));
    EXPECT_EQ(to, from);
    alone->broadcast(std::as_writable_bytes(std::span<double>(to)), 0);
    alone->barrier();
    EXPECT_EQ(alone->gather_strings("me", 0), std::vector<std::string>{"me"});
    EXPECT_EQ(to, from);
    if (parent != &world) delete parent;
  }
}

// Several of each kind at once, on communicators that overlap, waited for in an order that is another on every rank.
TEST(Requests, MayBeWaitedForInAnyOrderOnAnyRank) {
  Comm& world = mpi_world();
  const auto reversed = world.split(0, -world.rank(), "reversed");
  const auto half = world.split(world.rank() % 2, world.rank(), "half");
  constexpr std::size_t kCount = 40001;
  struct Job {
    Comm* comm;
    std::vector<float> from, gathered, exchanged, sum;
    std::vector<int64_t> counts;
  };
  std::vector<Job> jobs;
  for (int round = 0; round < 2; ++round)
    for (Comm* comm : {&world, reversed.get(), half.get()}) {
      Job& job = jobs.emplace_back();
      job.comm = comm;
      const auto n = static_cast<std::size_t>(comm->size());
      job.counts.assign(n, kCount);
      job.from.resize(n * kCount);
      for (std::size_t i = 0; i < job.from.size(); ++i) job.from[i] = value_of<float>(comm->rank() + round, i);
      job.gathered.resize(n * n * kCount);
      job.exchanged.resize(n * kCount);
      job.sum.resize(kCount);
    }
  std::vector<CommRequest> requests;
  for (Job& job : jobs) {
    const std::span<const float> from(job.from);
    requests.push_back(job.comm->start_all_gather(from, std::span<float>(job.gathered)));
    requests.push_back(job.comm->start_reduce_scatter_sum(from, std::span<float>(job.sum)));
    requests.push_back(job.comm->start_all_to_all(from, job.counts, std::span<float>(job.exchanged), job.counts));
  }
  // 7 and the number of requests, 18, have no common divisor: every request has its turn.
  for (std::size_t i = 0; i < requests.size(); ++i) {
    CommRequest& request = requests[(i * 7 + static_cast<std::size_t>(world.rank()) * 5) % requests.size()];
    request.wait();
    EXPECT_FALSE(request.pending());
    request.wait();  // nothing more to wait for
  }
  for (std::size_t j = 0; j < jobs.size(); ++j) {
    const Job& job = jobs[j];
    const int round = static_cast<int>(j / 3), me = job.comm->rank();
    const auto n = static_cast<std::size_t>(job.comm->size());
    const auto sent = [&](std::size_t r, std::size_t i) { return value_of<float>(static_cast<int>(r) + round, i); };
    bool gathered = true, exchanged = true, summed = true;
    for (std::size_t r = 0; r < n; ++r) {
      for (std::size_t i = 0; i < n * kCount; ++i) gathered &= job.gathered[r * n * kCount + i] == sent(r, i);
      for (std::size_t i = 0; i < kCount; ++i)
        exchanged &= job.exchanged[r * kCount + i] == sent(r, static_cast<std::size_t>(me) * kCount + i);
    }
    for (std::size_t i = 0; i < kCount; ++i) {
      float sum = 0;
      for (std::size_t r = 0; r < n; ++r) sum += sent(r, static_cast<std::size_t>(me) * kCount + i);
      summed &= job.sum[i] == sum;
    }
    EXPECT_TRUE(gathered && exchanged && summed) << job.comm->name() << " " << round;
  }
}

TEST(Requests, DroppingOneWaitsForIt) {
  Comm& comm = mpi_world();
  std::vector<double> mine(90001, 1.0 + comm.rank()), all(mine.size() * static_cast<std::size_t>(comm.size()));
  { const CommRequest dropped = comm.start_all_gather(std::span<const double>(mine), std::span<double>(all)); }
  bool right = true;
  for (std::size_t i = 0; i < all.size(); ++i) right &= all[i] == 1.0 + static_cast<double>(i / mine.size());
  EXPECT_TRUE(right);
}

}  // namespace
}  // namespace sy::testing
