// For tests of meshes: meshes of fewer ranks than the world, and files that all ranks see.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "tests/csrc/io/io_testing.h"
#include "tests/parallel/mpi_main.h"

namespace sy::testing {

// Runs `work` on the first `ranks` ranks of the world, with a communicator of their own.
inline void on_first_ranks(int64_t ranks, const std::function<void(Comm&)>& work) {
  Comm& world = mpi_world();
  const bool takes_part = world.rank() < ranks;
  const auto comm = world.split(takes_part ? 0 : 1, world.rank(), "first ranks");
  if (takes_part) work(*comm);
  world.barrier();
}

// A folder that all ranks of the world see; rank 0 makes and deletes it.
class SharedDir {
 public:
  SharedDir() {
    if (mpi_world().rank() == 0) own_ = std::make_unique<TempDir>();
    path_ = mpi_world().broadcast_string(own_ ? own_->path() : "", 0);
  }
  ~SharedDir() { mpi_world().barrier(); }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::unique_ptr<TempDir> own_;
  std::string path_;
};

}  // namespace sy::testing
