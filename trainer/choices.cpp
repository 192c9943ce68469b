#include "trainer/choices.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "csrc/core/check.h"
#include "csrc/io/lines.h"
#include "trainer/score.h"

namespace sy {

namespace {

using Json = nlohmann::json;

const Json& at(const Json& record, const char* key, const std::string& place) {
  const auto value = record.find(key);
  if (value == record.end()) user_error("{}: no key '{}': a line has context, choices and answer", place, key);
  return *value;
}

const std::string& text_of(const Json& value, const char* key, const std::string& place) {
  if (!value.is_string()) user_error("{}: '{}' is a JSON {} where a text is wanted", place, key, value.type_name());
  return value.get_ref<const std::string&>();
}

Choice encode_choice(const std::string& place, const std::string& context, const std::string& text,
                     const Tokenizer& tokenizer, int64_t max_inputs) {
  if (text.empty()) user_error("{}: a choice is empty", place);
  const std::string_view kept = std::string_view(context).substr(0, context.find_last_not_of(" \t\r\n\v\f") + 1);
  Choice choice;
  choice.choice_bytes = std::ssize(text);
  choice.tokens = tokenizer.encode(context + text);
  choice.context_tokens = std::ssize(tokenizer.encode(kept));
  if (choice.context_tokens == 0) {
    choice.tokens.insert(choice.tokens.begin(), tokenizer.eod_id());
    choice.context_tokens = 1;
  }
  if (choice.num_choice_tokens() < 1)
    user_error("{}: the choice {} adds no token to its context", place, Json(text).dump());
  if (std::ssize(choice.tokens) - 1 > max_inputs)
    user_error("{}: context and choice are {} tokens, more than the {} that the model reads", place,
               choice.tokens.size(), max_inputs + 1);
  return choice;
}

}  // namespace

std::vector<ChoiceItem> read_choices(const std::string& path, const Tokenizer& tokenizer, int64_t max_inputs) {
  std::vector<ChoiceItem> items;
  read_json_lines(path, [&](const Json& record, int64_t number) {
    const std::string place = fmt::format("{}:{}", path, number);
    const std::string& context = text_of(at(record, "context", place), "context", place);
    const Json &choices = at(record, "choices", place), &answer = at(record, "answer", place);
    if (!choices.is_array() || choices.empty()) user_error("{}: 'choices' is not a list of texts", place);
    if (!answer.is_number_integer() || answer.get<int64_t>() < 0 || answer.get<int64_t>() >= std::ssize(choices))
      user_error("{}: answer {} is not the index of one of {} choices, counted from 0", place, answer.dump(),
                 choices.size());
    ChoiceItem item{.choices = {}, .answer = answer.get<int64_t>()};
    for (const Json& choice : choices)
      item.choices.push_back(encode_choice(place, context, text_of(choice, "choices", place), tokenizer, max_inputs));
    items.push_back(std::move(item));
  });
  if (items.empty()) user_error("{}: there is no item to score", path);
  return items;
}

ChoiceReport score_choices(Context& ctx, Decoder& decoder, const std::vector<ChoiceItem>& items, int64_t batch_size,
                           const std::function<void(int64_t done, int64_t total)>& progress) {
  std::vector<const Choice*> by_length;
  for (const ChoiceItem& item : items)
    for (const Choice& choice : item.choices) by_length.push_back(&choice);
  // The longest first: memory that does not suffice shows at once.
  std::stable_sort(by_length.begin(), by_length.end(),
                   [](const Choice* a, const Choice* b) { return a->tokens.size() > b->tokens.size(); });
  const auto row = [&](int64_t i) {
    const Choice& choice = *by_length[static_cast<std::size_t>(i)];
    return ScoredRow{.tokens = choice.tokens,
                     .document_start = std::vector<int32_t>(choice.tokens.size() - 1, 0),
                     .first_scored = choice.context_tokens - 1};
  };
  const std::vector<double> scores = score_rows(ctx, decoder, std::ssize(by_length), batch_size, row,
                                                [&](int64_t done) { progress(done, std::ssize(by_length)); });
  std::map<const Choice*, double> log_prob;
  for (std::size_t i = 0; i < scores.size(); ++i) log_prob[by_length[i]] = scores[i];

  int64_t right = 0, right_per_byte = 0, right_per_token = 0;
  for (const ChoiceItem& item : items) {
    const auto picks_answer = [&](const auto& length) {
      const auto worse = [&](const Choice& a, const Choice& b) {
        return log_prob.at(&a) / length(a) < log_prob.at(&b) / length(b);
      };
      return std::max_element(item.choices.begin(), item.choices.end(), worse) - item.choices.begin() == item.answer;
    };
    right += picks_answer([](const Choice&) { return 1.0; });
    right_per_byte += picks_answer([](const Choice& c) { return static_cast<double>(c.choice_bytes); });
    right_per_token += picks_answer([](const Choice& c) { return static_cast<double>(c.num_choice_tokens()); });
  }
  const auto share = [&](int64_t count) { return static_cast<double>(count) / static_cast<double>(items.size()); };
  return {std::ssize(items), share(right), share(right_per_byte), share(right_per_token)};
}

}  // namespace sy
