// The watchdog's protocol with a clock and messages of the test's own: several ranks in one process, eight looks per
// second each. What is said, by whom, when.
#include "parallel/watchdog.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <optional>

namespace sy {
namespace {

class Job {
 public:
  explicit Job(int num_ranks, double report_after_s = 5, double abort_after_s = 15) {
    for (int r = 0; r < num_ranks; ++r) {
      ranks_.push_back(std::make_unique<Rank>(*this, r));
      ranks_.back()->watchdog.configure(report_after_s, abort_after_s);
    }
    add_group("all", 1, [&] {
      std::vector<int> all;
      for (int r = 0; r < num_ranks; ++r) all.push_back(r);
      return all;
    }());
  }

  // Index of a group that `members` belong to.
  std::size_t add_group(const std::string& name, uint64_t id, const std::vector<int>& members) {
    for (const int r : members) groups_[{id, r}] = &rank(r).watchdog.add_group(name, id, members);
    return id;
  }
  // The rank begins collective `number` of a group and waits in it.
  void wait(int r, int64_t number, CommKind kind = CommKind::kAllReduceSum, std::size_t group = 1) {
    WatchedGroup& g = *groups_.at({group, r});
    g.started = number;
    rank(r).wait.emplace(rank(r).watchdog, g, kind, number);
  }
  void finish(int r) {
    rank(r).wait->finished();
    rank(r).wait.reset();
  }
  void freeze(int r) { rank(r).is_frozen = true; }
  void stop_for(double seconds) { now_ += seconds; }  // all ranks: nobody polls
  void run_until(double time) {
    for (; now_ < time && aborted_by_.empty(); now_ += 0.125)
      for (auto& r : ranks_)
        if (r->wait && !r->is_frozen)
          for (uint32_t i = 0; i < Watchdog::kPollsPerLook; ++i) r->wait->poll();
  }
  std::string last_words(int r, std::size_t room = 256) {
    std::vector<char> text(room);
    return std::string(text.data(), rank(r).watchdog.describe_wait(text));
  }
  CommPlace& place(int r) { return rank(r).place; }
  const std::vector<std::string>& lines() const { return lines_; }
  const std::vector<int>& aborted_by() const { return aborted_by_; }
  double now() const { return now_; }

 private:
  struct Rank final : Watchdog::World {
    Rank(Job& job, int number) : job(job), number(number), watchdog(number, place, *this) {}
    double now() override { return job.now_; }
    void send(int to, const Notice& notice) override { job.rank(to).inbox.push_back(notice); }
    bool receive(Notice& notice) override {
      if (inbox.empty()) return false;
      notice = inbox.front();
      inbox.pop_front();
      return true;
    }
    void say(const std::string& line) override { job.lines_.push_back(line); }
    void abort() override { job.aborted_by_.push_back(number); }

    Job& job;
    int number;
    CommPlace place;
    std::deque<Notice> inbox;
    Watchdog watchdog;
    std::optional<Watchdog::Wait> wait;
    bool is_frozen = false;
  };
  Rank& rank(int r) { return *ranks_[static_cast<std::size_t>(r)]; }

  double now_ = 100;
  std::vector<std::unique_ptr<Rank>> ranks_;
  std::map<std::pair<uint64_t, int>, WatchedGroup*> groups_;
  std::vector<std::string> lines_;
  std::vector<int> aborted_by_;
};

using Lines = std::vector<std::string>;

TEST(Watchdog, IsSilentWhileWaitsAreShort) {
  Job job(2);
  for (int64_t number = 1; number <= 5; ++number) {
    job.wait(0, number);
    job.run_until(job.now() + 3.8);  // the question comes after 4 s
    job.finish(0);
  }
  EXPECT_EQ(job.lines(), Lines{});
}

TEST(Watchdog, OneLineFromTheLowestRankThatWaitsNamesTheMissingOne) {
  Job job(4);
  job.place(0).step = 17;
  job.place(0).layer = 2;
  job.wait(3, 1234);
  job.run_until(102);
  job.wait(0, 1234);  // later than rank 3, but lower
  job.wait(1, 1234);
  job.run_until(104.7);
  EXPECT_EQ(job.lines(), Lines{}) << "too early";
  job.run_until(105.2);
  const Lines once = {
      "switchyard: rank 0 has waited 5.0 s in all_reduce_sum number 1234 of group 'all', layer 2, step 17; not "
      "arrived: "
      "rank 2; the job ends after 15 s"};
  EXPECT_EQ(job.lines(), once);
  job.run_until(114);
  EXPECT_EQ(job.lines(), once) << "said again";
}

TEST(Watchdog, AStragglerIsNamedWhenTheCollectiveGoesOn) {
  Job job(3);
  job.wait(0, 7, CommKind::kAllToAll);
  job.wait(1, 7, CommKind::kAllToAll);
  job.run_until(108);
  job.finish(1);
  job.finish(0);
  ASSERT_EQ(job.lines().size(), 2u);
  EXPECT_EQ(job.lines()[1],
            "switchyard: all_to_all number 7 of group 'all' went on after 8.0 s; rank 2 is a straggler");
  // The straggler finds old questions when it waits the next time; nobody is named for them.
  job.wait(2, 8);
  job.run_until(111);
  job.wait(0, 8);
  job.wait(1, 8);
  job.run_until(112);
  for (int r : {0, 1, 2}) job.finish(r);
  EXPECT_EQ(job.lines().size(), 2u);
  EXPECT_TRUE(job.aborted_by().empty());
}

TEST(Watchdog, TheReporterEndsTheJobAfterTheSecondTime) {
  Job job(3);
  job.wait(1, 9);
  job.wait(2, 9);
  job.run_until(200);
  EXPECT_EQ(job.aborted_by(), std::vector<int>{1});
  EXPECT_NEAR(job.now(), 115, 0.3);
  ASSERT_EQ(job.lines().size(), 2u);
  EXPECT_EQ(
      job.lines()[1],
      "switchyard: rank 1 has waited 15.0 s in all_reduce_sum number 9 of group 'all'; not arrived: rank 0; the job "
      "ends");
}

TEST(Watchdog, AnotherRankReportsAndEndsTheJobWhenTheLowestIsGone) {
  Job job(3);
  job.wait(0, 9);
  job.wait(1, 9);
  job.run_until(104.4);  // both have asked and answered
  job.freeze(0);
  job.run_until(110);
  ASSERT_EQ(job.lines().size(), 1u);
  EXPECT_TRUE(job.lines()[0].starts_with("switchyard: rank 1 has waited ")) << job.lines()[0];
  job.run_until(200);
  EXPECT_EQ(job.aborted_by(), std::vector<int>{1});
  // Asked again before the end, rank 0 no longer answers.
  EXPECT_NE(job.lines().back().find("not arrived: rank 0, rank 2; the job ends"), std::string::npos);
}

TEST(Watchdog, AReporterThatFrozeAfterItsReportIsReplacedAtTheEnd) {
  Job job(3);
  job.wait(0, 9);
  job.wait(1, 9);
  job.run_until(106);
  job.freeze(0);
  job.run_until(200);
  EXPECT_EQ(job.aborted_by(), std::vector<int>{1});
  EXPECT_LT(job.now(), 119);
}

TEST(Watchdog, TimeInWhichAllRanksWereStoppedDoesNotCount) {
  Job job(2);
  job.wait(0, 3);
  job.run_until(104.5);  // the question is out, its time has not come
  job.stop_for(3600);
  job.run_until(3600 + 104.8);
  EXPECT_EQ(job.lines(), Lines{});
  job.run_until(3600 + 106);
  ASSERT_EQ(job.lines().size(), 1u) << "but the time before and after does";
  EXPECT_TRUE(job.lines()[0].starts_with("switchyard: rank 0 has waited 5.0 s in ")) << job.lines()[0];
  job.stop_for(3600);
  job.run_until(7200 + 114);
  EXPECT_TRUE(job.aborted_by().empty());
  job.finish(0);
}

TEST(Watchdog, ARankThatWaitsElsewhereIsShownWithWhatItWaitsFor) {
  Job job(4);
  const std::size_t pair = job.add_group("pair", 2, {1, 2});
  job.wait(0, 5);
  job.wait(3, 5);
  job.wait(2, 77, CommKind::kAllGather, pair);  // for rank 1, which does nothing
  job.run_until(106);
  const Lines both = {
      "switchyard: rank 0 has waited 5.0 s in all_reduce_sum number 5 of group 'all'; not arrived: rank 1, rank 2 "
      "(waits "
      "in all_gather number 77 of group 'pair'); the job ends after 15 s",
      "switchyard: rank 2 has waited 5.0 s in all_gather number 77 of group 'pair'; not arrived: rank 1; the job ends "
      "after 15 s"};
  EXPECT_EQ(job.lines(), both);
  job.finish(2);
  job.finish(0);
  ASSERT_EQ(job.lines().size(), 4u);
  EXPECT_TRUE(job.lines()[3].ends_with("; rank 1 is a straggler")) << job.lines()[3];
}

TEST(Watchdog, ARankThatIsBehindInTheSameGroupHasNotArrived) {
  Job job(2);
  job.wait(0, 6);
  job.wait(1, 5, CommKind::kBroadcast);
  job.run_until(106);
  // What rank 1 lacks is not the arrival of rank 0, which is past number 5.
  const Lines both = {
      "switchyard: rank 0 has waited 5.0 s in all_reduce_sum number 6 of group 'all'; not arrived: rank 1 (waits in "
      "broadcast number 5 of group 'all'); the job ends after 15 s",
      "switchyard: rank 1 has waited 5.0 s in broadcast number 5 of group 'all'; all ranks have arrived, their data "
      "has "
      "not; the job ends after 15 s"};
  EXPECT_EQ(job.lines(), both);
}

TEST(Watchdog, NamesAFewOfManyMissingRanks) {
  Job job(10);
  job.wait(3, 1);
  job.run_until(106);
  ASSERT_EQ(job.lines().size(), 1u);
  EXPECT_NE(job.lines()[0].find("; not arrived: rank 0, rank 1, rank 2, rank 4 and 5 more;"), std::string::npos)
      << job.lines()[0];
  EXPECT_TRUE(job.last_words(3).ends_with("; not arrived: rank 0, rank 1, rank 2, rank 4 and 5 more"));
}

TEST(Watchdog, LastWordsSayWhatIsWaitedForAndWhoIsKnownToBeMissing) {
  Job job(3);
  EXPECT_EQ(job.last_words(1), "");
  job.place(1).step = 17;
  job.place(1).layer = 2;
  job.wait(1, 1234, CommKind::kReduceScatterSum);
  job.wait(2, 1234, CommKind::kReduceScatterSum);
  const std::string words = "rank 1 was waiting in reduce_scatter_sum number 1234 of group 'all', layer 2, step 17";
  EXPECT_EQ(job.last_words(1), words);
  EXPECT_EQ(job.last_words(1, 30), words.substr(0, 30)) << "no more than there is room for";
  job.run_until(106);
  EXPECT_EQ(job.last_words(1), words + "; not arrived: rank 0");
  EXPECT_EQ(job.last_words(2), "") << "rank 1 has said it for both";
  job.finish(1);
  EXPECT_EQ(job.last_words(1), "");
}

}  // namespace
}  // namespace sy
