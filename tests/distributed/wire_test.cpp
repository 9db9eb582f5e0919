#include "qllk/distributed/wire.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "qllk/core/random.hpp"

namespace qllk::distributed {
namespace {

TEST(Wire, HalfIsTheNearestBfloat16) {
  for (const float exact : {0.0f, -0.0f, 1.0f, -1.5f, 0x1p-120f, 0x1.fep127f, std::numeric_limits<float>::infinity()})
    EXPECT_EQ(from_bfloat16(to_bfloat16(exact)), exact);
  EXPECT_EQ(from_bfloat16(to_bfloat16(0x1.01p0f)), 1.0f);           // a tie goes to the even neighbour
  EXPECT_EQ(from_bfloat16(to_bfloat16(0x1.03p0f)), 0x1.04p0f);      // likewise
  EXPECT_EQ(from_bfloat16(to_bfloat16(0x1.010002p0f)), 0x1.02p0f);  // beyond the tie
  EXPECT_TRUE(std::isnan(from_bfloat16(to_bfloat16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_TRUE(std::isnan(from_bfloat16(to_bfloat16(std::numeric_limits<float>::signaling_NaN()))));
  Random random(1);
  for (int i = 0; i < 1000; ++i) {
    const auto value = static_cast<float>(random.uniform() - 0.5);
    EXPECT_TRUE(std::abs(from_bfloat16(to_bfloat16(value)) - value) <= 0x1p-8f * std::abs(value)) << value;
  }
}

/// What rounding takes off arrives later.
TEST(Wire, ErrorFeedbackLosesNothing) {
  constexpr int kTimes = 100;
  const std::vector<float> values{1.001f, -3e-5f, 0.12345f, 1000.1f};
  std::vector<float> residual(values.size()), received(values.size());
  std::vector<double> sums(values.size());
  std::vector<std::byte> bytes(wire_bytes<float>(Wire::half, values.size()));
  for (int i = 0; i < kTimes; ++i) {
    encode(Wire::half, std::span(values), std::span(residual), bytes.data());
    decode(Wire::half, bytes.data(), std::span(received));
    for (std::size_t v = 0; v < values.size(); ++v) sums[v] += static_cast<double>(received[v]);
  }
  for (std::size_t v = 0; v < values.size(); ++v) {
    const auto exact = static_cast<double>(values[v]);
    EXPECT_TRUE(std::abs(sums[v] / kTimes - exact) <= 1e-4 * std::abs(exact)) << sums[v] / kTimes << ", " << exact;
  }
}

TEST(Wire, AResidualThatIsNotFiniteIsDropped) {
  const std::vector<float> bad{std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()};
  std::vector<float> residual(2), received(2);
  std::vector<std::byte> bytes(wire_bytes<float>(Wire::half, 2));
  encode(Wire::half, std::span(bad), std::span(residual), bytes.data());
  decode(Wire::half, bytes.data(), std::span(received));
  EXPECT_FALSE(std::isfinite(received[0]) || std::isfinite(received[1]));
  EXPECT_EQ(residual, std::vector<float>(2));
}

}  // namespace
}  // namespace qllk::distributed
