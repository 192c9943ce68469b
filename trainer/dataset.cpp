#include "trainer/dataset.h"

#include <algorithm>
#include <filesystem>

#include "csrc/core/check.h"
#include "kernels/philox.h"
#include "trainer/permutation.h"

namespace sy {
namespace {

constexpr int64_t kCheckedAtOpen = int64_t{1} << 24;

// Which of the two shuffles of a corpus a key belongs to.
enum class Shuffle : uint32_t { kDocuments = 0, kSamples = 1 };

uint64_t shuffle_key(uint64_t seed, int64_t epoch, Shuffle shuffle) {
  const Philox keyed =
      Philox::keyed(seed, static_cast<uint64_t>(epoch), 0, static_cast<uint32_t>(shuffle), RngPurpose::kDataOrder);
  return (static_cast<uint64_t>(keyed.key[1]) << 32) | keyed.key[0];
}

std::string domain_name_of(const IndexedDataset& corpus) {
  return std::filesystem::path(corpus.prefix()).filename().string();
}

void check_range(const IndexedDataset& corpus, DocumentRange range) {
  SY_CHECK(range.begin >= 0 && range.begin <= range.end && range.end <= corpus.num_documents(),
           "documents {} to {} of {}", range.begin, range.end, corpus.num_documents());
}

}  // namespace

// The order of documents in one epoch: place p holds document[p], whose first token is position begin[p] of the epoch.
struct TokenDataset::EpochOrder {
  int64_t epoch = 0;
  std::vector<int64_t> document;
  std::vector<int64_t> begin;  // one more than places: the last entry is the epoch's token count
};

TokenDataset::TokenDataset(std::shared_ptr<const IndexedDataset> corpus, DocumentRange range, int64_t seq_length,
                           uint64_t seed, bool reset_attention_mask)
    : corpus_(std::move(corpus)),
      range_(range),
      seq_length_(seq_length),
      seed_(seed),
      reset_attention_mask_(reset_attention_mask) {
  SY_CHECK(seq_length > 0, "sequence length {}", seq_length);
  check_range(*corpus_, range);
  num_tokens_ = corpus_->document_begin(range.end) - corpus_->document_begin(range.begin);
  if (num_tokens_ == 0) {
    user_error("{} has no tokens in documents {} to {}: give a corpus with text or change data.split",
               corpus_->prefix(), range.begin, range.end);
  }
  samples_per_epoch_ = std::max<int64_t>(1, num_tokens_ / seq_length);
}

std::shared_ptr<const TokenDataset::EpochOrder> TokenDataset::epoch_order(int64_t epoch) const {
  // A shuffled block touches two epochs, and readers may be on both sides of its border.
  constexpr std::size_t kKept = 3;
  const std::lock_guard lock(mutex_);
  const auto found =
      std::find_if(recent_.begin(), recent_.end(), [&](const auto& order) { return order->epoch == epoch; });
  if (found != recent_.end()) {
    std::rotate(recent_.begin(), found, found + 1);
    return recent_.front();
  }
  const int64_t num_documents = range_.end - range_.begin;
  const Permutation shuffled(num_documents, shuffle_key(seed_, epoch, Shuffle::kDocuments));
  auto order = std::make_shared<EpochOrder>();
  order->epoch = epoch;
  order->document.reserve(static_cast<std::size_t>(num_documents));
  order->begin.reserve(static_cast<std::size_t>(num_documents) + 1);
  int64_t begin = 0;
  for (int64_t place = 0; place < num_documents; ++place) {
    const int64_t document = range_.begin + shuffled(place);
    order->document.push_back(document);
    order->begin.push_back(begin);
    begin += corpus_->document_length(document);
  }
  order->begin.push_back(begin);
  recent_.insert(recent_.begin(), order);
  if (recent_.size() > kKept) recent_.pop_back();
  return order;
}

void TokenDataset::sample(int64_t global_index, int32_t* tokens_Sp1, int32_t* document_start_S) const {
  SY_CHECK(global_index >= 0, "sample {}", global_index);
  const int64_t block = global_index / samples_per_epoch_;
  const Permutation shuffled(samples_per_epoch_, shuffle_key(seed_, block, Shuffle::kSamples));
  const int64_t window = block * samples_per_epoch_ + shuffled(global_index % samples_per_epoch_);
  const int64_t first = window * seq_length_;
  int64_t filled = 0;
  while (filled <= seq_length_) {
    const int64_t epoch = (first + filled) / num_tokens_;
    int64_t position = (first + filled) % num_tokens_;
    const auto order = epoch_order(epoch);
    // The last place that begins at or before the position: empty documents, which begin where the next does, are
    // passed.
    auto place = std::upper_bound(order->begin.begin(), order->begin.end(), position) - order->begin.begin() - 1;
    while (filled <= seq_length_ && position < num_tokens_) {
      const auto p = static_cast<std::size_t>(place++);
      const int64_t count = std::min(order->begin[p + 1] - position, seq_length_ + 1 - filled);
      corpus_->read(corpus_->document_begin(order->document[p]) + position - order->begin[p], count,
                    tokens_Sp1 + filled);
      const int64_t inputs_end = std::min(filled + count, seq_length_);
      std::fill(document_start_S + std::min(filled, seq_length_), document_start_S + inputs_end,
                static_cast<int32_t>(reset_attention_mask_ ? filled : 0));
      filled += count;
      position += count;
    }
  }
}

BlendedDataset::BlendedDataset(std::vector<std::unique_ptr<TokenDataset>> sources, std::vector<double> weights)
    : sources_(std::move(sources)), schedule_(std::move(weights)) {}

std::string BlendedDataset::domain_name(int64_t index) const { return domain_name_of(domain(index).corpus()); }

int64_t BlendedDataset::sample(int64_t global_index, int32_t* tokens_Sp1, int32_t* document_start_S) const {
  const BlendSchedule::Place place = locate(global_index);
  domain(place.domain).sample(place.sample_index, tokens_Sp1, document_start_S);
  return place.domain;
}

EvalDataset::EvalDataset(std::shared_ptr<const IndexedDataset> corpus, DocumentRange range, int64_t seq_length,
                         bool reset_attention_mask)
    : corpus_(std::move(corpus)), range_(range), seq_length_(seq_length), reset_attention_mask_(reset_attention_mask) {
  SY_CHECK(seq_length > 0, "sequence length {}", seq_length);
  check_range(*corpus_, range);
  begin_ = corpus_->document_begin(range.begin);
  end_ = corpus_->document_begin(range.end);
  if (end_ - begin_ < 2) {
    user_error("{} has {} tokens to evaluate on, at least 2 are needed: change data.split or give another corpus",
               corpus_->prefix(), end_ - begin_);
  }
}

std::string EvalDataset::domain_name() const { return domain_name_of(*corpus_); }

void EvalDataset::window(int64_t index, int32_t* tokens_S, int32_t* targets_S, int32_t* document_start_S) const {
  SY_CHECK(index >= 0 && index < num_windows(), "window {} of {}", index, num_windows());
  const int64_t first = begin_ + index * seq_length_;
  const int64_t count = std::min(seq_length_, end_ - 1 - first);
  corpus_->read(first, count, tokens_S);
  corpus_->read(first + 1, count, targets_S);
  std::fill(tokens_S + count, tokens_S + seq_length_, 0);
  std::fill(targets_S + count, targets_S + seq_length_, -1);
  std::fill(document_start_S, document_start_S + seq_length_, 0);
  if (!reset_attention_mask_) return;
  // Binary search for the first document that begins after the window's first token, then walk the borders inside.
  int64_t low = range_.begin, high = range_.end;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (corpus_->document_begin(middle) <= first) low = middle + 1;
    else high = middle;
  }
  for (; low < range_.end && corpus_->document_begin(low) < first + count; ++low) {
    const int64_t start = corpus_->document_begin(low) - first;
    std::fill(document_start_S + start, document_start_S + seq_length_, static_cast<int32_t>(start));
  }
}

namespace {

struct SplitSource {
  std::shared_ptr<const IndexedDataset> corpus;
  DocumentRange range;
  double weight = 0;
};

// Every corpus that `part` reads from, opened and checked; none when the config gives that split nothing.
std::vector<SplitSource> open_split(const DataConfig& config, Split part, int64_t vocab_size) {
  const bool shared = !config.data_path.empty();
  const auto& own = part == Split::kTrain   ? config.train_data_path
                    : part == Split::kValid ? config.valid_data_path
                                            : config.test_data_path;
  if (shared && !split_has(config.split, part)) return {};
  std::vector<SplitSource> sources;
  for (const BlendEntry& entry : shared ? parse_blend(config.data_path, "data_path")
                                        : parse_blend(own, std::string(split_name(part)) + "_data_path")) {
    auto corpus = std::make_shared<IndexedDataset>(entry.prefix, vocab_size);
    corpus->check_token_ids(kCheckedAtOpen);
    const int64_t documents = corpus->num_documents();
    const DocumentRange range = shared ? split_documents(config.split, documents, part) : DocumentRange{0, documents};
    if (range.begin == range.end) {
      user_error(
          "data.split '{}' leaves the {} split no document of the {} in {}: set {}_data_path, or tokenize it into "
          "more documents",
          config.split, split_name(part), documents, entry.prefix, split_name(part));
    }
    sources.push_back({std::move(corpus), range, entry.weight});
  }
  return sources;
}

}  // namespace

std::unique_ptr<BlendedDataset> open_train_data(const DataConfig& config, int64_t seq_length, int64_t vocab_size,
                                                int64_t train_seed) {
  const auto seed = static_cast<uint64_t>(config.seed >= 0 ? config.seed : train_seed);
  std::vector<std::unique_ptr<TokenDataset>> datasets;
  std::vector<double> weights;
  for (SplitSource& source : open_split(config, Split::kTrain, vocab_size)) {
    // Corpora of one blend get their own orders: two of equal shape must not be shuffled alike.
    const uint64_t own_seed = Philox::mix(seed + datasets.size() * 0x9e3779b97f4a7c15ull);
    datasets.push_back(std::make_unique<TokenDataset>(std::move(source.corpus), source.range, seq_length, own_seed,
                                                      config.reset_attention_mask));
    weights.push_back(source.weight > 0 ? source.weight : static_cast<double>(datasets.back()->num_tokens()));
  }
  if (datasets.empty()) {
    user_error("no training data: set data.data_path (with a train share in data.split) or data.train_data_path");
  }
  return std::make_unique<BlendedDataset>(std::move(datasets), std::move(weights));
}

std::vector<std::unique_ptr<EvalDataset>> open_eval_data(const DataConfig& config, Split part, int64_t seq_length,
                                                         int64_t vocab_size) {
  std::vector<std::unique_ptr<EvalDataset>> datasets;
  for (SplitSource& source : open_split(config, part, vocab_size)) {
    datasets.push_back(
        std::make_unique<EvalDataset>(std::move(source.corpus), source.range, seq_length, config.reset_attention_mask));
  }
  return datasets;
}

}  // namespace sy
