#include "trainer/methods.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "csrc/merging/merging.h"
#include "csrc/models/family.h"
#include "csrc/moe/layer.h"
#include "csrc/upcycling/upcycling.h"
#include "trainer/config.h"
#include "trainer/recipe_reference.h"

namespace sy {

namespace {

template <class Interface>
void list(const char* seam) {
  fmt::print("{}\n", seam);
  for (const std::string& name : Registry<Interface>::instance().names())
    fmt::print("  {:<18} {}\n", name, Registry<Interface>::instance().find(name)->summary);
}

}  // namespace

int run_methods(int argc, char** argv) {
  CLI::App app("List the registered methods of every seam", "switchyard methods");
  bool reference = false, recipes = false;
  app.add_flag("--reference", reference, "print the configuration reference (Markdown) instead");
  app.add_flag("--recipes", recipes, "print the reference of upcycling and merging recipes (Markdown) instead");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (reference || recipes) {
    fmt::print("{}", recipes ? recipe_reference() : config_reference());
    return 0;
  }
  list<moe::Router>("moe.router");
  list<moe::Capacity>("moe.capacity");
  list<moe::Experts>("moe.experts");
  list<moe::Balance>("moe.balance");
  list<moe::Hook>("moe.hooks");
  list<Family>("model families (Hugging Face model_type)");
  list<upcycling::Upcycling>("upcycle");
  list<merging::Merging>("merge");
  return 0;
}

}  // namespace sy
