// The models in float that most tests run, compiled once by models.cpp with the tests' own flags.
#pragma once

#include <functional>

#include "qllk/core/turns.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/int8_matrix.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/train/evaluate.hpp"
#include "qllk/train/trainer.hpp"

#ifndef QLLK_TEST_MODELS
#define QLLK_TEST_MODELS extern template
#endif

namespace qllk::inline QLLK_ISA {

using TestTransformer = QLLKTransformer<float>;
using TestClassic = QLLKClassic<float>;

QLLK_TEST_MODELS void TestTransformer::forward(const TestTransformer::Params&, Bytes, TestTransformer::State&,
                                               TestTransformer::Cache&, Mat<float>&, Turn) const;
QLLK_TEST_MODELS void TestTransformer::forward(const TestTransformer::Int8Params&, Bytes, TestTransformer::State&,
                                               TestTransformer::Cache&, Mat<float>&, Turn) const;
QLLK_TEST_MODELS void TestTransformer::advance(const TestTransformer::Params&, Bytes, TestTransformer::State&,
                                               TestTransformer::Cache&, Turn) const;
QLLK_TEST_MODELS void TestTransformer::backward(const TestTransformer::Params&, Bytes, TestTransformer::Cache&,
                                                Mat<float>&, TestTransformer::StateGrads&, TestTransformer::Grads&,
                                                Turn) const;
QLLK_TEST_MODELS void TestTransformer::backward(const TestTransformer::Params&, Bytes, TestTransformer::Cache&,
                                                Mat<float>&, TestTransformer::StateGrads&,
                                                TestTransformer::DeferredGrads&, Turn) const;

QLLK_TEST_MODELS void TestClassic::backward(const TestClassic::Params&, Bytes, TestClassic::Cache&, const Mat<float>&,
                                            TestClassic::State&, TestClassic::Grads&, Turn) const;

}  // namespace qllk::inline QLLK_ISA

namespace qllk::train {

QLLK_TEST_MODELS class Trainer<TestTransformer>;
QLLK_TEST_MODELS StepReport Trainer<TestTransformer>::step<NoHook>(double, NoHook&&);
QLLK_TEST_MODELS Score evaluate(const TestTransformer&, const TestTransformer::Params&, const data::Corpus&,
                                const std::function<bool(const Score&)>&, EvaluateSettings);

}  // namespace qllk::train
