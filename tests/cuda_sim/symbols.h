// Names of this program's own addresses, for reports: from its symbol table and its debug lines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace sy::cuda_sim {

// Where the program's image begins in memory.
uintptr_t image_base();
// Whether [address, address + bytes) is constant data of the image.
bool is_constant(uintptr_t address, size_t bytes);

// The thread_local variables of the program, ascending by their offset in the thread's block of them.
struct ThreadVariable {
  size_t offset, bytes;
  std::string name;
};
const std::vector<ThreadVariable>& thread_variables();

// Place of the statement before a return address ("combine.cu:54"), and the function that begins at an address. Both
// run addr2line; without it, they are offsets in the image.
std::string statement_before(uintptr_t return_address);
std::string function_at(uintptr_t address);

}  // namespace sy::cuda_sim
