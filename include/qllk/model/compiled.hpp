// What the compiled library holds of the models, so that no program compiles it again. The models' headers include it.
#pragma once

#include "qllk/core/turns.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/int8_matrix.hpp"
#include "qllk/mixers/registry.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"

namespace qllk::inline QLLK_ISA {

/// The default model with any choice of mixers.
using EveryTransformer = QLLKTransformer<float, mixers::Registered>;

extern template class BasicTransformer<float, mixers::Registered<float>>;
extern template void EveryTransformer::forward(const EveryTransformer::Params&, Bytes, EveryTransformer::State&,
                                               EveryTransformer::Cache&, Mat<float>&, Turn) const;
extern template void EveryTransformer::forward(const EveryTransformer::Int8Params&, Bytes, EveryTransformer::State&,
                                               EveryTransformer::Cache&, Mat<float>&, Turn) const;
extern template void EveryTransformer::advance(const EveryTransformer::Params&, Bytes, EveryTransformer::State&,
                                               EveryTransformer::Cache&, Turn) const;
extern template void EveryTransformer::backward(const EveryTransformer::Params&, Bytes, EveryTransformer::Cache&,
                                                Mat<float>&, EveryTransformer::StateGrads&,
                                                EveryTransformer::DeferredGrads&, Turn) const;

extern template class QLLKClassic<float>;
extern template void QLLKClassic<float>::forward(const QLLKClassic<float>::Params&, Bytes, QLLKClassic<float>::State&,
                                                 QLLKClassic<float>::Cache&, Mat<float>&, Turn) const;
extern template void QLLKClassic<float>::forward(const QLLKClassic<float>::Int8Params&, Bytes,
                                                 QLLKClassic<float>::State&, QLLKClassic<float>::Cache&, Mat<float>&,
                                                 Turn) const;
extern template void QLLKClassic<float>::backward(const QLLKClassic<float>::Params&, Bytes, QLLKClassic<float>::Cache&,
                                                  const Mat<float>&, QLLKClassic<float>::State&,
                                                  QLLKClassic<float>::DeferredGrads&, Turn) const;

}  // namespace qllk::inline QLLK_ISA
