// What the conformance suite loops over: the files of configs/methods, and variants of them as overrides.
//
// A new method needs nothing here: its file is found, and its name in the registry. The table of variants in
// method_cases.cpp adds the options that one file cannot show.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "trainer/config.h"

namespace sy::test {

struct MethodCase {
  std::string method;                  // the file's stem: a registered name
  std::string variant;                 // "" for the file as it stands
  std::vector<std::string> overrides;  // of the variant

  std::string path() const;
  // method, or method_variant: a name for gtest.
  std::string label() const { return variant.empty() ? method : method + "_" + variant; }
  Config config(std::vector<std::string> more = {}) const;
  // The same method in a model of a few thousand parameters.
  Config tiny_config(std::vector<std::string> more = {}) const;
};
std::ostream& operator<<(std::ostream& out, const MethodCase& method_case);

std::vector<MethodCase> method_files();
std::vector<MethodCase> method_cases();

// The seams that have a registry, their registered names, and the names that a config selects there.
struct Seam {
  std::string key;  // "moe.router"
  std::vector<std::string> registered;
  std::vector<std::string> (*selected)(const moe::MoeChoices&);
};
std::vector<Seam> seams();

}  // namespace sy::test
