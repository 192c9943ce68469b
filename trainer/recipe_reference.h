// The keys of recipes (trainer/recipe.h) as a Markdown page, generated from their descriptions.
#pragma once

#include <string>

namespace sy {

std::string recipe_reference();

}  // namespace sy
