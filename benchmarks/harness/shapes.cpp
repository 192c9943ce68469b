#include "benchmarks/harness/shapes.h"

#include <fmt/ranges.h>

#include <cstdio>

namespace sy::bench {

std::vector<MoeShape> named_shapes() {
  std::vector<MoeShape> shapes = {{"mixtral_8x7b", 4096, 14336, 8, 2},
                                  {"qwen3_30b_a3b", 2048, 768, 128, 8},
                                  {"olmoe_1b_7b", 2048, 1024, 64, 8},
                                  {"deepseek_v3", 7168, 2048, 32, 8},
                                  {"qwen3_next", 2048, 512, 512, 10}};
  const int64_t sonic[][4] = {{768, 256, 128, 8},  {768, 512, 64, 4},    {768, 1024, 32, 2},   {1536, 256, 128, 8},
                              {1536, 512, 64, 4},  {1536, 1024, 32, 2},  {4096, 256, 256, 16}, {4096, 512, 128, 8},
                              {4096, 1024, 64, 4}, {4096, 512, 256, 16}, {4096, 1024, 128, 8}, {4096, 2048, 64, 4}};
  for (const auto& s : sonic)
    shapes.push_back({fmt::format("sonic_{}_{}_{}_{}", s[0], s[1], s[2], s[3]), s[0], s[1], s[2], s[3]});
  return shapes;
}

std::vector<MoeShape> find_shapes(const std::string& text) {
  const std::vector<MoeShape> all = named_shapes();
  if (text == "all") return all;
  if (text == "core") return {all[0], all[1], all[2]};
  std::vector<std::string> names;
  for (const MoeShape& s : all) {
    if (s.name == text) return {s};
    names.push_back(s.name);
  }
  long d = 0, n = 0, e = 0, k = 0;
  int end = 0;
  if (std::sscanf(text.c_str(), "%ld,%ld,%ld,%ld%n", &d, &n, &e, &k, &end) == 4 &&
      text[static_cast<size_t>(end)] == 0 && d > 0 && n > 0 && k > 0 && e >= k)
    return {{text, d, n, e, k}};
  user_error("unknown shape '{}': use d,n,E,K as in 2048,768,128,8, or core, all, {}", text, fmt::join(names, ", "));
}

}  // namespace sy::bench
