#include "trainer/dataset.h"

#include <map>
#include <numeric>
#include <set>
#include <thread>

#include "tests/csrc/io/corpus_fixture.h"
#include "trainer/permutation.h"
#include "trainer/sampler.h"

namespace sy {
namespace {

using Ids = std::vector<int32_t>;

struct Sample {
  Ids tokens, document_start;
  bool operator==(const Sample&) const = default;
};

class DatasetTest : public CorpusTest {
 protected:
  // A corpus whose token ids are all different: documents of the given lengths, ids counting up from first_id.
  std::shared_ptr<const IndexedDataset> counting_corpus(const std::string& name, const std::vector<int64_t>& lengths,
                                                        int32_t first_id = 0) const {
    std::vector<Ids> documents;
    for (const int64_t length : lengths) {
      Ids& document = documents.emplace_back(static_cast<std::size_t>(length));
      std::iota(document.begin(), document.end(), first_id);
      first_id += static_cast<int32_t>(length);
    }
    return std::make_shared<IndexedDataset>(write_corpus(name, documents, TokenDtype::kInt32));
  }
};

template <class Dataset>
Sample sample_of(const Dataset& dataset, int64_t seq_length, int64_t index) {
  Sample sample{Ids(static_cast<std::size_t>(seq_length + 1), -7), Ids(static_cast<std::size_t>(seq_length), -7)};
  dataset.sample(index, sample.tokens.data(), sample.document_start.data());
  return sample;
}

// Twelve documents, an empty first, middle and last one among them; 100 tokens.
const std::vector<int64_t> kLengths = {0, 13, 1, 20, 0, 0, 7, 24, 5, 2, 28, 0};

TEST(Permutation, VisitsEveryIndexOnceForEverySizeAndDependsOnTheKey) {
  for (const int64_t count : {1, 2, 3, 4, 5, 16, 17, 100, 1000, 4097}) {
    std::set<int64_t> seen;
    int64_t equal = 0;
    const Permutation a(count, 1), b(count, 2);
    for (int64_t i = 0; i < count; ++i) {
      EXPECT_TRUE(a(i) >= 0 && a(i) < count);
      seen.insert(a(i));
      equal += a(i) == b(i);
    }
    EXPECT_EQ(static_cast<int64_t>(seen.size()), count);
    if (count >= 100) {
      EXPECT_LT(equal, 10) << "two keys give nearly the same order of " << count;
    }
  }
}

TEST(Permutation, EveryValueIsAsLikelyAtEveryPlaceForSmallSizes) {
  constexpr int64_t kKeys = 24000;
  for (const int64_t count : {2, 3, 4, 6}) {
    std::vector<std::vector<int64_t>> times(static_cast<std::size_t>(count),
                                            std::vector<int64_t>(static_cast<std::size_t>(count)));
    for (int64_t key = 0; key < kKeys; ++key) {
      const Permutation p(count, Philox::mix(static_cast<uint64_t>(key) + 1));
      for (int64_t i = 0; i < count; ++i) ++times[static_cast<std::size_t>(i)][static_cast<std::size_t>(p(i))];
    }
    // Six standard deviations of a binomial count are below 6 sqrt(kKeys / 4) = 465.
    for (const auto& row : times) {
      for (const int64_t t : row) EXPECT_NEAR(static_cast<double>(t), static_cast<double>(kKeys / count), 465);
    }
  }
}

TEST_F(DatasetTest, EveryStreamPositionButTheFirstIsATargetExactlyOnce) {
  constexpr int64_t kSeq = 7, kTokens = 100;
  const TokenDataset dataset(counting_corpus("c", kLengths), {0, 12}, kSeq, 5, false);
  EXPECT_EQ(dataset.num_tokens(), kTokens);
  EXPECT_EQ(dataset.num_samples_per_epoch(), 14);
  // 14 * 50 samples of 7 targets are 49 passes over 100 tokens: each id is a target 49 times, but for the id at
  // position 0 (never a target) and the id at position 4900 (the last target).
  std::vector<int64_t> times(kTokens);
  for (int64_t i = 0; i < 14 * 50; ++i) {
    const Sample sample = sample_of(dataset, kSeq, i);
    for (int64_t j = 1; j <= kSeq; ++j) ++times[static_cast<std::size_t>(sample.tokens[static_cast<std::size_t>(j)])];
  }
  EXPECT_EQ(std::accumulate(times.begin(), times.end(), int64_t{0}), 4900);
  int64_t different = 0;
  for (const int64_t t : times) {
    EXPECT_NEAR(static_cast<double>(t), 49, 1);
    different += t != 49;
  }
  EXPECT_TRUE(different == 0 || different == 2);
}

TEST_F(DatasetTest, OneEpochOfWholeWindowsHasEveryTokenOnce) {
  constexpr int64_t kSeq = 10;
  const TokenDataset dataset(counting_corpus("c", kLengths), {0, 12}, kSeq, 5, false);
  ASSERT_EQ(dataset.num_samples_per_epoch(), 10);
  for (int64_t epoch = 0; epoch < 5; ++epoch) {
    std::set<int32_t> inputs;
    for (int64_t i = 0; i < 10; ++i) {
      const Ids tokens = sample_of(dataset, kSeq, epoch * 10 + i).tokens;
      inputs.insert(tokens.begin(), tokens.end() - 1);
    }
    EXPECT_EQ(inputs.size(), 100u) << "epoch " << epoch;
  }
}

TEST_F(DatasetTest, DocumentsStayWholeAndStartWhereTheMaskSays) {
  constexpr int64_t kSeq = 16;
  const auto corpus = counting_corpus("c", kLengths);
  const TokenDataset dataset(corpus, {0, 12}, kSeq, 3, true);
  std::set<int32_t> starts;  // the first id of each document
  for (int64_t d = 0; d < 12; ++d) {
    if (corpus->document_length(d) > 0) starts.insert(static_cast<int32_t>(corpus->document_begin(d)));
  }
  std::set<int64_t> seen_starts;
  for (int64_t i = 0; i < 300; ++i) {
    const auto [tokens, document_start] = sample_of(dataset, kSeq, i);
    int32_t expected = 0;
    for (std::size_t j = 0; j < static_cast<std::size_t>(kSeq); ++j) {
      const bool begins = starts.contains(tokens[j]);
      if (j > 0 && begins) expected = static_cast<int32_t>(j);
      if (j > 0 && !begins) {
        EXPECT_EQ(tokens[j], tokens[j - 1] + 1) << "a document is cut inside";
      }
      EXPECT_EQ(document_start[j], expected) << "sample " << i << " token " << j;
      if (begins) seen_starts.insert(tokens[j]);
    }
  }
  EXPECT_EQ(seen_starts.size(), starts.size());
}

TEST_F(DatasetTest, WithoutTheMaskEveryDocumentStartIsZero) {
  const TokenDataset dataset(counting_corpus("c", kLengths), {0, 12}, 16, 3, false);
  for (int64_t i = 0; i < 50; ++i) EXPECT_EQ(sample_of(dataset, 16, i).document_start, Ids(16, 0));
}

TEST_F(DatasetTest, OnlyDocumentsOfTheRangeAppear) {
  const auto corpus = counting_corpus("c", kLengths);
  const TokenDataset dataset(corpus, {3, 8}, 6, 3, false);
  EXPECT_EQ(dataset.num_tokens(), 20 + 7 + 24);
  std::set<int32_t> seen;
  for (int64_t i = 0; i < 200; ++i) {
    for (const int32_t id : sample_of(dataset, 6, i).tokens) seen.insert(id);
  }
  EXPECT_EQ(*seen.begin(), 14);
  EXPECT_EQ(*seen.rbegin(), 64);
  EXPECT_EQ(seen.size(), 51u);
}

TEST_F(DatasetTest, ACorpusShorterThanASampleWrapsAround) {
  const TokenDataset dataset(counting_corpus("c", {3}), {0, 1}, 8, 1, true);
  EXPECT_EQ(dataset.num_samples_per_epoch(), 1);
  EXPECT_EQ(sample_of(dataset, 8, 0), (Sample{{0, 1, 2, 0, 1, 2, 0, 1, 2}, {0, 0, 0, 3, 3, 3, 6, 6}}));
  EXPECT_EQ(sample_of(dataset, 8, 1), (Sample{{2, 0, 1, 2, 0, 1, 2, 0, 1}, {0, 1, 1, 1, 4, 4, 4, 7}}));
}

TEST_F(DatasetTest, ASampleDependsOnSeedAndIndexAloneNotOnWhatWasReadBefore) {
  const auto corpus = counting_corpus("c", kLengths);
  const TokenDataset in_order(corpus, {0, 12}, 9, 11, true);
  std::vector<Sample> samples;
  for (int64_t i = 0; i < 200; ++i) samples.push_back(sample_of(in_order, 9, i));
  // A resumed run opens the corpus afresh and starts anywhere.
  for (const int64_t resume_at : {199, 0, 77, 100, 12, 150, 3}) {
    const TokenDataset fresh(corpus, {0, 12}, 9, 11, true);
    for (int64_t i = resume_at; i < std::min<int64_t>(resume_at + 20, 200); ++i) {
      EXPECT_EQ(sample_of(fresh, 9, i), samples[static_cast<std::size_t>(i)]) << "resumed at " << resume_at;
    }
  }
  const TokenDataset other_seed(corpus, {0, 12}, 9, 12, true);
  int64_t equal = 0;
  for (int64_t i = 0; i < 200; ++i) equal += sample_of(other_seed, 9, i) == samples[static_cast<std::size_t>(i)];
  EXPECT_LT(equal, 20);
}

TEST_F(DatasetTest, EpochsDifferInOrder) {
  const TokenDataset dataset(counting_corpus("c", kLengths), {0, 12}, 10, 5, false);
  std::vector<Sample> first, second;
  for (int64_t i = 0; i < 10; ++i)
    first.push_back(sample_of(dataset, 10, i)), second.push_back(sample_of(dataset, 10, 10 + i));
  EXPECT_NE(first, second);
  // In file order every window would start at a multiple of 10.
  int64_t windows_of_file_order = 0;
  for (const Sample& sample : first) windows_of_file_order += sample.tokens[0] % 10 == 0;
  EXPECT_LT(windows_of_file_order, 10) << "documents are not shuffled";
}

TEST_F(DatasetTest, ThreadsReadTheSameSamples) {
  const TokenDataset dataset(counting_corpus("c", kLengths), {0, 12}, 9, 11, true);
  std::vector<std::vector<Sample>> by_thread(4);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int64_t i = 0; i < 400; ++i) by_thread[t].push_back(sample_of(dataset, 9, t % 2 == 0 ? i : 399 - i));
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::reverse(by_thread[1].begin(), by_thread[1].end());
  std::reverse(by_thread[3].begin(), by_thread[3].end());
  for (std::size_t t = 1; t < 4; ++t) EXPECT_EQ(by_thread[t], by_thread[0]);
}

TEST(BlendSchedule, FollowsMegatronsGreedyRule) {
  // Worked by hand for weights 0.5, 0.3, 0.2. Deficits at n = 0 (as 1): .5 .3 .2 -> a; n = 1: -.5 .3 .2 -> b;
  // n = 2: 0 -.4 .4 -> c; n = 3: .5 -.1 -.4 -> a; n = 4: 0 .2 -.2 -> b; n = 5: .5 -.5 0 -> a; n = 6: 0 -.2 .2 -> c
  const BlendSchedule schedule({5, 3, 2});
  const std::vector<std::pair<int64_t, int64_t>> expected = {{0, 0}, {1, 0}, {2, 0}, {0, 1}, {1, 1}, {0, 2}, {2, 1}};
  for (std::size_t n = 0; n < expected.size(); ++n) {
    const auto place = schedule.locate(static_cast<int64_t>(n));
    EXPECT_EQ(std::make_pair(place.domain, place.sample_index), expected[n]) << "sample " << n;
  }
}

TEST(BlendSchedule, EqualDeficitsGoToTheFirstCorpus) {
  const BlendSchedule schedule({1, 1});
  for (int64_t n = 0; n < 10; ++n) EXPECT_EQ(schedule.locate(n).domain, n % 2);
}

TEST(BlendSchedule, CountsStayWithinOneSampleOfTheWeightsAndIndicesCountUp) {
  const std::vector<double> weights = {0.013, 0.4, 0.25, 0.337};
  const BlendSchedule schedule(weights);
  std::vector<int64_t> counts(4);
  for (int64_t n = 0; n < 3000; ++n) {
    const auto place = schedule.locate(n);
    EXPECT_EQ(place.sample_index, counts[static_cast<std::size_t>(place.domain)]++);
    for (std::size_t d = 0; d < 4; ++d) {
      EXPECT_NEAR(static_cast<double>(counts[d]), weights[d] * static_cast<double>(n + 1), 1.5) << "after " << n + 1;
    }
  }
}

TEST(BlendSchedule, AnIndexGivesTheSamePlaceHoweverItIsReached) {
  const BlendSchedule in_order({0.3, 0.5, 0.2});
  std::vector<BlendSchedule::Place> places;
  for (int64_t n = 0; n < 2000; ++n) places.push_back(in_order.locate(n));
  for (const int64_t n : {1999, 0, 255, 256, 257, 511, 512, 1024, 7}) {
    const auto place = BlendSchedule({0.3, 0.5, 0.2}).locate(n);
    EXPECT_EQ(place.domain, places[static_cast<std::size_t>(n)].domain);
    EXPECT_EQ(place.sample_index, places[static_cast<std::size_t>(n)].sample_index);
  }
}

class BlendedDataTest : public DatasetTest {
 protected:
  void SetUp() override {
    DatasetTest::SetUp();
    counting_corpus("low", {30, 20, 50}, 0);
    counting_corpus("high", {40, 60}, 1000);
    config_.train_data_path = {"0.75", path("low"), "0.25", path("high")};
  }
  DataConfig config_;
};

TEST_F(BlendedDataTest, SamplesComeFromTheirDomainInItsProportion) {
  const auto data = open_train_data(config_, 8, 2000, 1);
  EXPECT_EQ(data->num_domains(), 2);
  EXPECT_EQ(data->domain_name(0), "low");
  EXPECT_EQ(data->domain_name(1), "high");
  std::vector<int64_t> counts(2);
  for (int64_t i = 0; i < 400; ++i) {
    Ids tokens(9), start(8);
    const int64_t domain = data->sample(i, tokens.data(), start.data());
    ++counts[static_cast<std::size_t>(domain)];
    for (const int32_t id : tokens) EXPECT_EQ(id >= 1000, domain == 1);
  }
  EXPECT_EQ(counts[0], 300);
  EXPECT_EQ(counts[1], 100);
}

TEST_F(BlendedDataTest, WithoutWeightsDomainsAreTakenByTheirTokens) {
  counting_corpus("long", {300}, 3000);
  config_.train_data_path = {path("low"), path("high"), path("long")};
  const auto data = open_train_data(config_, 8, 4000, 1);
  std::vector<int64_t> counts(3);
  for (int64_t i = 0; i < 500; ++i) ++counts[static_cast<std::size_t>(data->locate(i).domain)];
  EXPECT_NEAR(static_cast<double>(counts[0]), 100, 1);
  EXPECT_NEAR(static_cast<double>(counts[1]), 100, 1);
  EXPECT_NEAR(static_cast<double>(counts[2]), 300, 1);
}

TEST_F(BlendedDataTest, EveryMeshAndEveryResumeSeesTheSameSamples) {
  constexpr int64_t kSeq = 8, kMicro = 2, kGlobal = 8, kSteps = 6;
  // Samples by (step, micro-batch), each rank with its own datasets, starting at `first_step`.
  const auto run = [&](int64_t dp_size, int64_t first_step) {
    std::map<std::pair<int64_t, int64_t>, std::vector<Sample>> seen;
    for (int64_t rank = 0; rank < dp_size; ++rank) {
      const auto data = open_train_data(config_, kSeq, 2000, 1);
      const Sampler sampler(kMicro, kGlobal, dp_size, rank);
      for (int64_t step = first_step; step < kSteps; ++step) {
        for (int64_t wave = 0; wave < sampler.num_waves(); ++wave) {
          const int64_t m = sampler.micro_batch(wave);
          for (int64_t i = 0; i < kMicro; ++i) {
            seen[{step, m}].push_back(sample_of(*data, kSeq, sampler.first_sample(step * kGlobal, m) + i));
          }
        }
      }
    }
    return seen;
  };
  const auto reference = run(1, 0);
  ASSERT_EQ(reference.size(), static_cast<std::size_t>(kSteps * kGlobal / kMicro));
  for (const int64_t dp_size : {2, 4}) EXPECT_EQ(run(dp_size, 0), reference) << dp_size << " ranks";
  auto resumed = run(2, 4);
  for (const auto& [place, samples] : resumed) EXPECT_EQ(samples, reference.at(place));
  EXPECT_EQ(resumed.size(), 2u * kGlobal / kMicro);
}

TEST_F(BlendedDataTest, TheDataSeedWinsOverTheTrainSeed) {
  const auto tokens = [&](int64_t data_seed, int64_t train_seed) {
    config_.seed = data_seed;
    Ids all;
    const auto data = open_train_data(config_, 8, 2000, train_seed);
    for (int64_t i = 0; i < 20; ++i) {
      const Ids sample = sample_of(*data, 8, i).tokens;
      all.insert(all.end(), sample.begin(), sample.end());
    }
    return all;
  };
  EXPECT_EQ(tokens(3, 1), tokens(3, 2));
  EXPECT_EQ(tokens(-1, 3), tokens(3, 9));
  EXPECT_NE(tokens(-1, 1), tokens(-1, 2));
}

TEST_F(BlendedDataTest, OneBlendIsCutBySplit) {
  DataConfig shared;
  shared.data_path = {path("low")};
  shared.split = "2,1,0";
  EXPECT_EQ(open_train_data(shared, 8, 2000, 1)->domain(0).num_tokens(), 50);
  const auto valid = open_eval_data(shared, Split::kValid, 8, 2000);
  ASSERT_EQ(valid.size(), 1u);
  EXPECT_EQ(valid[0]->num_targets(), 49);
  EXPECT_TRUE(open_eval_data(shared, Split::kTest, 8, 2000).empty());
}

TEST_F(BlendedDataTest, MistakesInTheDataSectionAreExplained) {
  EXPECT_MENTIONS(user_error_of([&] { open_train_data(DataConfig{}, 8, 2000, 1); }), "data.train_data_path");
  EXPECT_MENTIONS(user_error_of([&] { open_train_data(config_, 8, 1000, 1); }), path("high.bin") + ": token id 1000");
  DataConfig shared;
  shared.data_path = {path("low")};
  const std::string message = user_error_of([&] { open_eval_data(shared, Split::kValid, 8, 2000); });
  EXPECT_MENTIONS(message, "data.split '99,1,0' leaves the valid split no document of the 3 in " + path("low"));
  EXPECT_MENTIONS(message, "valid_data_path");
  config_.train_data_path = {write_corpus("void", {{}, {}})};
  EXPECT_MENTIONS(user_error_of([&] { open_train_data(config_, 8, 2000, 1); }), "has no tokens");
  config_.valid_data_path = {write_corpus("single", {{5}})};
  EXPECT_MENTIONS(user_error_of([&] { open_eval_data(config_, Split::kValid, 8, 2000); }), "at least 2");
}

TEST_F(DatasetTest, EvaluationTakesEveryTargetOnceAndPadsTheRest) {
  const auto corpus = counting_corpus("c", kLengths);
  for (const int64_t seq_length : {1, 7, 9, 11, 32, 99, 100, 101, 500}) {
    const EvalDataset data(corpus, {0, 12}, seq_length, false);
    EXPECT_EQ(data.num_targets(), 99);
    Ids targets;
    int64_t pads = 0;
    for (int64_t w = 0; w < data.num_windows(); ++w) {
      const auto S = static_cast<std::size_t>(seq_length);
      Ids tokens_S(S, -7), targets_S(S, -7), start_S(S, -7);
      data.window(w, tokens_S.data(), targets_S.data(), start_S.data());
      EXPECT_EQ(start_S, Ids(S, 0));
      for (std::size_t i = 0; i < S; ++i) {
        if (targets_S[i] < 0) {
          ++pads;
          EXPECT_EQ(targets_S[i], -1);
          EXPECT_EQ(tokens_S[i], 0);
        } else {
          EXPECT_EQ(pads, 0) << "a pad before a target";
          EXPECT_EQ(targets_S[i], tokens_S[i] + 1);
          targets.push_back(targets_S[i]);
        }
      }
    }
    Ids expected(99);
    std::iota(expected.begin(), expected.end(), 1);
    EXPECT_EQ(targets, expected) << "sequence length " << seq_length;
    EXPECT_LT(pads, seq_length);
  }
}

TEST_F(DatasetTest, EvaluationOfARangeMasksItsDocuments) {
  const auto corpus = counting_corpus("c", kLengths);
  // Documents of 20, 7 and 24 tokens, ids 14..64; borders at 34 and 41.
  const EvalDataset data(corpus, {3, 8}, 30, true);
  EXPECT_EQ(data.num_windows(), 2);
  EXPECT_EQ(data.domain_name(), "c");
  Ids tokens(30), targets(30), start(30);
  data.window(0, tokens.data(), targets.data(), start.data());
  EXPECT_EQ(tokens.front(), 14);
  EXPECT_EQ(targets.back(), 44);
  for (int32_t i = 0; i < 30; ++i) EXPECT_EQ(start[static_cast<std::size_t>(i)], i < 20 ? 0 : i < 27 ? 20 : 27);
  data.window(1, tokens.data(), targets.data(), start.data());
  EXPECT_EQ(start, Ids(30, 0)) << "the window begins inside its only document";
  EXPECT_EQ(targets[19], 64);
  EXPECT_EQ(targets[20], -1);
}

}  // namespace
}  // namespace sy
