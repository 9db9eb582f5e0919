#include "qllk/mixers/latent_scan.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "qllk/testing/subject.hpp"

namespace qllk::mixers {
namespace {

using conformance::random_matrix;
using conformance::relative_error;

template <Real Scalar>
struct Case {
  Index dim, head_dim, sequences, length;
  Mat<Scalar> q, k, v, decay, dy, start, dfinal;

  Case(Index dim_, Index head_dim_, Index sequences_, Index length_, bool decays, Random& random)
      : dim(dim_), head_dim(head_dim_), sequences(sequences_), length(length_) {
    const Index n = sequences * length;
    for (auto* part : {&q, &k, &v, &dy}) *part = random_matrix<Scalar>(dim, n, random);
    start = random_matrix<Scalar>(head_dim * dim, sequences, random);
    dfinal = random_matrix<Scalar>(head_dim * dim, sequences, random);
    if (decays) decay = random_matrix<Scalar>(dim / head_dim, n, random, 2).array().logistic();
  }
  std::string str() const {
    return "dim " + std::to_string(dim) + ", head_dim " + std::to_string(head_dim) + ", sequences " +
           std::to_string(sequences) + ", length " + std::to_string(length) + (decay.size() > 0 ? ", decay" : "");
  }
};

struct Result {
  Mat<double> y, final, dq, dk, dv, ddecay, dstart;
};

/// The recurrence as it is written, one position at a time, and its reverse.
template <Real Scalar>
Result reference(const Case<Scalar>& c) {
  const auto wide = [](const Mat<Scalar>& m) { return Mat<double>(m.template cast<double>()); };
  const Mat<double> q = wide(c.q), k = wide(c.k), v = wide(c.v), a = wide(c.decay), dy = wide(c.dy);
  const Index d = c.head_dim;
  Result r{q, wide(c.start), q, q, q, a, wide(c.dfinal)};
  for (Index s = 0; s < c.sequences; ++s)
    for (Index h = 0; h < c.dim / d; ++h) {
      std::vector<Mat<double>> S{Eigen::Map<const Mat<double>>(r.final.col(s).data() + h * d * d, d, d)};
      const auto head = [&](auto& m, Index t) { return m.col(s * c.length + t).segment(h * d, d); };
      for (Index t = 0; t < c.length; ++t) {
        const Mat<double> kv = head(k, t) * head(v, t).transpose();
        const double at = a.size() > 0 ? a(h, s * c.length + t) : 1;
        S.push_back(a.size() > 0 ? Mat<double>(at * S.back() + (1 - at) * kv) : Mat<double>(S.back() + kv));
        head(r.y, t) = S.back().transpose() * head(q, t);
      }
      Eigen::Map<Mat<double>>(r.final.col(s).data() + h * d * d, d, d) = S.back();
      Eigen::Map<Mat<double>> dS(r.dstart.col(s).data() + h * d * d, d, d);
      for (Index t = c.length; t-- > 0;) {
        const auto at_t = static_cast<std::size_t>(t);
        const double at = a.size() > 0 ? a(h, s * c.length + t) : 1, weight = a.size() > 0 ? 1 - at : 1;
        head(r.dq, t) = S[at_t + 1] * head(dy, t);
        dS += head(q, t) * head(dy, t).transpose();
        head(r.dk, t) = weight * (dS * head(v, t));
        head(r.dv, t) = weight * (dS.transpose() * head(k, t));
        if (a.size() > 0) {
          const Mat<double> kv = head(k, t) * head(v, t).transpose();
          r.ddecay(h, s * c.length + t) = at * (1 - at) * dS.cwiseProduct(S[at_t] - kv).sum();
        }
        dS *= at;
      }
    }
  return r;
}

template <Real Scalar>
void expect_reference(const Case<Scalar>& c, double tolerance) {
  const Result expected = reference(c);
  const LatentScan<Scalar> scan(c.dim, c.head_dim);
  typename LatentScan<Scalar>::Cache cache;
  LatentState<Scalar> state{c.start}, dstate{c.dfinal}, dstate_in_place{c.dfinal};
  const Scalar nan = conformance::detail::kNaN<Scalar>;
  Mat<Scalar> y = Mat<Scalar>::Constant(c.dim, c.q.cols(), nan), dq = y, dk = y, dv = y;
  Mat<Scalar> ddecay = Mat<Scalar>::Constant(c.decay.rows(), c.decay.cols(), nan);
  scan.forward({.q = c.q, .k = c.k, .v = c.v, .decay = c.decay}, state, cache, y);
  scan.backward({.q = c.q, .k = c.k, .v = c.v, .decay = c.decay}, cache, c.dy, dstate,
                {.q = dq, .k = dk, .v = dv, .decay = ddecay});
  Mat<Scalar> q = c.q, k = c.k, v = c.v, decay = c.decay;
  scan.backward({.q = q, .k = k, .v = v, .decay = decay}, cache, c.dy, dstate_in_place,
                {.q = q, .k = k, .v = v, .decay = decay});
  EXPECT_TRUE(q == dq && k == dk && v == dv && dstate_in_place.memory == dstate.memory && decay == ddecay)
      << "in place, " << c.str();
  const auto expect = [&](const char* name, const Mat<Scalar>& found, const Mat<double>& wanted) {
    const double error = relative_error(found, wanted, 1);  // sums may cancel; their terms are about 1
    EXPECT_TRUE(error <= tolerance) << name << ": " << error << ", " << c.str();
  };
  expect("y", y, expected.y);
  expect("final state", state.memory, expected.final);
  expect("dq", dq, expected.dq);
  expect("dk", dk, expected.dk);
  expect("dv", dv, expected.dv);
  expect("ddecay", ddecay, expected.ddecay);
  expect("initial dstate", dstate.memory, expected.dstart);
}

template <class Scalar>
class Scan : public ::testing::Test {
 public:
  static constexpr double kTolerance = std::is_same_v<Scalar, float> ? 1e-5 : 1e-13;
};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Scan, Scalars);

TYPED_TEST(Scan, EqualsTheRecurrenceForwardAndBackward) {
  for (const auto& [dim, head_dim] :
       {std::pair<Index, Index>{1, 1}, {5, 1}, {300, 1}, {6, 2}, {8, 4}, {32, 16}, {3, 3}})
    for (const bool decays : {false, true})
      for (const Index sequences : {1, 3})
        for (const Index length : {0, 1, 5, 31, 32, 33, 67}) {
          Random random = Random::of(dim, head_dim, decays, sequences, length);
          expect_reference(Case<TypeParam>(dim, head_dim, sequences, length, decays, random), this->kTolerance);
        }
}

TYPED_TEST(Scan, SaturatedDecaysAreExactAndFinite) {
  for (const Index head_dim : {1, 2, 4, 16})
    for (const Index length : {1, 33, 67}) {
      Random random = Random::of(head_dim, length);
      Case<TypeParam> c(2 * head_dim, head_dim, 2, length, true, random);
      c.decay.setZero();
      expect_reference(c, this->kTolerance);
      c.decay.setOnes();
      expect_reference(c, this->kTolerance);
      for (Index i = 0; i < c.decay.size(); ++i) {  // 0, 1 and between, in any order
        const auto kind = random.below(4);
        c.decay.data()[i] = kind < 2 ? static_cast<TypeParam>(kind) : static_cast<TypeParam>(random.uniform());
      }
      expect_reference(c, this->kTolerance);
      c.decay.setConstant(std::numeric_limits<TypeParam>::min());
      expect_reference(c, this->kTolerance);
      c.decay.setConstant(1 - std::numeric_limits<TypeParam>::epsilon());
      expect_reference(c, this->kTolerance);
    }
}

TYPED_TEST(Scan, NoSequencesIsNoWork) {
  const LatentScan<TypeParam> scan(4, 2);
  LatentState<TypeParam> state;
  scan.reset(state, 0);
  typename LatentScan<TypeParam>::Cache cache;
  const Mat<TypeParam> none(4, 0);
  Mat<TypeParam> y(4, 0);
  scan.forward({.q = none, .k = none, .v = none}, state, cache, y);
  EXPECT_EQ(state.sequences(), 0);
}

/// Without compensation these sums of 300,000 terms are wrong by 1e-3, added one at a time, and 1e-5, by chunks.
TEST(LatentScan, CompensatedSumsKeepTheirPrecisionInAnyChunks) {
  constexpr Index kPositions = 300'000, kDim = 4;
  for (const Index head_dim : {1, 2})
    for (const Index piece : {1, 1000}) {
      const LatentScan<float> scan(kDim, head_dim);
      LatentScan<float>::Cache cache;
      LatentState<float> state;
      scan.reset(state, 1, Sums::compensated);
      const Mat<float> k = Mat<float>::Constant(kDim, piece, 0.1F), v = Mat<float>::Ones(kDim, piece), none;
      Mat<float> y(kDim, piece);
      for (Index at = 0; at < kPositions; at += piece)
        scan.forward({.q = v, .k = k, .v = v, .decay = none, .beta = none}, state, cache, y);
      const double wanted = static_cast<double>(0.1F) * static_cast<double>(kPositions);
      for (Index i = 0; i < state.memory.size(); ++i)
        EXPECT_TRUE(std::abs(static_cast<double>(state.memory.data()[i]) / wanted - 1) <=
                    1e-6)  // a chunk's own sum is rounded too
            << "head_dim " << head_dim << ", pieces of " << piece << ": " << state.memory.data()[i];
    }
}

TEST(LatentScan, RefusesHeadsThatDoNotDivideDim) {
  EXPECT_THROW(LatentScan<float>(4, 3), std::invalid_argument);
  EXPECT_THROW(LatentScan<float>(0, 1), std::invalid_argument);
  EXPECT_THROW(LatentScan<float>(4, 0), std::invalid_argument);
}

}  // namespace
}  // namespace qllk::mixers
