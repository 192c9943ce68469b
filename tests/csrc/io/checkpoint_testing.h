// For checkpoint tests: ranks as threads, and tensors whose every element tells where it belongs.
#pragma once

#include <barrier>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "csrc/io/checkpoint.h"
#include "tests/csrc/core/random_tiling.h"

namespace sy::testing {

// Runs body(ranks) on `size` threads that exchange texts through memory.
template <class Body>
void run_ranks(int size, Body body) {
  std::barrier barrier(size);
  std::vector<std::string> slots(static_cast<size_t>(size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      CheckpointRanks ranks;
      ranks.rank = rank;
      ranks.size = size;
      ranks.gather_to_root = [&, rank](const std::string& text) {
        slots[static_cast<size_t>(rank)] = text;
        barrier.arrive_and_wait();
        std::vector<std::string> all;
        if (rank == 0) all = slots;
        barrier.arrive_and_wait();
        return all;
      };
      ranks.broadcast_from_root = [&, rank](const std::string& text) {
        if (rank == 0) slots[0] = text;
        barrier.arrive_and_wait();
        std::string result = slots[0];
        barrier.arrive_and_wait();
        return result;
      };
      body(ranks);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// A tensor with pseudo-random bytes that depend on `seed`.
struct TestTensor {
  CheckpointTensor tensor;
  std::string bytes;

  TestTensor(CheckpointTensor t, uint32_t seed) : tensor(std::move(t)) {
    std::mt19937 rng(seed);
    bytes.resize(static_cast<size_t>(Box::whole(tensor.shape).count() * dtype_bytes(tensor.dtype)));
    for (char& byte : bytes) byte = static_cast<char>(rng());
  }
  // The elements of a region, cut out by the library's own copy, which box_test holds to the definition.
  std::string cut_out(const Region& region) const {
    std::string result(static_cast<size_t>(region.count() * dtype_bytes(tensor.dtype)), '\0');
    copy_intersection(Region::whole(Box::whole(tensor.shape)), bytes.data(), region, result.data(),
                      dtype_bytes(tensor.dtype));
    return result;
  }
};

// One rank's checkpoint of whole tensors.
inline std::string write_whole(const std::string& folder, int64_t step, const std::vector<TestTensor>& tensors,
                               int64_t keep_last = 0) {
  std::vector<PieceView> pieces;
  for (const TestTensor& t : tensors)
    pieces.push_back({t.tensor, Region::whole(Box::whole(t.tensor.shape)), t.bytes.data()});
  return write_checkpoint(folder, {step, 8 * step, "model: {hidden_size: 64}\n", "1", "test"}, pieces,
                          {{"sampler", fmt::format("state {}", step)}}, {}, keep_last);
}

}  // namespace sy::testing
