// The committed page of recipe keys is the generated one, and holds every method's keys.
#include "trainer/recipe_reference.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "csrc/io/file.h"
#include "csrc/merging/merging.h"
#include "csrc/upcycling/upcycling.h"
#include "tests/csrc/io/io_testing.h"

namespace sy::testing {
namespace {

template <class Interface>
void expect_every_method(const std::string& page) {
  for (const std::string& name : Registry<Interface>::instance().names())
    EXPECT_NE(page.find("\n## method: " + name + "\n"), std::string::npos) << name;
}

// SY_UPDATE_REFERENCE=1 writes the file anew.
TEST(RecipeReference, CommittedFileIsTheGeneratedOne) {
  const std::string path = SY_SOURCE_DIR "/docs/reference/recipes.md";
  const std::string generated = recipe_reference();
  expect_every_method<upcycling::Upcycling>(generated);
  expect_every_method<merging::Merging>(generated);
  if (std::getenv("SY_UPDATE_REFERENCE") != nullptr) write_bytes(path, generated);
  EXPECT_TRUE(read_text_file(path) == generated)
      << "docs/reference/recipes.md is stale; run this test once with SY_UPDATE_REFERENCE=1 and commit the file";
}

}  // namespace
}  // namespace sy::testing
