#include "trainer/bench_step.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>

#include "csrc/models/family.h"
#include "csrc/models/weights.h"
#include "trainer/dry_run.h"
#include "trainer/layout.h"
#include "trainer/sampler.h"
#include "trainer/session.h"
#include "trainer/train_step.h"

namespace sy {

namespace {

nlohmann::json read_json(const std::string& path) {
  std::ifstream file(path);
  if (!file) user_error("cannot read '{}'; benchmarks/peers/make_case.py writes the case", path);
  return nlohmann::json::parse(file);
}

// The case's files in our config: a Mixtral-shaped model, constant learning rate, no auxiliary loss; then `overrides`.
Config case_config(const nlohmann::json& model, const nlohmann::json& training, int64_t threads,
                   const std::vector<std::string>& overrides, int64_t num_ranks) {
  const auto text = fmt::format(
      "model: {{vocab_size: {}, hidden_size: {}, num_hidden_layers: {}, num_attention_heads: {}, num_key_value_heads: "
      "{}, "
      "head_dim: {}, rms_norm_eps: {}, rope_theta: {}, max_position_embeddings: {}}}\n"
      "moe: {{num_experts: {}, num_experts_per_tok: {}, moe_intermediate_size: {}, router: {{type: softmax_topk}}}}\n"
      "data: {{train_data_path: [unused]}}\n"
      "train: {{train_iters: {}, micro_batch_size: {}, global_batch_size: {}, seq_length: {}, seed: {}}}\n"
      "optimizer: {{lr: {}, lr_decay_style: constant, weight_decay: {}, weight_decay_on: all, adam_beta1: {}, "
      "adam_beta2: {}, "
      "adam_eps: {}, clip_grad: {}}}\n"
      "device: {{threads: {}}}\n",
      model["vocab_size"].get<int64_t>(), model["hidden_size"].get<int64_t>(),
      model["num_hidden_layers"].get<int64_t>(), model["num_attention_heads"].get<int64_t>(),
      model["num_key_value_heads"].get<int64_t>(), model["head_dim"].get<int64_t>(),
      model["rms_norm_eps"].get<double>(), model["rope_theta"].get<double>(),
      model["max_position_embeddings"].get<int64_t>(), model["num_local_experts"].get<int64_t>(),
      model["num_experts_per_tok"].get<int64_t>(), model["intermediate_size"].get<int64_t>(),
      training["steps"].get<int64_t>(), training["batch"].get<int64_t>() / num_ranks, training["batch"].get<int64_t>(),
      training["sequence"].get<int64_t>(), training["seed"].get<int64_t>(), training["learning_rate"].get<double>(),
      training["weight_decay"].get<double>(), training["beta1"].get<double>(), training["beta2"].get<double>(),
      training["epsilon"].get<double>(), training["max_grad_norm"].get<double>(), threads);
  return parse_config(text, "case", overrides, num_ranks);
}

std::vector<int32_t> read_tokens(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) user_error("cannot read '{}'", path);
  std::string bytes((std::istreambuf_iterator<char>(file)), {});
  std::vector<int32_t> tokens(bytes.size() / 4);
  std::copy_n(bytes.data(), tokens.size() * 4, reinterpret_cast<char*>(tokens.data()));
  return tokens;
}

// Assignments of the busiest expert-parallel rank over those of the mean one, averaged over the layers: what routing
// costs, as the others wait. 1: even, or one rank.
double busiest_rank_load(const StepReport& report, int64_t expert_ranks) {
  double sum = 0;
  for (const auto& moe : report.moe) {
    std::vector<double> load(static_cast<std::size_t>(expert_ranks), 0);
    const std::size_t experts_per_rank = moe.load.size() / load.size();
    double total = 0;
    for (std::size_t e = 0; e < moe.load.size(); ++e) {
      load[e / experts_per_rank] += static_cast<double>(moe.load[e]);
      total += static_cast<double>(moe.load[e]);
    }
    sum += *std::max_element(load.begin(), load.end()) * static_cast<double>(expert_ranks) / total;
  }
  return sum / static_cast<double>(report.moe.size());
}

}  // namespace

int run_bench(int argc, char** argv, Comm& comm) {
  CLI::App app("Time full training steps on a shared case; prints one line of json", "switchyard bench");
  std::string what, directory = "build/peers_case";
  std::vector<std::string> overrides;
  int64_t threads = 0;
  bool no_overlap = false;
  app.add_option("what", what, "step")->required()->check(CLI::IsMember({"step"}));
  app.add_option("overrides", overrides, "section.key=value, such as parallel.expert_model_parallel_size=2");
  app.add_option("--case", directory, "written by benchmarks/peers/make_case.py");
  app.add_option("--threads", threads, "CPU threads per rank; 0: the cores this rank may use");
  app.add_flag("--no-overlap", no_overlap, "await every transfer where it starts, to see what hiding transfers gains");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  const auto model = read_json(directory + "/config.json"), training = read_json(directory + "/case.json");
  const int64_t batch = training["batch"], length = training["sequence"], steps = training["steps"];
  const Config config = case_config(model, training, threads, overrides, comm.size());
  const std::vector<int32_t> tokens = read_tokens(directory + "/tokens.bin");

  const std::unique_ptr<Mesh> mesh = make_mesh(config, comm);
  const auto ctx = make_context(config, *mesh);
  ctx->overlap = !no_overlap;
  Decoder decoder(*ctx, config.model, config.moe, {.dtype = training_dtype(config.train.dtype)});
  decoder.parameters().make_training_buffers(config.parallel.ddp_bucket_size);
  const auto mixtral = make_family("mixtral", directory);
  load_weights(*ctx, decoder, SafetensorsReader(directory + "/weights.safetensors"),
               [&](const std::string& ours) { return mixtral->name_in_file(ours); });
  Optimizer optimizer(*ctx, decoder, config.optimizer);
  TrainStep step(*ctx, decoder, optimizer, length);
  const Sampler sampler(config.train.micro_batch_size, batch, mesh->data().size(), mesh->data_rank());

  const std::vector<int32_t> start(static_cast<std::size_t>(length), 0);
  std::vector<double> losses, seconds;
  double busiest = 1;
  for (int64_t s = 1; s <= steps; ++s) {
    comm.barrier();
    const auto begin = std::chrono::steady_clock::now();
    const auto fill = [&](int64_t wave, BatchBuilder& builder) {
      const int64_t first = sampler.first_sample((s - 1) * batch, sampler.micro_batch(wave));
      for (int64_t sample = first; sample < first + sampler.micro_batch_size(); ++sample) {
        const int32_t* row = tokens.data() + sample * (length + 1);
        builder.add(row, row + 1, start.data(), sample);
      }
    };
    const StepReport report = step.run(s, config.optimizer.lr, (s - 1) * batch, sampler.num_waves(), fill);
    comm.barrier();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    losses.push_back(report.lm_loss);
    busiest = busiest_rank_load(report, config.parallel.expert_model_parallel_size);
  }
  std::vector<double> timed(seconds.begin() + training["warmup_steps"].get<int64_t>(), seconds.end());
  std::nth_element(timed.begin(), timed.begin() + static_cast<std::ptrdiff_t>(timed.size() / 2), timed.end());
  const double median = timed[timed.size() / 2];
  const double rate = static_cast<double>(batch * length) / median;
  const nlohmann::json out = {{"tokens_per_second", rate},
                              {"tflops", rate * model_size(config).training_flops_per_token * 1e-12},
                              {"step_seconds", median},
                              {"loss_step20", losses.back()},
                              {"losses", losses},
                              {"peak_bytes", ctx->allocator().use().total_peak_bytes},
                              {"busiest_rank_load", busiest}};
  if (comm.rank() == 0) fmt::print("{}\n", out.dump());
  return 0;
}

}  // namespace sy
