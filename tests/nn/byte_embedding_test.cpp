#include "qllk/nn/byte_embedding.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

#include "qllk/testing/gradient_check.hpp"

namespace qllk::nn {
namespace {

TEST(ByteEmbedding, ForwardLooksUpColumns) {
  Random random(1);
  const ByteEmbedding<float> embedding({.dim = 3});
  const auto p = embedding.init(random);
  const std::vector<Byte> bytes{0, 255, 7, 255};
  ByteEmbedding<float>::Cache cache;
  Mat<float> y(3, 4);
  embedding.forward(p, bytes, cache, y);
  for (Index t = 0; t < 4; ++t) EXPECT_EQ(y.col(t), p.weight.col(bytes[static_cast<std::size_t>(t)]));
}

TEST(ByteEmbedding, BackwardMatchesCentralDifference) {
  for (const Index dim : {1, 2, 5})
    for (const Index n : {1, 2, 40}) {
      Random random = Random::of(dim, n);
      const ByteEmbedding<double> embedding({.dim = dim});
      // few kinds of bytes, so that some occur often
      const auto report = conformance::check_layer_gradients(
          embedding, embedding.init(random), conformance::random_bytes(n, random, 16), dim, {.entries = 2000});
      EXPECT_TRUE(report.passed(1e-9)) << "dim " << dim << ", n " << n << ": " << report.str();
    }
}

/// As a layer with a column for each byte: the patch of byte b is b, 3b, 9b, ….
struct PatchesOfBytes : ByteEmbedding<double> {
  using ByteEmbedding::ByteEmbedding;

  std::vector<Byte> patches(const std::vector<Byte>& bytes) const {
    std::vector<Byte> all;
    for (unsigned byte : bytes)
      for (Index i = 0; i < config().patch; ++i, byte *= 3) all.push_back(static_cast<Byte>(byte));
    return all;
  }
  void forward(const Params& p, const std::vector<Byte>& bytes, Cache& cache, MatOut<double> y) const {
    ByteEmbedding::forward(p, patches(bytes), cache, y);
  }
  void backward(const Params& p, const std::vector<Byte>& bytes, Cache& cache, MatIn<double> dy, Grads& g) const {
    ByteEmbedding::backward(p, patches(bytes), cache, dy, g);
  }
};

TEST(ByteEmbedding, PatchIsTheMeanOfItsBytes) {
  Random random(1);
  const ByteEmbedding<double> embedding({.dim = 3, .patch = 4});
  const auto p = embedding.init(random);
  const std::vector<Byte> bytes{0, 255, 7, 255, 1, 2, 3, 4};
  ByteEmbedding<double>::Cache cache;
  Mat<double> y(3, 2);
  embedding.forward(p, bytes, cache, y);
  for (Index t = 0; t < 2; ++t) {
    Vec<double> mean = Vec<double>::Zero(3);
    for (Index i = 0; i < 4; ++i) mean += p.weight.col(bytes[static_cast<std::size_t>(4 * t + i)]) / 4;
    EXPECT_TRUE((y.col(t) - mean).cwiseAbs().maxCoeff() <= 1e-15) << t;
  }
}

TEST(ByteEmbedding, BackwardOfPatchesMatchesCentralDifference) {
  for (const Index patch : {2, 3, 8})
    for (const Index n : {1, 5}) {
      Random random = Random::of(patch, n);
      const PatchesOfBytes layer({.dim = 3, .patch = patch});
      const auto report = conformance::check_layer_gradients(
          layer, layer.init(random), conformance::random_bytes(n, random, 16), 3, {.entries = 2000});
      EXPECT_TRUE(report.passed(1e-9)) << "patch " << patch << ", n " << n << ": " << report.str();
    }
}

TEST(ByteEmbedding, NoPositionsGiveNoGradient) {
  Random random(1);
  const ByteEmbedding<double> embedding({.dim = 2});
  const auto report = conformance::check_layer_gradients(embedding, embedding.init(random), std::vector<Byte>{}, 2);
  EXPECT_TRUE(report.passed(0, {"weight"})) << report.str();
}

TEST(ByteEmbedding, InitialDeviationIsTheConfigured) {
  Random random(1);
  const auto p = ByteEmbedding<double>({.dim = 64, .deviation = 0.5}).init(random);
  EXPECT_TRUE(std::abs(p.weight.norm() / 128 - 0.5) <= 0.01);  // √(64·256) values
}

TEST(ByteEmbedding, RefusesSizesThatAreNotPositive) {
  EXPECT_THROW(ByteEmbedding<float>({.dim = 0}), std::invalid_argument);
  EXPECT_THROW(ByteEmbedding<float>({.dim = 1, .patch = 0}), std::invalid_argument);
}

}  // namespace
}  // namespace qllk::nn
