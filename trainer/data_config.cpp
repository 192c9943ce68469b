#include "trainer/data_config.h"

#include <array>
#include <cmath>
#include <cstdlib>

#include "csrc/core/check.h"

namespace sy {
namespace {

// The whole string as a number: "7" and "0.7" are, "0.7b", "" and "nan" are not.
bool parse_number(const std::string& text, double& value) {
  char* end = nullptr;
  value = std::strtod(text.c_str(), &end);
  return !text.empty() && *end == '\0' && std::isfinite(value);
}

// Shares of train, valid and test, summing to 1.
std::array<double, 3> parse_split(const std::string& split) {
  std::array<double, 3> share{};
  std::size_t begin = 0, part = 0;
  double sum = 0;
  bool good = true, more = true;
  while (more && good) {
    const std::size_t comma = split.find(',', begin);
    more = comma != std::string::npos;
    const std::string number = split.substr(begin, more ? comma - begin : std::string::npos);
    good = part < 3 && parse_number(number, share[part < 3 ? part : 0]) && share[part] >= 0;
    if (good) sum += share[part++];
    begin = comma + 1;
  }
  if (!good || !(sum > 0)) {
    user_error("data.split '{}' is not a list of up to three shares: write train,valid,test like 99,1,0", split);
  }
  for (double& s : share) s /= sum;
  return share;
}

}  // namespace

void describe(DataConfig& config, Fields& fields) {
  fields.field("data_path", config.data_path,
               "corpora for all splits: prefixes of .bin/.idx pairs (weighted by their tokens), or weight, prefix, "
               "weight, prefix ...");
  fields.field("split", config.split, "shares of train, valid and test documents in data_path, in document order");
  fields.field("train_data_path", config.train_data_path, "training corpora, in place of data_path; same form");
  fields.field("valid_data_path", config.valid_data_path, "validation corpora, used whole");
  fields.field("test_data_path", config.test_data_path, "test corpora, used whole");
  fields.field("tokenizer", config.tokenizer,
               "tokenizer the corpora were made with: bytes, or the path of a Hugging Face tokenizer.json");
  fields.field("reset_attention_mask", config.reset_attention_mask, "tokens attend only within their own document");
  fields.field("seed", config.seed, "seed of the order of documents and samples; -1 takes train.seed", {.min = -1});
  const bool separate =
      !config.train_data_path.empty() || !config.valid_data_path.empty() || !config.test_data_path.empty();
  fields.require(
      config.data_path.empty() || !separate, "data_path",
      "data_path is cut by split; give either data_path or train_data_path, valid_data_path and test_data_path");
}

std::vector<BlendEntry> parse_blend(const std::vector<std::string>& list, const std::string& key) {
  // Megatron's rule: a list of even length whose even entries are all numbers is weighted.
  bool weighted = !list.empty() && list.size() % 2 == 0;
  double weight = 0;
  for (std::size_t i = 0; weighted && i < list.size(); i += 2) weighted = parse_number(list[i], weight);
  std::vector<BlendEntry> blend;
  double sum = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    weight = 0;
    if (weighted) {
      parse_number(list[i], weight);
      if (!(weight > 0))
        user_error("data.{}: weight {} of {} is not positive: leave the corpus out", key, list[i], list[i + 1]);
      ++i;
    }
    if (double number = 0; list[i].empty() || parse_number(list[i], number)) {
      user_error("data.{}: '{}' stands where a corpus prefix is wanted: list prefixes only, or weight, prefix pairs",
                 key, list[i]);
    }
    blend.push_back({list[i], weight});
    sum += weight;
  }
  for (BlendEntry& entry : blend) {
    if (weighted) entry.weight /= sum;
  }
  return blend;
}

DocumentRange split_documents(const std::string& split, int64_t num_documents, Split part) {
  const std::array<double, 3> share = parse_split(split);
  // Cumulative shares are rounded, not the shares, so that the three ranges tile the documents.
  double before = 0;
  for (int i = 0; i < static_cast<int>(part); ++i) before += share[static_cast<std::size_t>(i)];
  const double after = before + share[static_cast<std::size_t>(part)];
  const auto documents = static_cast<double>(num_documents);
  return {static_cast<int64_t>(std::nearbyint(before * documents)),
          static_cast<int64_t>(std::nearbyint(after * documents))};
}

bool split_has(const std::string& split, Split part) { return parse_split(split)[static_cast<std::size_t>(part)] > 0; }

const char* split_name(Split part) {
  constexpr std::array<const char*, 3> kNames = {"train", "valid", "test"};
  return kNames[static_cast<std::size_t>(part)];
}

}  // namespace sy
