// Simulated generic accesses to shared memory by address: stores, ldmatrix, stmatrix, the proxy fence.
#include <array>

#include "tests/cuda_sim/device.h"
#include "tests/cuda_sim/units.h"

namespace sy::cuda_sim {

namespace {

// Element (row, column) of an 8 x 8 matrix in the registers of a warp: the lane, and which half of its register.
struct Place {
  int lane, half;
};
Place place_of(int row, int column, bool transposed) {
  const int along = transposed ? row : column, across = transposed ? column : row;
  return {across * 4 + along / 2, along % 2};
}

// What the 32 lanes of each warp bring to a matrix instruction.
struct WarpOperands {
  std::array<uint32_t, 32> address;
  std::array<std::array<uint32_t, 4>, 32> registers;
};
std::array<WarpOperands, kMaxThreadsPerBlock / 32> operands;

WarpOperands& operands_of_warp() { return operands[static_cast<size_t>(thread_rank()) / 32]; }
void converge() { warp_collective(Collective::kSync, 0xffffffffu, 0, 0, Site::current()); }

}  // namespace

uint32_t shared_address(const void* pointer) { return shared_bytes().address_of(pointer); }

void store_shared(uint32_t address, const void* values, uint32_t count) {
  shared_bytes().at(address, count, count, "a store to shared memory");
  shared_bytes().write(address, values, count, thread_rank(), SharedBytes::Writer::kStore);
}

void proxy_fence() { shared_bytes().proxy_fence(thread_rank()); }

void load_matrices(uint32_t row_address, uint32_t* registers, int num, bool transposed) {
  WarpOperands& all = operands_of_warp();
  all.address[lane_id()] = row_address;
  converge();
  for (int m = 0; m < num; ++m) {
    registers[m] = 0;
    for (int row = 0; row < 8; ++row) {
      shared_bytes().at(all.address[m * 8 + row], 16, 16, "ldmatrix");
      uint16_t elements[8];
      shared_bytes().read(all.address[m * 8 + row], elements, 16);
      for (int column = 0; column < 8; ++column) {
        const Place p = place_of(row, column, transposed);
        if (p.lane == lane_id()) registers[m] |= static_cast<uint32_t>(elements[column]) << (16 * p.half);
      }
    }
  }
  converge();
}

void store_matrices(uint32_t row_address, const uint32_t* registers, int num, bool transposed) {
  WarpOperands& all = operands_of_warp();
  for (int m = 0; m < num; ++m) all.registers[lane_id()][m] = registers[m];
  converge();
  if (lane_id() < 8 * num) {
    uint16_t elements[8];
    for (int column = 0; column < 8; ++column) {
      const Place p = place_of(lane_id() % 8, column, transposed);
      elements[column] = static_cast<uint16_t>(all.registers[p.lane][lane_id() / 8] >> (16 * p.half));
    }
    shared_bytes().at(row_address, 16, 16, "stmatrix");
    shared_bytes().write(row_address, elements, 16, thread_rank(), SharedBytes::Writer::kStore);
  }
  converge();
}

}  // namespace sy::cuda_sim
