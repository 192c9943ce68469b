// Uses one function of every library that scripts/setup unpacks: an MPI sum over ranks, YAML, JSON, a hash, Unicode,
// expressions.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/core.h>
#include <mpi.h>
#include <pcre2.h>
#include <utf8proc.h>
#include <xxhash.h>
#include <yaml-cpp/yaml.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <nlohmann/json.hpp>

int main(int argc, char** argv) {
  CLI::App app{"probe"};
  MPI_Init(&argc, &argv);
  int rank = 0, world = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &world);
  int sum = 0;
  int one = rank + 1;
  MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  fmt::print("rank {} of {} sum {} yaml {} json {} hash {} utf8proc {} pcre2 {} app {}\n", rank, world, sum,
             YAML::Load("a: 3")["a"].as<int>(), nlohmann::json{{"b", 4}}.dump(), XXH64("x", 1, 0), utf8proc_version(),
             pcre2_config(PCRE2_CONFIG_JIT, nullptr), app.get_description());
  MPI_Finalize();
}
