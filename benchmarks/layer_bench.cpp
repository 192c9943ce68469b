// layer_bench: the whole MoE layer of a model's YAML, forward (hidden states to output) and forward with backward
// (gradients of x, router and experts), with the layer's own router, losses and shared experts.
//
// The router is made to follow a routing: feature 0 of every token is 1 and the router's weights on it are the
// logarithm of the experts' popularity, so that uniform noise of the other features decides between equally popular
// ones. To a router `uniform` and `multinomial` are the same, and `hot` sends every token to expert 0.
// FLOPs are 6 T K n d forward and 18 T K n d with backward (routed experts only; nothing recomputed or padded).
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <optional>

#include "benchmarks/harness/options.h"
#include "benchmarks/harness/pattern.h"
#include "benchmarks/harness/report.h"
#include "benchmarks/harness/routing_cases.h"
#include "benchmarks/harness/sampled_check.h"
#include "csrc/autograd/tape.h"
#include "csrc/io/safetensors.h"
#include "csrc/moe/layer.h"
#include "trainer/config.h"

namespace sy::bench {
namespace {

constexpr uint64_t kSeed = 1;

class Layer {
 public:
  Layer(const Options& options, const Config& config, const std::string& routing)
      : ctx_(make_context(options)), parameters_(*ctx_, dtype_of(options)), tokens_(options.tokens) {
    const int64_t hidden = config.model.hidden_size, layer = config.moe.first_k_dense_replace;
    moe::MoeLayerPlan plan;
    plan.expert_intermediate_sizes.assign(static_cast<std::size_t>(config.moe.num_experts),
                                          config.moe.moe_intermediate_size);
    plan.num_experts_per_tok = config.moe.num_experts_per_tok;
    plan.shared_expert_intermediate_size = config.moe.shared_expert_intermediate_size;
    moe_ = std::make_unique<moe::MoeLayer>(config.moe.methods, plan,
                                           moe::LayerBuild{.parameters = &parameters_,
                                                           .prefix = "mlp",
                                                           .layer = layer,
                                                           .hidden_size = hidden,
                                                           .vocab_size = config.model.vocab_size,
                                                           .initializer_range = 0.02,
                                                           .seed = kSeed});
    parameters_.make_training_buffers();
    parameters_.initialise(kSeed);
    sink_ = std::make_unique<LossSink>(*ctx_);
    const DType dtype = dtype_of(options);
    x_ = Pattern(1, 1.0).tensor(*ctx_, {tokens_, hidden}, dtype);
    dy_ = Pattern(2, 0.01).tensor(*ctx_, {tokens_, hidden}, dtype);
    follow(routing, config.moe);
    token_id_ = ctx_->zeros({tokens_}, DType::i32, MemoryKind::data);
    sample_id_ = ctx_->zeros({1}, DType::i64, MemoryKind::data);
  }

  Context& ctx() { return *ctx_; }
  Tensor forward() {
    const moe::RouterInput in = input(false);
    ctx_->training = true;
    const Var y = moe_->forward(*ctx_, in, *sink_);
    ctx_->training = false;
    return y.value();
  }
  // Returns dx; gradients of parameters accumulate.
  Tensor forward_backward() {
    const moe::RouterInput in = input(true);
    Tape tape;
    ctx_->tape = &tape;
    ctx_->training = true;
    moe_->forward(*ctx_, in, *sink_).add_grad(*ctx_, dy_);
    tape.backward();
    ctx_->tape = nullptr;
    ctx_->training = false;
    return in.x_TD.grad();
  }
  // Largest expert's share of the assignments of one forward pass.
  double largest_share() {
    moe_->reset_stats(*ctx_);
    forward();
    int64_t all = 0, largest = 0;
    for (const int64_t n : ctx_->to_host<int64_t>(moe_->stats().demand_E)) all += n, largest = std::max(largest, n);
    return static_cast<double>(largest) / static_cast<double>(all);
  }
  int64_t parameter_count() const {
    int64_t count = 0;
    for (const Parameter& p : parameters_.all()) count += p.value.count();
    return count;
  }
  std::vector<double> values(const Tensor& t) {
    return dispatch_float(t.dtype(), [&]<class T>() {
      const std::vector<T> typed = ctx_->to_host<T>(t);
      return std::vector<double>(typed.begin(), typed.end());
    });
  }
  // Another layer's values; this one is f64.
  void take_parameters(Layer& other) {
    for (const Parameter& p : other.parameters_.all())
      ctx_->copy_from_host(parameters_.find(p.name)->value, other.values(p.value).data());
  }
  // Inputs, parameters and our results, for peers in other programs (benchmarks/peers/moe_layer.py).
  void write_case(const std::string& path) {
    const Tensor y = forward();
    parameters_.zero_gradients();
    const Tensor dx = forward_backward();
    std::vector<std::pair<std::string, Tensor>> tensors = {{"x", x_}, {"dy", dy_}, {"y", y}, {"dx", dx}};
    for (const Parameter& p : parameters_.all()) {
      tensors.emplace_back(p.name, p.value);
      tensors.emplace_back("grad." + p.name, p.grad);
    }
    std::vector<std::vector<uint8_t>> bytes;
    std::vector<NamedTensor> named;
    for (const auto& [name, tensor] : tensors) {
      bytes.emplace_back(static_cast<std::size_t>(tensor.bytes()));
      ctx_->copy_to_host(bytes.back().data(), tensor);
      named.push_back({name, {tensor.dtype(), tensor.shape(), bytes.back().data()}});
    }
    write_safetensors(path, named, {{"num_experts_per_tok", fmt::format("{}", k_)}});
  }

 private:
  moe::RouterInput input(bool requires_grad) {
    return {.x_TD = Var(x_, requires_grad),
            .token_id_T = token_id_,
            .sample_id_B = sample_id_,
            .sequences = 1,
            .seq_length = tokens_,
            .layer = 0};
  }
  // x[:, 0] = 1 and gate[:, 0] = log popularity; the rest of the gate gives logits of unit variance.
  void follow(const std::string& routing, const MoeConfig& moe) {
    k_ = moe.num_experts_per_tok;
    Parameter* gate = parameters_.find("mlp.gate.weight");
    if (gate == nullptr) user_error("layer_bench needs a router with a gate; this one has none");
    const int64_t hidden = x_.dim(1);
    dispatch_float(x_.dtype(), [&]<class T>() {
      std::vector<T> x = ctx_->to_host<T>(x_);
      for (int64_t t = 0; t < tokens_; ++t) x[static_cast<std::size_t>(t * hidden)] = T(Acc<T>(1));
      ctx_->copy_from_host(x_, x.data());
    });
    std::vector<double> likelihood = popularity(routing, moe.num_experts, k_);
    if (routing == "hot") likelihood[0] = 1e3;
    const Pattern noise(3, 1.0 / std::sqrt(static_cast<double>(hidden)));
    dispatch_float(gate->value.dtype(), [&]<class T>() {
      std::vector<T> values(static_cast<std::size_t>(gate->value.count()));
      for (std::size_t i = 0; i < values.size(); ++i) {
        const auto expert = i / static_cast<std::size_t>(hidden);
        const bool is_bias = i % static_cast<std::size_t>(hidden) == 0;
        const double bias = likelihood[expert] > 0 ? std::log(likelihood[expert]) : -30.0;
        values[i] = T(static_cast<Acc<T>>(is_bias ? bias : noise(static_cast<int64_t>(i))));
      }
      ctx_->copy_from_host(gate->value, values.data());
    });
  }

  std::unique_ptr<Context> ctx_;
  ParameterList parameters_;
  int64_t tokens_, k_ = 1;
  std::unique_ptr<moe::MoeLayer> moe_;
  std::unique_ptr<LossSink> sink_;
  Tensor x_, dy_, token_id_, sample_id_;
};

// The layer's y and dx beside those of the layer in f64 on the CPU with the same values, on at most 64 tokens. Nothing
// if that would need more than 16 GB.
std::optional<CheckResult> check_against_f64(Options options, const Config& config, const std::string& routing) {
  options.tokens = std::min<int64_t>(options.tokens, 64);
  Layer layer(options, config, routing);
  if (16 * layer.parameter_count() > 16'000'000'000) return std::nullopt;
  Options exact = options;
  exact.device = "cpu";
  exact.dtype = "f64";
  Layer reference(exact, config, routing);
  reference.take_parameters(layer);
  CheckResult result;
  const auto compare = [&](const Tensor& actual, const Tensor& expected) {
    const std::vector<double> a = layer.values(actual), e = reference.values(expected);
    double squares = 0, differences = 0, largest = 0, largest_difference = 0;
    for (std::size_t i = 0; i < e.size(); ++i) {
      const double difference = std::abs(a[i] - e[i]);
      squares += e[i] * e[i], differences += difference * difference;
      largest = std::max(largest, std::abs(e[i])), largest_difference = std::max(largest_difference, difference);
    }
    result.max_error = std::max(result.max_error, largest_difference / largest);
    result.norm_error = std::max(result.norm_error, std::sqrt(differences / squares));
  };
  compare(layer.forward(), reference.forward());
  compare(layer.forward_backward(), reference.forward_backward());
  // Half a dozen roundings to the type one after the other, and sums over d and n.
  const DType dtype = dtype_of(options);
  const double bound = dtype == DType::bf16 ? 2e-2 : dtype == DType::f32 ? 1e-5 : 1e-12;
  result.passed = result.max_error <= bound && result.norm_error <= bound;
  return result;
}

int run(int argc, char** argv) {
  CLI::App app("Times the MoE layer of a model, forward and with backward", "layer_bench");
  Options options;
  std::string model = "configs/models/qwen3_30b_a3b.yaml", case_file;
  std::vector<std::string> overrides;
  add_options(app, options);
  app.add_option("--model", model, "YAML of the model")->capture_default_str();
  app.add_option("--write-case", case_file, "write operands and results of the first routing as safetensors, and end");
  app.add_option("overrides", overrides, "key.sub=value, as for switchyard train");
  CLI11_PARSE(app, argc, argv);
  const Config config = load_config(model, overrides);
  if (config.moe.num_experts == 0) user_error("{}: the model has no experts of one kind (moe.num_experts)", model);

  if (!case_file.empty()) {
    Layer(options, config, options.routings[0]).write_case(case_file);
    return 0;
  }
  ResultFiles results(options.out + "/layer",
                      device_facts(options.device == "cuda" ? DeviceType::cuda : DeviceType::cpu),
                      command_line(argc, argv));
  const auto begin = std::chrono::steady_clock::now();
  const double unit = 6.0 * static_cast<double>(options.tokens * config.moe.num_experts_per_tok) *
                      static_cast<double>(config.moe.moe_intermediate_size * config.model.hidden_size);
  for (const std::string& routing : options.routings) {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (options.time_limit_s > 0 && seconds > options.time_limit_s) {
      fmt::print(stderr, "stopped before {}: --time-limit {} s is over\n", routing, options.time_limit_s);
      break;
    }
    Layer layer(options, config, routing);
    const double share = layer.largest_share();
    const auto checked = check_against_f64(options, config, routing);
    if (!checked) fmt::print(stderr, "not checked: the f64 reference of {} needs more than 16 GB\n", model);
    if (checked && !checked->passed) {
      fmt::print(stderr, "WRONG {} {}: error {:.1e} of the largest element, {:.1e} of the norm\n", model, routing,
                 checked->max_error, checked->norm_error);
      return 1;
    }
    const auto timer = make_timer(layer.ctx());
    const std::vector<Timing> timings =
        measure(*timer, {{"forward", {[&] { layer.forward(); }}}, {"backward", {[&] { layer.forward_backward(); }}}},
                options.measure);
    const std::string names[] = {"moe_layer_forward", "moe_layer_forward_backward"};
    for (std::size_t i = 0; i < 2; ++i) {
      const kernels::Work work{.flops = unit * (i == 0 ? 1 : 3), .factor_bytes = dtype_bytes(dtype_of(options))};
      results.add({{.benchmark = names[i],
                    .shape = fmt::format("{}", std::filesystem::path(model).stem().string()),
                    .routing = fmt::format("{} ({:.1f} % to one expert)", routing, 100 * share),
                    .dtype = dtype_name(dtype_of(options)),
                    .contender = "switchyard",
                    .tokens = options.tokens,
                    .timing = timings[i],
                    .work = work,
                    .floor_us = floor_us(options, work),
                    .max_error = checked ? checked->max_error : -1,
                    .norm_error = checked ? checked->norm_error : -1}});
      fmt::print("{} {}: {:.1f} us\n", names[i], routing, timings[i].median_us);
    }
  }
  return 0;
}

}  // namespace
}  // namespace sy::bench

int main(int argc, char** argv) {
  return sy::bench::run_program("layer_bench", [&] { return sy::bench::run(argc, argv); });
}
