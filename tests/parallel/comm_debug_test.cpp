// comm.debug on several ranks: right programs run as before, and ranks that differ all get the same Error, after which
// the group can still be used.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>

#include "csrc/core/check.h"
#include "parallel/comm.h"
#include "tests/parallel/mpi_main.h"

namespace sy::testing {
namespace {

class CommDebug : public ::testing::Test {
 protected:
  CommDebug() { world_.configure({.debug = true}); }
  ~CommDebug() override { world_.configure({}); }

  // What `call` throws; "" if nothing.
  template <class Call>
  static std::string error_of(Call&& call) {
    try {
      call();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
  bool is_last() const { return world_.rank() + 1 == world_.size(); }
  // All ranks, the highest first.
  std::unique_ptr<Comm> reversed() { return world_.split(0, -world_.rank(), "reversed"); }

  Comm& world_ = mpi_world();
};

TEST_F(CommDebug, RightProgramsRunAsBefore) {
  const auto n = static_cast<std::size_t>(world_.size());
  const auto group = reversed();
  for (Comm* comm : {&world_, group.get()}) {
    std::vector<double> mine(3, 1.0 + comm->rank()), all(3 * n), sum(3);
    comm->all_gather(std::span<const double>(mine), std::span<double>(all));
    for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], 1.0 + static_cast<double>(i / 3));
    comm->reduce_scatter_sum(std::span<const double>(all), std::span<double>(sum));
    EXPECT_EQ(sum[2], static_cast<double>(n) * (1.0 + comm->rank()));
    // Rank r sends s + 1 elements to rank s: counts that are no rank's own.
    std::vector<int64_t> to(n), from(n, comm->rank() + 1);
    int64_t total = 0;
    for (std::size_t r = 0; r < n; ++r) total += to[r] = static_cast<int64_t>(r) + 1;
    std::vector<int32_t> send(static_cast<std::size_t>(total), comm->rank()),
        recv(n * (static_cast<std::size_t>(comm->rank()) + 1));
    comm->all_to_all(std::span<const int32_t>(send), to, std::span<int32_t>(recv), from);
    EXPECT_EQ(recv.back(), comm->size() - 1);
    comm->all_reduce_sum(std::span<double>(mine));
    EXPECT_EQ(mine[0], static_cast<double>(n * (n + 1)) / 2);
    comm->barrier();
    EXPECT_EQ(comm->broadcast_string(std::to_string(comm->rank()), comm->size() - 1), std::to_string(comm->size() - 1));
    EXPECT_EQ(comm->gather_strings("a", 0).size(), comm->rank() == 0 ? n : 0);
  }
}

TEST_F(CommDebug, ADifferentCallIsNamedOnEveryRankAndTheGroupStaysUsable) {
  if (world_.size() == 1) GTEST_SKIP() << "one rank agrees with itself";
  const auto group = world_.split(0, world_.rank(), "tp");
  const int last = world_.size() - 1;
  group->barrier();
  std::vector<float> mine(12), all(12 * static_cast<std::size_t>(world_.size()));
  std::vector<double> sums(7);
  EXPECT_EQ(error_of([&] {
              if (is_last()) group->all_gather(std::span<const float>(mine), std::span<float>(all));
              else group->all_reduce_sum(std::span<double>(sums));
            }),
            fmt::format("rank {} calls all_gather of 12 f32, rank 0 all_reduce_sum of 7 f64, as number 2 of group 'tp'",
                        last));
  EXPECT_EQ(error_of([&] { group->all_reduce_sum(std::span<double>(sums).first(is_last() ? 3 : 4)); }),
            fmt::format("rank {} calls all_reduce_sum of 3 f64, rank 0 all_reduce_sum of 4 f64, as number 3 of group "
                        "'tp'",
                        last));
  EXPECT_EQ(
      error_of([&] { group->broadcast(std::as_writable_bytes(std::span<double>(sums)), is_last() ? 1 : 0); }),
      fmt::format("rank {} calls broadcast of 56 bytes from group rank 1, rank 0 broadcast of 56 bytes from group "
                  "rank 0, as number 4 of group 'tp'",
                  last));
  int64_t one = 1;
  group->all_reduce_sum(std::span<int64_t>(&one, 1));
  EXPECT_EQ(one, world_.size());
}

TEST_F(CommDebug, RanksAreNamedByTheirNumberInTheJob) {
  if (world_.size() == 1) GTEST_SKIP() << "one rank agrees with itself";
  const auto group = reversed();
  std::vector<double> sums(7);
  // Rank 0 of the world is the last of this group.
  EXPECT_EQ(error_of([&] {
              if (world_.rank() == 0) group->barrier();
              else group->all_reduce_sum(std::span<double>(sums));
            }),
            fmt::format("rank 0 calls barrier, rank {} all_reduce_sum of 7 f64, as number 1 of group 'reversed'",
                        world_.size() - 1));
}

TEST_F(CommDebug, AnAllToAllWhoseLengthsDisagreeIsRefusedOnEveryRank) {
  if (world_.size() == 1) GTEST_SKIP() << "one rank agrees with itself";
  const auto group = world_.split(0, world_.rank(), "ep");
  const auto n = static_cast<std::size_t>(world_.size());
  std::vector<int64_t> to(n, 2), from(n, 2);
  if (is_last()) from[0] = 1;
  std::vector<bf16> send(2 * n), recv(2 * n);
  EXPECT_EQ(error_of([&] { group->all_to_all(std::span<const bf16>(send), to, std::span<bf16>(recv), from); }),
            fmt::format("rank 0 sends 2 bf16 to rank {}, which expects 1, in all_to_all number 1 of group 'ep'",
                        world_.size() - 1));
}

}  // namespace
}  // namespace sy::testing
