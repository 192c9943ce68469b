// Simulated wgmma.mma_async m64nNk16, bf16 x bf16 -> f32. Both operands are read through their descriptors, element by
// element at the absolute swizzled address, and the sums appear in the accumulators only at the wait that covers them:
// until then the accumulators hold NaN.
//
// A product reads its operands when it is issued or as late as that wait, as the seed draws (async_work.h); from issue
// to wait nobody may write them. Faults besides those of shared_bytes.h: a descriptor with a base offset, reserved
// bits, no swizzle, or a start that no K step of an aligned tile has; operands that differ within the warpgroup;
// registers that no wgmma.fence covers, that were written while in flight, or that two shapes share; a block that exits
// before the wait. A from registers is taken at issue.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "tests/cuda_sim/units.h"

namespace sy::cuda_sim {

namespace {

constexpr int kThreads = 128, kRows = 64, kDepth = 16;
constexpr uint32_t kInFlight = 0x7fc0dead;  // a NaN that no product gives

// Position of accumulator i of thread t.
struct Position {
  int row, column;
};
Position accumulator(int t, int i) {
  return {16 * (t / 32) + t % 32 / 4 + 8 * (i / 2 % 2), 8 * (i / 4) + 2 * (t % 4) + i % 2};
}

struct Operand {
  uint32_t start, leading, stride, span;
  bool mn_major;
};

Operand decode(uint64_t descriptor, bool mn_major, const char* which) {
  const auto field = [&](int bit) { return static_cast<uint32_t>(descriptor >> bit & 0x3fff) << 4; };
  const auto refuse = [&](const char* why) {
    fault(fmt::format("wgmma: descriptor {:#018x} of {} {}", descriptor, which, why));
  };
  if (descriptor & 0x3ff1c000c000c000) refuse("has reserved bits");
  if (descriptor >> 49 & 7) refuse("has a base offset");
  const int code = static_cast<int>(descriptor >> 62);
  if (code == 0) refuse("has no swizzle, whose layout is disputed");
  const Operand o{field(0), field(16), field(32), 256u >> code, mn_major};
  // A K step moves inside the first line of a pattern (K-major) or by whole patterns (MN-major).
  const uint32_t offset = o.start % (8 * o.span);
  if (mn_major ? offset != 0 : offset >= o.span || offset % 32 != 0) refuse("does not start at a K step of a tile");
  return o;
}

uint32_t address_of(const Operand& o, int mn, int k) {
  const auto m = static_cast<uint32_t>(mn), d = static_cast<uint32_t>(k);
  uint32_t linear = 0;
  if (o.mn_major) {
    const uint32_t slab = o.span / 2;
    linear = 2 * (m % slab) + m / slab * o.leading + d % 8 * o.span + d / 8 * o.stride;
  } else {
    linear = m % 8 * o.span + m / 8 * o.stride + 2 * d;
  }
  const uint32_t address = (o.start + linear) & 0x3ffff;
  switch (o.span) {
    case 128:
      return address ^ (address >> 3 & 0x70);
    case 64:
      return address ^ (address >> 3 & 0x30);
    default:
      return address ^ (address >> 3 & 0x10);
  }
}

// Accumulators of a warpgroup from their first product to the wait after which all threads have them back.
struct Tile {
  int n = 0;
  std::array<float*, kThreads> registers{};
  std::array<bool, kThreads> returned{};
  std::vector<float> sums;  // kRows x n
  uint64_t last_product = 0;

  bool overlaps(const float* d, int count, int thread) const {
    const float* own = registers[thread];
    return !returned[thread] && d < own + n / 2 && own < d + count;
  }
};

struct Product {
  uint64_t number = 0;
  std::shared_ptr<Tile> tile;
  std::vector<uint32_t> a, b;   // addresses of the elements [mn][k]
  std::vector<float> a_values;  // instead of `a` where A comes from registers
  bool accumulate = false, negate = false, computed = false;
};

struct Warpgroup {
  Rendezvous rendezvous;
  std::array<WarpgroupMma, kThreads> operands{};
  std::array<std::array<uint32_t, 4>, kThreads> a_registers{};
  std::deque<Product> in_flight;
  std::vector<std::shared_ptr<Tile>> tiles;
  uint64_t num_products = 0;
};

struct ThreadProducts {
  bool fenced = false;
  uint64_t issued = 0;          // number of the newest product
  std::deque<uint64_t> groups;  // of the newest product of each committed group
};

std::vector<Warpgroup> warpgroups;
std::vector<ThreadProducts> threads;

void begin_if_needed() {
  if (!threads.empty()) return;
  threads.resize(kMaxThreadsPerBlock);
  warpgroups.resize(kMaxThreadsPerBlock / kThreads);
}

float read_element(uint32_t address) {
  uint16_t bits;
  std::memcpy(&bits, shared_bytes().held(address), 2);
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

void compute(Product& p) {
  if (std::exchange(p.computed, true)) return;
  const int n = p.tile->n;
  std::vector<float> a = p.a_values, b;
  for (const uint32_t address : p.a) a.push_back(read_element(address));
  for (const uint32_t address : p.b) b.push_back(read_element(address));
  for (int row = 0; row < kRows; ++row)
    for (int column = 0; column < n; ++column) {
      float sum = 0;
      for (int k = 0; k < kDepth; ++k) sum += a[row * kDepth + k] * b[column * kDepth + k];
      float& d = p.tile->sums[row * n + column];
      d = (p.accumulate ? d : 0.0f) + (p.negate ? -sum : sum);
    }
}

std::vector<uint32_t> hold_operand(const Operand& o, int extent, int first_thread) {
  std::vector<uint32_t> addresses;
  for (int mn = 0; mn < extent; ++mn)
    for (int k = 0; k < kDepth; ++k) {
      addresses.push_back(address_of(o, mn, k));
      shared_bytes().hold(addresses.back(), 2, first_thread, kThreads, "wgmma");
    }
  return addresses;
}

// The accumulators that the product works on: in flight already, or taken over from the threads now.
std::shared_ptr<Tile> tile_for(Warpgroup& group, int first_thread) {
  const WarpgroupMma& mma = group.operands[0];
  for (const std::shared_ptr<Tile>& tile : group.tiles)
    for (int t = 0; t < kThreads; ++t) {
      if (!tile->overlaps(group.operands[t].d, mma.n / 2, t)) continue;
      const bool same = tile->n == mma.n && std::none_of(tile->returned.begin(), tile->returned.end(), std::identity{});
      if (!same || tile->registers[t] != group.operands[t].d)
        fault("wgmma: accumulators are in flight in another shape: " + describe_thread(first_thread + t));
      return tile;
    }
  auto tile = std::make_shared<Tile>();
  tile->n = mma.n;
  tile->sums.resize(static_cast<size_t>(kRows) * mma.n);
  for (int t = 0; t < kThreads; ++t) {
    if (!threads[first_thread + t].fenced)
      fault("wgmma: no wgmma.fence since the accumulators were free: " + describe_thread(first_thread + t));
    float* d = tile->registers[t] = group.operands[t].d;
    for (int i = 0; i < mma.n / 2; ++i) {
      const auto [row, column] = accumulator(t, i);
      tile->sums[row * mma.n + column] = d[i];
      d[i] = std::bit_cast<float>(kInFlight);
    }
  }
  group.tiles.push_back(tile);
  return tile;
}

// Half e of the A registers of thread t lies at the position that the accumulators of a 16 wide product have.
std::vector<float> a_fragments(const Warpgroup& group) {
  std::vector<float> a(kRows * kDepth);
  for (int t = 0; t < kThreads; ++t)
    for (int e = 0; e < 8; ++e) {
      const uint32_t half = group.a_registers[t][e / 2] >> (16 * (e % 2)) & 0xffff;
      const auto [row, k] = accumulator(t, e);
      a[row * kDepth + k] = std::bit_cast<float>(half << 16);
    }
  return a;
}

void issue(Warpgroup& group, int first_thread) {
  const WarpgroupMma& mma = group.operands[0];
  if (mma.n < 8 || mma.n > 256 || mma.n % 8 != 0) fault(fmt::format("wgmma with n = {}", mma.n));
  for (int t = 0; t < kThreads; ++t) {
    const WarpgroupMma& other = group.operands[t];
    if (other.n != mma.n || other.b_descriptor != mma.b_descriptor || other.a_descriptor != mma.a_descriptor ||
        (other.a == nullptr) != (mma.a == nullptr) || other.accumulate != mma.accumulate)
      fault("wgmma: operands differ within the warpgroup: " + describe_thread(first_thread + t));
  }
  Product product;
  product.number = ++group.num_products;
  product.tile = tile_for(group, first_thread);
  product.accumulate = mma.accumulate;
  product.negate = mma.negate_a;
  product.tile->last_product = product.number;
  if (mma.a != nullptr) {
    product.a_values = a_fragments(group);
  } else {
    product.a = hold_operand(decode(mma.a_descriptor, mma.a_mn_major, "A"), kRows, first_thread);
  }
  product.b = hold_operand(decode(mma.b_descriptor, mma.b_mn_major, "B"), mma.n, first_thread);
  group.in_flight.push_back(std::move(product));
  if (async_work().draw_early())
    for (Product& p : group.in_flight) compute(p);
  for (int t = 0; t < kThreads; ++t) threads[first_thread + t].issued = group.num_products;
}

void return_accumulators(Tile& tile, int t, int first_thread) {
  float* d = tile.registers[t];
  for (int i = 0; i < tile.n / 2; ++i) {
    if (std::bit_cast<uint32_t>(d[i]) != kInFlight)
      fault("wgmma: accumulators were written while in flight: " + describe_thread(first_thread + t));
    const auto [row, column] = accumulator(t, i);
    d[i] = tile.sums[row * tile.n + column];
  }
  tile.returned[t] = true;
}

}  // namespace

void begin_wgmma() {
  threads.clear();
  warpgroups.clear();
}

void end_wgmma() {
  for (const Warpgroup& group : warpgroups)
    if (!group.tiles.empty()) fault("the block exits while a wgmma is in flight");
  begin_wgmma();
}

void wgmma_fence() {
  warpgroup_rank("wgmma.fence");
  begin_if_needed();
  threads[thread_rank()].fenced = true;
}

void wgmma(const WarpgroupMma& mma) {
  const int rank = warpgroup_rank("wgmma"), t = thread_rank() % kThreads;
  begin_if_needed();
  Warpgroup& group = warpgroups[rank];
  group.operands[t] = mma;
  if (mma.a != nullptr) std::copy_n(mma.a, 4, group.a_registers[t].begin());
  if (!group.rendezvous.arrive(kThreads, "wgmma")) return;
  issue(group, rank * kThreads);
  group.rendezvous.release();
}

void wgmma_commit() {
  warpgroup_rank("wgmma.commit_group");
  begin_if_needed();
  ThreadProducts& own = threads[thread_rank()];
  own.groups.push_back(own.issued);
}

void wgmma_wait(int num_pending_groups) {
  const int rank = warpgroup_rank("wgmma.wait_group"), t = thread_rank() % kThreads;
  begin_if_needed();
  // All threads have their turns: whoever was told too early that the operands are free overwrites them now. Two
  // rounds, because threads reach this place in two.
  take_turns();
  take_turns();
  ThreadProducts& own = threads[thread_rank()];
  uint64_t covered = 0;
  for (; own.groups.size() > static_cast<size_t>(num_pending_groups); own.groups.pop_front())
    covered = own.groups.front();
  Warpgroup& group = warpgroups[rank];
  for (; !group.in_flight.empty() && group.in_flight.front().number <= covered; group.in_flight.pop_front()) {
    compute(group.in_flight.front());
    for (const uint32_t address : group.in_flight.front().a) shared_bytes().release(address, 2);
    for (const uint32_t address : group.in_flight.front().b) shared_bytes().release(address, 2);
  }
  for (const std::shared_ptr<Tile>& tile : group.tiles) {
    if (tile->last_product > covered || tile->returned[t]) continue;
    return_accumulators(*tile, t, rank * kThreads);
    own.fenced = false;
  }
  std::erase_if(group.tiles, [](const std::shared_ptr<Tile>& tile) {
    return std::all_of(tile->returned.begin(), tile->returned.end(), std::identity{});
  });
}

}  // namespace sy::cuda_sim
