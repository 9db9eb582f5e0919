// What the compiled library holds of the models, so that no program compiles it again. The models' headers include it.
#pragma once

#include "qllk/core/turns.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/int8_matrix.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"

namespace qllk::inline QLLK_ISA {

extern template class QLLKTransformer<float>;
extern template void QLLKTransformer<float>::forward(const QLLKTransformer<float>::Params&, Bytes,
                                                     QLLKTransformer<float>::State&, QLLKTransformer<float>::Cache&,
                                                     Mat<float>&, Turn) const;
extern template void QLLKTransformer<float>::forward(const QLLKTransformer<float>::Int8Params&, Bytes,
                                                     QLLKTransformer<float>::State&, QLLKTransformer<float>::Cache&,
                                                     Mat<float>&, Turn) const;
extern template void QLLKTransformer<float>::backward(const QLLKTransformer<float>::Params&, Bytes,
                                                      QLLKTransformer<float>::Cache&, Mat<float>&,
                                                      QLLKTransformer<float>::StateGrads&,
                                                      QLLKTransformer<float>::DeferredGrads&, Turn) const;

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
