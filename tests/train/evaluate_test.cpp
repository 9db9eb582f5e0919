#include "qllk/train/evaluate.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/data/corpus.hpp"

namespace qllk::train {
namespace {

/// Knows nothing, and fails at the byte 'x'.
struct Uniform {
  using Scalar = float;
  struct Params {
    template <class Visit, class... T>
    static void fields(Visit&&, T&...) {}
  };
  struct Cache {};
  struct State {};
  State initial_state(Index) const { return {}; }
  Index stages() const { return 1; }
  void forward(const Params&, Bytes bytes, State&, Cache&, Mat<float>& logits, Turn turn = {}) const {
    turn(0, [&] {
      for (const Byte byte : bytes)
        if (byte == 'x') throw std::runtime_error("an x");
    });
    logits.setZero(kByteValues, std::ssize(bytes));
  }
};

data::Corpus text(std::size_t size, std::size_t x) {
  std::vector<Byte> bytes(size, Byte{'a'});
  if (x < size) bytes[x] = Byte{'x'};
  return data::Corpus::from_memory(std::move(bytes));
}

TEST(Evaluate, CountsEveryByte) {
  for (const std::size_t size : {0u, 1u, 7u, 8u, 200u, 1001u}) {
    const Score score = evaluate(Uniform(), Uniform::Params(), text(size, size), {.chunk = 7, .threads = 3});
    EXPECT_EQ(score.bytes, size);
    EXPECT_TRUE(std::abs(score.nats - static_cast<double>(size) * std::log(256.0)) <= 1e-4 * static_cast<double>(size));
  }
}

/// Whatever chunk it is that fails, those that follow it find buffers, and the error arrives.
TEST(Evaluate, AFailureIsThrownOnAndNothingElseHappens) {
  for (const int threads : {1, 2, 3})
    for (const std::size_t x : {0u, 8u, 30u, 171u})
      EXPECT_THROW(evaluate(Uniform(), Uniform::Params(), text(200, x), {.chunk = 7, .threads = threads}),
                   std::runtime_error)
          << threads << " threads, byte " << x;
}

TEST(Evaluate, StopsWhenToldTo) {
  const Score score = evaluate(Uniform(), Uniform::Params(), text(1000, 1000), [](const Score&) { return false; },
                               {.chunk = 7, .threads = 2});
  EXPECT_TRUE(score.bytes > 0 && score.bytes < 1000) << score.bytes;
}

}  // namespace
}  // namespace qllk::train
