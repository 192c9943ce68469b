// Comm: collectives over a group of ranks, on typed spans (never byte counts). Sums only: nothing is divided by a
// group size. Implementations: one rank (comm_single.cpp), MPI (comm_mpi.cpp, or no_mpi.cpp in a build without it).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace sy {

class Comm {
 public:
  virtual ~Comm() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // In place; every rank ends with the same bits (a fixed reduction order for a fixed number of ranks).
  virtual void all_reduce_sum(std::span<float> values) = 0;
  virtual void all_reduce_sum(std::span<double> values) = 0;
  virtual void all_reduce_sum(std::span<int64_t> values) = 0;
  virtual void broadcast(std::span<std::byte> bytes, int root) = 0;
  virtual void barrier() = 0;
  // Root gets one string per rank, in rank order; the others an empty vector.
  virtual std::vector<std::string> gather_strings(const std::string& mine, int root) = 0;
  // Every rank gets root's text.
  std::string broadcast_string(std::string text, int root);
};

std::unique_ptr<Comm> make_single_comm();

// The process's place in the job. MpiSession initialises MPI when the program was started by mpirun or srun (or when
// `force`), and finalises it last.
class MpiSession {
 public:
  MpiSession(int* argc, char*** argv);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  // The communicator of all ranks (a single one outside mpirun).
  Comm& world() { return *world_; }
  // Ends every rank at once: the only way out when one rank has failed and others would wait for it.
  void abort(int exit_code);

 private:
  std::unique_ptr<Comm> world_;
  bool active_ = false;
};

}  // namespace sy
