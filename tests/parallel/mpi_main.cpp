// main() of tests on several ranks:  mpirun -np N <test> --ranks=N. Fails when the world has not N ranks, so that a
// wrong launcher cannot turn the test into N tests of one rank. Rank 0 reports progress, the others only failures; the
// program fails if any rank does.
#include "tests/parallel/mpi_main.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace sy::testing {

namespace {

Comm* world = nullptr;

class OnlyFailures final : public ::testing::EmptyTestEventListener {
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (result.failed())
      std::fprintf(stderr, "rank %d: %s:%d: %s\n", world->rank(), result.file_name() ? result.file_name() : "?",
                   result.line_number(), result.message());
  }
};

}  // namespace

Comm& mpi_world() { return *world; }

}  // namespace sy::testing

int main(int argc, char** argv) {
  using namespace sy::testing;
  ::testing::InitGoogleTest(&argc, argv);
  // A rank that throws would leave the others waiting in a collective: let it end the job instead.
  ::testing::GTEST_FLAG(catch_exceptions) = false;
  sy::MpiSession session(&argc, &argv);
  world = &session.world();
  int expected = 1;
  for (int i = 1; i < argc; ++i)
    if (std::strncmp(argv[i], "--ranks=", 8) == 0) expected = std::atoi(argv[i] + 8);
  if (world->size() != expected) {
    std::fprintf(stderr, "this test was to run on %d ranks, but MPI gives %d\n", expected, world->size());
    return 1;
  }
  if (world->rank() != 0) {
    auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new OnlyFailures);
  }
  int64_t failed = RUN_ALL_TESTS();
  world->all_reduce_sum(std::span<int64_t>(&failed, 1));
  return failed == 0 ? 0 : 1;
}
