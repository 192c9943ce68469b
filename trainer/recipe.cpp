#include "trainer/recipe.h"

#include <CLI/CLI.hpp>

namespace sy {

void describe(RecipeConfig& c, Fields& f) {
  f.field("inputs", c.inputs, "checkpoints to start from: run folders, step directories or weights-only checkpoints",
          {.required = true});
  f.field("output", c.output, "the new folder", {.required = true});
  f.field("seed", c.seed, "seed of everything that is drawn", {.min = 0});
  f.field("valid_data_path", c.valid_data_path,
          "corpora on which the inputs and the result are scored; empty: none is");
  f.field("eval_windows", c.eval_windows, "at most this many windows of them; 0: all",
          {.min = 0, .active = !c.valid_data_path.empty(), .active_when = "valid_data_path is given"});
}

int run_recipe(int argc, char** argv, Comm& comm, const std::string& command, const std::string& summary,
               const std::function<void(const std::string& path, const std::vector<std::string>& overrides)>& run) {
  CLI::App app(summary, "switchyard " + command);
  std::string path;
  std::vector<std::string> overrides;
  app.add_option("config", path, "the recipe, a YAML file")->required();
  app.add_option("overrides", overrides, "key=value or section.key=value, after the file's");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (comm.size() > 1) user_error("`switchyard {}` runs on one process, not on {}", command, comm.size());
  run(path, overrides);
  return 0;
}

}  // namespace sy
