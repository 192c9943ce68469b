// Memory of the simulated device and pinned host memory: what is allocated, and from when to when it may be used.
//
// All of it is heap memory. What nobody may read holds 0xff bytes (NaN as floats): before the first write, before a
// stream-ordered allocation took place, and after a free. Freed blocks rest before the heap gets them back, so that who
// still reads one finds NaN and who writes one is found out; ASan reports both at the access.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace sy::cuda_sim {

enum class Space : uint8_t { kDevice, kPinned };

// Null when there is no memory left.
void* allocate(size_t bytes, Space space);
// Stream-ordered allocation: the address exists now, its memory from begin_use() on.
void* promise(size_t bytes);
void begin_use(void* address);
// Freeing, in two parts that stream order may separate. False: no block of this space begins there, or it was claimed
// before.
bool claim_free(void* address, Space space);
void release(void* address);

// Whether [address, address + bytes) lies inside one block of device memory, or `address` in no block at all.
bool is_device(const void* address, size_t bytes);
bool is_pageable(const void* address);

// Faults: [address, address + bytes) touches a block that does not exist yet, or no longer.
void check_usable(const char* what, const void* address, size_t bytes);
// Faults: somebody wrote into a block that rests.
void check_freed_memory();

// All device memory that may be used now, block by block.
std::vector<std::span<unsigned char>> device_blocks();

// Bytes of simulated device memory that are allocated now: from the call that allocates to the moment a free runs.
int64_t device_bytes_in_use();

}  // namespace sy::cuda_sim
