// The gradient checker itself: it must see one wrong element, a NaN, and leave its inputs as they were.
#include "csrc/autograd/gradcheck.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace sy {
namespace {

class GradcheckTest : public ::testing::Test {
 protected:
  GradcheckTest() {
    for (int64_t i = 0; i < kCount; ++i) {
      x.data<double>()[i] = 0.3 * static_cast<double>(i) - 2.0;
      g.data<double>()[i] = 3 * std::pow(x.data<double>()[i], 2);
    }
  }
  double cubes() const {
    double sum = 0;
    for (int64_t i = 0; i < kCount; ++i) sum += std::pow(x.data<double>()[i], 3);
    return sum;
  }
  GradcheckResult run(int64_t samples = 64) {
    return gradcheck(
        {{"x", x, g}}, [this] { return cubes(); }, 1e-6, samples);
  }

  static constexpr int64_t kCount = 13;
  Context ctx{DeviceType::cpu};
  Tensor x = ctx.zeros({kCount}, DType::f64), g = ctx.zeros({kCount}, DType::f64);
};

TEST_F(GradcheckTest, ARightGradientPasses) { EXPECT_LT(run().worst_relative_error, 1e-8); }

TEST_F(GradcheckTest, OneWrongElementIsFoundAndNamed) {
  g.data<double>()[7] += 1e-4;
  const GradcheckResult result = run();
  EXPECT_GT(result.worst_relative_error, 1e-6);
  EXPECT_NE(result.worst.find("x[7]"), std::string::npos) << result.worst;
}

TEST_F(GradcheckTest, ANanGradientIsNotSmall) {
  g.data<double>()[7] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(run().worst_relative_error < 1e-6);
}

TEST_F(GradcheckTest, InputsAreRestored) {
  const std::vector<double> before = ctx.to_host<double>(x);
  run();
  EXPECT_EQ(ctx.to_host<double>(x), before);
}

TEST_F(GradcheckTest, FewerSamplesThanElementsAreSpreadEvenly) {
  g.data<double>()[1] += 1.0;  // 4 samples of 13 fall on elements 0, 3, 6 and 9
  EXPECT_LT(run(4).worst_relative_error, 1e-6);
  g.data<double>()[9] += 1.0;
  EXPECT_GT(run(4).worst_relative_error, 1e-3);
}

}  // namespace
}  // namespace sy
