// No kernel and no op takes a per-step scalar by value: learning rate, step, loss denominators and the clip coefficient
// reach the device through StepState* alone, so that a captured graph stays right from step to step.
//
// The test reads the contracts as text: every args struct of kernels/*/*.h and every declaration of csrc/ops/*.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

using Strings = std::vector<std::string>;

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string without_comments(const std::string& text) { return std::regex_replace(text, std::regex("//[^\n]*"), ""); }

// Names of by-value scalars in a statement "double a = 1, b = 2" (struct member or parameter); none for pointers.
Strings scalar_names(const std::string& statement) {
  static const std::regex declaration(
      R"(^\s*(?:const\s+)?(?:double|float|bool|u?int(?:8|16|32|64)?(?:_t)?|std::size_t|size_t|A|T|Acc<T>)\s+([^*&]*)$)");
  std::smatch match;
  if (!std::regex_match(statement, match, declaration)) return {};
  Strings names;
  std::stringstream list(match[1].str());
  for (std::string item; std::getline(list, item, ',');) {
    std::smatch name;
    if (std::regex_search(item, name, std::regex(R"(^\s*(\w+))"))) names.push_back(name[1]);
  }
  return names;
}

struct Scalar {
  std::string owner, name;
};

// Functions keep their declarations only.
std::string without_bodies(const std::string& text) {
  static const std::regex head(R"(\)\s*(?:const\s*)?\{)");
  std::string out, rest = text;
  for (std::smatch match; std::regex_search(rest, match, head);) {
    out += match.prefix().str() + ");";
    std::size_t end = static_cast<std::size_t>(match.position() + match.length());
    for (int depth = 1; depth > 0 && end < rest.size(); ++end)
      depth += rest[end] == '{' ? 1 : rest[end] == '}' ? -1 : 0;
    rest.erase(0, end);
  }
  return out + rest;
}

// Members of every struct in the text.
std::vector<Scalar> struct_scalars(const std::string& source, int& structs) {
  const std::string text = without_bodies(without_comments(source));
  static const std::regex structure(R"(struct\s+(\w+)[^;{}()]*\{([^{}]*)\})");
  std::vector<Scalar> found;
  for (std::sregex_iterator it(text.begin(), text.end(), structure), end; it != end; ++it) {
    ++structs;
    std::stringstream body((*it)[2].str());
    for (std::string member; std::getline(body, member, ';');) {
      std::replace(member.begin(), member.end(), '\n', ' ');
      for (const std::string& name : scalar_names(member)) found.push_back({(*it)[1], name});
    }
  }
  return found;
}

// Parameters of every function declared in the text.
std::vector<Scalar> parameter_scalars(const std::string& source, int& functions) {
  std::string text = without_comments(source);
  std::replace(text.begin(), text.end(), '\n', ' ');
  static const std::regex function(R"((\w+)\(([^()]*)\))");
  std::vector<Scalar> found;
  for (std::sregex_iterator it(text.begin(), text.end(), function), end; it != end; ++it) {
    ++functions;
    std::stringstream list((*it)[2].str());
    for (std::string parameter; std::getline(list, parameter, ',');)
      for (const std::string& name : scalar_names(parameter)) found.push_back({(*it)[1], name});
  }
  return found;
}

// Names of StepState itself, and other names that such values go by.
std::set<std::string> per_step_names() {
  int structs = 0;
  std::set<std::string> names = {
      "lr",           "step_size",     "iteration",   "num_steps",       "step_index",       "loss_scale",
      "grad_scale",   "clip",          "clip_scale",  "grad_norm",       "inv_tokens",       "loss_tokens",
      "batch_tokens", "global_tokens", "denominator", "bias_correction", "bias_correction1", "bias_correction2",
      "skip_update",  "consumed"};
  for (const Scalar& s : struct_scalars(read_file(SY_SOURCE_DIR "/kernels/step_state.h"), structs))
    names.insert(s.name);
  return names;
}

Strings offences(const std::vector<Scalar>& scalars, const std::set<std::string>& forbidden) {
  Strings bad;
  for (const Scalar& s : scalars)
    if (forbidden.contains(s.name) || s.name.rfind("inv_", 0) == 0) bad.push_back(s.owner + "." + s.name);
  return bad;
}

TEST(PerStepScalars, TheScanKnowsTheFieldsOfStepState) {
  const std::set<std::string> names = per_step_names();
  for (const char* field : {"step", "consumed_samples", "seed", "learning_rate", "inv_loss_tokens", "inv_batch_tokens",
                            "grad_norm_squared", "clip_coefficient", "skip", "stop_requested"})
    EXPECT_TRUE(names.contains(field)) << field;
}

TEST(PerStepScalars, TheScanFindsThemInStructsAndParameters) {
  int structs = 0, functions = 0;
  const std::set<std::string> forbidden = per_step_names();
  const std::string bad = R"(
    // double learning_rate in a comment is none
    struct Update : Base {
      const float* grad = nullptr;   // grad_norm
      const StepState* state = nullptr;
      const int64_t* step = nullptr;
      int64_t count = 0,
              step = 0;
      double beta1 = 0.9, learning_rate = 0;
      float inv_rows = 1;
      Work work() const { return {.flops = 2.0 * count, .bytes = bytes_of<A>(count)}; }
    };
    template <class A> struct Other { A clip_coefficient; double lr_scale = 1; bool skip = false; };
    Var loss(Context& ctx, const Var& x, double inv_loss_tokens, const Tensor& slot,
             int64_t step);
  )";
  EXPECT_EQ(
      offences(struct_scalars(bad, structs), forbidden),
      (Strings{"Update.step", "Update.learning_rate", "Update.inv_rows", "Other.clip_coefficient", "Other.skip"}));
  EXPECT_EQ(structs, 2);
  EXPECT_EQ(offences(parameter_scalars(bad, functions), forbidden), (Strings{"loss.inv_loss_tokens", "loss.step"}));
}

TEST(PerStepScalars, NoKernelTakesOneByValue) {
  const std::set<std::string> forbidden = per_step_names();
  int structs = 0;
  std::size_t scalars = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(SY_SOURCE_DIR "/kernels")) {
    if (entry.path().extension() != ".h" || entry.path().filename() == "step_state.h") continue;
    const std::vector<Scalar> found = struct_scalars(read_file(entry.path()), structs);
    scalars += found.size();
    EXPECT_EQ(offences(found, forbidden), Strings{}) << entry.path() << ": pass a StepState* instead";
  }
  // Far fewer means that the scan no longer reads the contracts.
  EXPECT_GT(structs, 40);
  EXPECT_GT(scalars, 150u);
}

TEST(PerStepScalars, NoOpTakesOneByValue) {
  const std::set<std::string> forbidden = per_step_names();
  int functions = 0;
  std::size_t scalars = 0;
  for (const auto& entry : std::filesystem::directory_iterator(SY_SOURCE_DIR "/csrc/ops")) {
    if (entry.path().extension() != ".h") continue;
    const std::vector<Scalar> found = parameter_scalars(read_file(entry.path()), functions);
    scalars += found.size();
    EXPECT_EQ(offences(found, forbidden), Strings{}) << entry.path() << ": read ctx.step_state() in the kernel";
    int structs = 0;
    EXPECT_EQ(offences(struct_scalars(read_file(entry.path()), structs), forbidden), Strings{}) << entry.path();
  }
  EXPECT_GT(functions, 20);
  EXPECT_GT(scalars, 10u);
}

}  // namespace
