#include "csrc/upcycling/router_fit.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "csrc/core/check.h"
#include "csrc/upcycling/samples.h"

namespace sy::upcycling {

namespace {

class Adam {
 public:
  Adam(size_t count, double learning_rate) : m_(count, 0.0), v_(count, 0.0), learning_rate_(learning_rate) {}
  void step(std::vector<double>& w, const std::vector<double>& gradient) {
    ++steps_;
    const double bias_m = 1 - std::pow(kBeta1, steps_), bias_v = 1 - std::pow(kBeta2, steps_);
    for (size_t i = 0; i < w.size(); ++i) {
      m_[i] = kBeta1 * m_[i] + (1 - kBeta1) * gradient[i];
      v_[i] = kBeta2 * v_[i] + (1 - kBeta2) * gradient[i] * gradient[i];
      w[i] -= learning_rate_ * (m_[i] / bias_m) / (std::sqrt(v_[i] / bias_v) + 1e-8);
    }
  }

 private:
  static constexpr double kBeta1 = 0.9, kBeta2 = 0.999;
  std::vector<double> m_, v_;
  double learning_rate_;
  int64_t steps_ = 0;
};

// Inputs and targets of some tokens, and the loss of rows on them.
struct Examples {
  std::vector<float> x_TD;
  std::vector<double> target_TE;
  size_t experts, width;

  Examples(std::span<const float> all_x, std::span<const double> all_targets, std::span<const int64_t> order,
           size_t num_experts, size_t hidden_size)
      : experts(num_experts), width(hidden_size) {
    for (const int64_t token : order) {
      const auto x = all_x.subspan(static_cast<size_t>(token) * width, width);
      const auto target = all_targets.subspan(static_cast<size_t>(token) * experts, experts);
      x_TD.insert(x_TD.end(), x.begin(), x.end());
      target_TE.insert(target_TE.end(), target.begin(), target.end());
    }
  }

  // Summed; sets the gradient of the mean, if there is a place for it.
  double loss(const std::vector<double>& rows_ED, TokenLoss of_token, std::vector<double>* gradient_ED) const {
    const std::vector<double> z_TE = products(x_TD, rows_ED, static_cast<int64_t>(width));
    const size_t tokens = z_TE.size() / experts;
    std::vector<double> dz_E(experts);
    double total = 0;
    if (gradient_ED != nullptr) gradient_ED->assign(rows_ED.size(), 0.0);
    for (size_t t = 0; t < tokens; ++t) {
      total += of_token(std::span(target_TE).subspan(t * experts, experts),
                        std::span(z_TE).subspan(t * experts, experts), dz_E);
      if (gradient_ED == nullptr) continue;
      for (size_t e = 0; e < experts; ++e)
        for (size_t j = 0; j < width; ++j)
          (*gradient_ED)[e * width + j] +=
              dz_E[e] * static_cast<double>(x_TD[t * width + j]) / static_cast<double>(tokens);
    }
    return total;
  }
};

}  // namespace

void describe(RouterFit& c, Fields& f) {
  f.field("router_epochs", c.epochs, "passes over the samples that fit the router; 0: it keeps its start", {.min = 0});
  f.field("router_lr", c.learning_rate, "learning rate of that fit", {.min = 0, .above_min = true});
  f.field("logit_deviation", c.logit_deviation, "the fitted router's logits deviate by this much on the samples",
          {.min = 0, .above_min = true});
}

std::vector<double> fit_router(std::vector<double> rows_ED, std::span<const float> x_TD,
                               std::span<const double> target_TE, int64_t hidden_size, const RouterFit& fit,
                               TokenLoss loss, const Stream& stream) {
  const int64_t tokens = std::ssize(x_TD) / hidden_size, held_out = std::max<int64_t>(1, tokens / 10);
  if (tokens < 2) user_error("sample_data_path: {} token is too few to fit a router to; give more text", tokens);
  std::vector<int64_t> order = stream.permutation(tokens);
  const int64_t train = tokens - held_out;
  const auto examples = [&](int64_t first, int64_t count) {
    const auto chosen = std::span(order).subspan(static_cast<size_t>(first), static_cast<size_t>(count));
    return Examples(x_TD, target_TE, chosen, rows_ED.size() / static_cast<size_t>(hidden_size),
                    static_cast<size_t>(hidden_size));
  };
  const Examples last = examples(train, held_out);
  Adam adam(rows_ED.size(), fit.learning_rate);
  std::vector<double> best = rows_ED, gradient_ED;
  double lowest = last.loss(rows_ED, loss, nullptr);
  for (int64_t epoch = 0; epoch < fit.epochs; ++epoch) {
    std::vector<double> key_T(static_cast<size_t>(tokens));
    for (const int64_t t : order)
      key_T[static_cast<size_t>(t)] = stream.uniform(static_cast<uint64_t>(tokens * (epoch + 1) + t));
    std::sort(order.begin(), order.begin() + train,
              [&](int64_t a, int64_t b) { return key_T[static_cast<size_t>(a)] < key_T[static_cast<size_t>(b)]; });
    for (int64_t first = 0; first < train; first += fit.batch_size) {
      examples(first, std::min(fit.batch_size, train - first)).loss(rows_ED, loss, &gradient_ED);
      adam.step(rows_ED, gradient_ED);
    }
    const double now = last.loss(rows_ED, loss, nullptr);
    if (now >= lowest) continue;
    lowest = now;
    best = rows_ED;
  }
  set_logit_deviation(best, x_TD, hidden_size, fit.logit_deviation);
  return best;
}

double binary_cross_entropy(std::span<const double> target_E, std::span<const double> logits_E,
                            std::span<double> dlogits_E) {
  double total = 0;
  for (size_t e = 0; e < logits_E.size(); ++e) {
    const double z = logits_E[e];
    total += std::max(z, 0.0) - z * target_E[e] + std::log1p(std::exp(-std::fabs(z)));
    dlogits_E[e] = 1 / (1 + std::exp(-z)) - target_E[e];
  }
  return total;
}

std::vector<double> softmax(std::span<const double> x_E) {
  std::vector<double> p(x_E.begin(), x_E.end());
  const double largest = *std::max_element(p.begin(), p.end());
  for (double& v : p) v = std::exp(v - largest);
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& v : p) v /= total;
  return p;
}

double divergence_from(std::span<const double> target_E, std::span<const double> logits_E,
                       std::span<double> dlogits_E) {
  const std::vector<double> g = softmax(logits_E);
  double total = 0;
  for (size_t e = 0; e < g.size(); ++e) {
    dlogits_E[e] = std::log(std::max(g[e], std::numeric_limits<double>::min()) / target_E[e]);
    total += g[e] * dlogits_E[e];
  }
  for (size_t e = 0; e < g.size(); ++e) dlogits_E[e] = g[e] * (dlogits_E[e] - total);
  return total;
}

std::vector<double> smallest(std::span<const double> value_E, int64_t k) {
  std::vector<size_t> order(value_E.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return value_E[a] < value_E[b]; });
  std::vector<double> label(value_E.size(), 0.0);
  for (int64_t i = 0; i < k; ++i) label[order[static_cast<size_t>(i)]] = 1;
  return label;
}

void set_logit_deviation(std::vector<double>& rows_ED, std::span<const float> x_TD, int64_t hidden_size,
                         double deviation) {
  const std::vector<double> z_TE = products(x_TD, rows_ED, hidden_size);
  const auto experts = static_cast<std::ptrdiff_t>(rows_ED.size()) / hidden_size;
  double squares = 0;
  for (auto z = z_TE.begin(); z != z_TE.end(); z += experts) {
    const double mean = std::accumulate(z, z + experts, 0.0) / static_cast<double>(experts);
    for (auto e = z; e != z + experts; ++e) squares += (*e - mean) * (*e - mean);
  }
  const double found = std::sqrt(squares / static_cast<double>(z_TE.size()));
  if (found == 0) return;
  for (double& w : rows_ED) w *= deviation / found;
}

}  // namespace sy::upcycling
