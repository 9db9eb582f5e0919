#include "qllk/compress/checksum.hpp"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "qllk/core/random.hpp"

namespace {

using qllk::Byte;
using qllk::Bytes;
using qllk::compress::Checksum;

std::uint64_t checksum(Bytes bytes) {
  Checksum sum;
  sum.update(bytes);
  return sum.value();
}

std::vector<Byte> random_bytes(std::size_t size) {
  qllk::Random random(size);
  std::vector<Byte> bytes(size);
  for (Byte& byte : bytes) byte = static_cast<Byte>(random.bits());
  return bytes;
}

TEST(Checksum, DoesNotDependOnHowTheBytesAreCut) {
  const std::vector<Byte> bytes = random_bytes(61);
  for (std::size_t a = 0; a <= bytes.size(); ++a)
    for (std::size_t b = a; b <= bytes.size(); ++b) {
      Checksum sum;
      sum.update(Bytes(bytes).first(a));
      sum.update(Bytes(bytes).subspan(a, b - a));
      sum.update(Bytes(bytes).subspan(b));
      ASSERT_EQ(sum.value(), checksum(bytes)) << a << ' ' << b;
    }
}

TEST(Checksum, TellsApartEveryChangeOfAByteAndEveryLength) {
  std::vector<Byte> bytes = random_bytes(40);
  std::set<std::uint64_t> seen{checksum(bytes)};
  for (std::size_t at = 0; at < bytes.size(); ++at)
    for (unsigned change = 1; change < 256; ++change) {
      bytes[at] = static_cast<Byte>(bytes[at] ^ change);
      EXPECT_TRUE(seen.insert(checksum(bytes)).second);
      bytes[at] = static_cast<Byte>(bytes[at] ^ change);
    }
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_TRUE(seen.insert(checksum(Bytes(bytes).first(size))).second);
  const std::vector<Byte> zeros(100);
  for (std::size_t size = 1; size < zeros.size(); ++size)
    EXPECT_TRUE(seen.insert(checksum(Bytes(zeros).first(size))).second);
}

TEST(Checksum, IsTheSameOnEveryMachine) {
  EXPECT_EQ(checksum({}), 12035550249420947055u);
  EXPECT_EQ(checksum(random_bytes(1000)), 1884590200860977357u);
}

}  // namespace
