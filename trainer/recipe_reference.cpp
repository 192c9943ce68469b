#include "trainer/recipe_reference.h"

#include "csrc/io/list_fields.h"
#include "trainer/merge.h"
#include "trainer/upcycle.h"

namespace sy {

std::string recipe_reference() {
  UpcycleConfig upcycle;
  MergeConfig merge;
  return "# Recipe reference\n\n"
         "Every key of the YAML files of `switchyard upcycle` and `switchyard merge`. Generated from the code: do not "
         "edit.\nOn the command line `key=value` after the file overrides it, `key=null` removes it.\n"
         "\n## upcycle\n\nBeside these keys there is the section `moe`, with the keys that it has in\n"
         "[the configuration of a run](config.md#moe).\n" +
         fields_markdown([&](Fields& f) { describe_own_keys(upcycle, f); }) + "\n## merge\n" +
         fields_markdown([&](Fields& f) { describe(merge, f); });
}

}  // namespace sy
