// Rank 0 of a group without other ranks: sizes without data.
#include "csrc/core/check.h"
#include "parallel/comm.h"

namespace sy {

namespace {

class MetaComm final : public Comm {
 public:
  MetaComm(int size, std::string name) : size_(size), name_(std::move(name)) {}
  int rank() const override { return 0; }
  int size() const override { return size_; }
  const std::string& name() const override { return name_; }
  std::unique_ptr<Comm> split(int, int, const std::string& name) override { no_data(name.c_str()); }
  CommPlace& place() override { return place_; }
  void all_reduce_sum(std::span<float>) override {}
  void all_reduce_sum(std::span<double>) override {}
  void all_reduce_sum(std::span<int64_t>) override {}
  void broadcast(std::span<std::byte>, int) override { no_data("broadcast"); }
  void barrier() override {}
  std::vector<std::string> gather_strings(const std::string&, int) override { no_data("gather_strings"); }

 protected:
  CommRequest start_all_gather_elements(const void*, void*, int64_t, CommElement) override { no_data("all_gather"); }
  CommRequest start_all_to_all_elements(const void*, std::span<const int64_t>, void*, std::span<const int64_t>,
                                        CommElement, CommKind) override {
    no_data("all_to_all");
  }

 private:
  [[noreturn]] void no_data(const char* what) const {
    throw Error(fmt::format("{} in group '{}', whose ranks exist on the meta device only", what, name_));
  }

  int size_;
  std::string name_;
  CommPlace place_;
};

}  // namespace

std::unique_ptr<Comm> make_meta_comm(int size, const std::string& name) {
  return std::make_unique<MetaComm>(size, name);
}

}  // namespace sy
