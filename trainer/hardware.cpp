#include "trainer/hardware.h"

#include <fmt/format.h>

#include <algorithm>

#include "csrc/io/yaml_document.h"
#include "csrc/io/yaml_fields.h"

namespace sy {

namespace {

constexpr FieldRule kRate{.min = 0, .above_min = true, .required = true};

void describe_link(Link& link, Fields& f, bool required) {
  f.field("latency_us", link.latency_us, "from the start of an exchange to its first byte",
          {.min = 0, .required = required});
  f.field("gb_per_s", link.gb_per_s, "that leave a rank, 1e9 bytes",
          {.min = 0, .above_min = required, .required = required});
}

}  // namespace

void describe(Hardware& h, Fields& f) {
  f.section("matmul_tflops", "of one rank's device in large dense products, by the type of the factors.",
            [&](Fields& g) {
              g.field("bf16", h.bf16_tflops, "1e12 floating-point operations per second", kRate);
              g.field("f32", h.f32_tflops, "1e12 floating-point operations per second", kRate);
              g.field("f64", h.f64_tflops, "1e12 floating-point operations per second", kRate);
            });
  f.field("memory_gb_per_s", h.memory_gb_per_s, "that kernels read and write, 1e9 bytes", kRate);
  f.field("launch_us", h.launch_us, "what each kernel costs besides its work", {.min = 0, .required = true});
  f.field("ranks_per_node", h.ranks_per_node, "neighbouring ranks that share the faster link",
          {.min = 1, .required = true});
  f.section("inside_node", "Between ranks of one node.", [&](Fields& g) { describe_link(h.inside_node, g, true); });
  f.section("between_nodes", "Between ranks of different nodes; without it there is one node.",
            [&](Fields& g) { describe_link(h.between_nodes, g, false); });
}

Hardware load_hardware(const std::string& path, int64_t num_ranks) {
  Hardware hardware;
  read_fields(YamlDocument::from_file(path), "", [&](Fields& f) {
    describe(hardware, f);
    f.require(num_ranks <= hardware.ranks_per_node || hardware.between_nodes.gb_per_s > 0, "ranks_per_node",
              fmt::format("{} ranks are more than one node, and between_nodes.gb_per_s is not given", num_ranks));
  });
  return hardware;
}

double kernel_seconds(const Hardware& h, const kernels::Work& work) {
  const double tflops = work.factor_bytes == 2 ? h.bf16_tflops : work.factor_bytes == 4 ? h.f32_tflops : h.f64_tflops;
  return 1e-6 * h.launch_us + std::max(work.flops / (1e12 * tflops), work.bytes / (1e9 * h.memory_gb_per_s));
}

double transfer_seconds(const Hardware& h, const Transfer& transfer, const Peers& peers) {
  const int64_t all = peers.inside_node + peers.on_other_nodes;
  if (all == 0) return 0;
  const Link& slower = peers.on_other_nodes > 0 ? h.between_nodes : h.inside_node;
  const double bytes_per_peer = static_cast<double>(transfer.bytes) / static_cast<double>(all);
  const auto seconds = [&](int64_t ranks, const Link& link) {
    return ranks == 0 ? 0.0 : static_cast<double>(ranks) * bytes_per_peer / (1e9 * link.gb_per_s);
  };
  return 1e-6 * slower.latency_us * static_cast<double>(transfer.exchanges) +
         std::max(seconds(peers.inside_node, h.inside_node), seconds(peers.on_other_nodes, h.between_nodes));
}

}  // namespace sy
