#include "trainer/merge.h"

namespace sy {

void describe(MergeConfig& c, Fields& f) {
  describe(c.recipe, f);
  f.field("method", c.method, "how the inputs become one", {.required = true});
  f.field("base", c.base, "the checkpoint that the inputs were fine-tuned from, for methods that add differences");
  describe(c.samples, f);
}

DerivationReport merge(const MergeConfig& config) {
  const MergedModel source({.key = "method", .method = config.method, .base = config.base, .samples = config.samples},
                           config.recipe);
  if (!source.reads_samples() && !config.samples.data_path.empty())
    user_error("sample_data_path: '{}' has no effect, {} looks at weights alone; remove it",
               config.samples.data_path.front(), config.method.type());
  return write_derived_model({.command = "merge",
                              .recipe_text = recipe_text(config),
                              .recipe = &config.recipe,
                              .inputs = &source.models(),
                              .config = derived_config(source.models().front().config(), config.recipe.output),
                              .source = &source,
                              .remark = source.remark()});
}

int run_merge(int argc, char** argv, Comm& comm) {
  return run_recipe(argc, argv, comm, "merge", "Make one checkpoint of several of one architecture",
                    [](const std::string& path, const std::vector<std::string>& overrides) {
                      merge(load_recipe<MergeConfig>(path, overrides));
                    });
}

}  // namespace sy
