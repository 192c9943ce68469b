// How expert rows are laid out changes no bit: row alignment, and experts of one width split over two banks.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <deque>
#include <map>

#include "csrc/ops/ops.h"
#include "kernels/philox.h"

namespace sy {
namespace {

constexpr int64_t kTokens = 37, kExperts = 5, kPerToken = 2, kHidden = 12, kWidth = 7;

using Bytes = std::vector<std::byte>;
using Results = std::map<std::string, Bytes>;

// One forward and backward of gather -> experts -> combine in a fresh context whose free memory is full of NaN.
class Layer {
 public:
  Layer(DType type, int64_t row_alignment) : type_(type) {
    ctx_.row_alignment = row_alignment;
    ctx_.tape = &tape_;
    std::vector<Tensor> blocks;
    for (const int64_t bytes : {1024, 16384, 131072, 524288})
      for (int i = 0; i < 16; ++i) {
        blocks.push_back(ctx_.empty({bytes}, DType::u8));
        std::memset(blocks.back().raw(), 0xff, static_cast<std::size_t>(bytes));
      }
  }

  Results run(const std::vector<int64_t>& banks) {
    std::vector<int32_t> token, expert;
    std::vector<uint8_t> kept;
    for (int32_t n = 0; n < kTokens * kPerToken; ++n) {
      token.push_back(n / kPerToken);
      const int32_t e = n * n % 11 % 4;  // expert 4 has nothing
      expert.push_back(n % 13 == 6 ? -1 : e);
      kept.push_back(n % 7 != 3);
    }
    const auto entries = static_cast<int64_t>(token.size());
    const ops::RowIndex index =
        ops::index_build(ctx_, ctx_.from_host<int32_t>(token, {entries}, MemoryKind::data),
                         ctx_.from_host<int32_t>(expert, {entries}, MemoryKind::data),
                         ctx_.from_host<uint8_t>(kept, {entries}, MemoryKind::data), {}, kTokens, kExperts, kExperts);
    const Var x(random(1, {kTokens, kHidden}, type_), true);
    const Var weight(random(2, {entries}, accumulation_dtype(type_)), true);
    const Tensor up = random(3, {kExperts, 2 * kWidth, kHidden}, type_);
    const Tensor down = random(4, {kExperts, kHidden, kWidth}, type_);
    const Tensor up_grad = ctx_.zeros(up.shape(), accumulation_dtype(type_));
    const Tensor down_grad = ctx_.zeros(down.shape(), accumulation_dtype(type_));

    const Var rows = ops::gather_rows(ctx_, x, index);
    Var sum;
    int64_t slot = 0;
    for (const int64_t experts : banks) {
      Parameter& first = bank(up.slice(slot, slot + experts), up_grad.slice(slot, slot + experts));
      Parameter& second = bank(down.slice(slot, slot + experts), down_grad.slice(slot, slot + experts));
      const Var a = ops::swiglu(ctx_, ops::grouped_linear(ctx_, rows, first, index, slot), index.row_end);
      const Var y = ops::grouped_linear(ctx_, a, second, index, slot);
      sum = sum.defined() ? ops::add(ctx_, sum, y) : y;
      slot += experts;
    }
    const Var out = ops::combine(ctx_, sum, weight, x, index);
    Results results{{"out", bytes(out.value())}};
    out.set_grad(random(5, out.shape(), type_));
    tape_.backward();
    results["dx"] = bytes(x.grad());
    results["dweight"] = bytes(weight.grad());
    results["dup"] = bytes(up_grad);
    results["ddown"] = bytes(down_grad);
    return results;
  }

 private:
  Tensor random(uint64_t seed, const Shape& shape, DType type) {
    const Philox stream = Philox::keyed(seed, 0, 0, 0, RngPurpose::kTest);
    Tensor t = ctx_.empty(shape, type, MemoryKind::data);
    dispatch_float(type, [&]<class T>() {
      for (int64_t i = 0; i < t.count(); ++i)
        t.data<T>()[i] = static_cast<T>(static_cast<float>(stream.normal(static_cast<uint64_t>(i))));
    });
    return t;
  }
  Parameter& bank(const Tensor& value, const Tensor& grad) {
    Parameter& p = parameters_.emplace_back();
    p.value = value;
    p.grad = grad;
    return p;
  }
  static Bytes bytes(const Tensor& t) {
    dispatch_float(t.dtype(), [&]<class T>() {
      for (int64_t i = 0; i < t.count(); ++i)
        EXPECT_TRUE(std::isfinite(static_cast<double>(t.data<T>()[i]))) << "free memory was read";
    });
    const auto* first = static_cast<const std::byte*>(t.raw());
    return {first, first + t.bytes()};
  }

  DType type_;
  Context ctx_{DeviceType::cpu};
  Tape tape_;
  std::deque<Parameter> parameters_;
};

class ExpertRows : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, ExpertRows, ::testing::Values(DType::f32, DType::f64, DType::bf16),
                         [](const auto& info) { return std::string(dtype_name(info.param)); });

void expect_same_bits(const Results& a, const Results& b) {
  for (const auto& [name, bits] : a) EXPECT_TRUE(bits == b.at(name)) << name;
}

TEST_P(ExpertRows, AlignmentChangesNoBit) {
  const Results packed = Layer(GetParam(), 1).run({kExperts});
  for (const int64_t alignment : {16, 128}) {
    SCOPED_TRACE(alignment);
    expect_same_bits(packed, Layer(GetParam(), alignment).run({kExperts}));
  }
}

TEST_P(ExpertRows, TwoBanksOfOneWidthGiveTheBitsOfOneBank) {
  for (const int64_t alignment : {1, 128}) {
    SCOPED_TRACE(alignment);
    expect_same_bits(Layer(GetParam(), alignment).run({kExperts}), Layer(GetParam(), alignment).run({2, 3}));
  }
}

TEST_P(ExpertRows, ASecondRunGivesTheSameBits) {
  expect_same_bits(Layer(GetParam(), 128).run({kExperts}), Layer(GetParam(), 128).run({kExperts}));
}

}  // namespace
}  // namespace sy
