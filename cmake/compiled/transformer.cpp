#include "qllk/model/compiled.hpp"

namespace qllk::inline QLLK_ISA {

template class QLLKTransformer<float>;
template void QLLKTransformer<float>::forward(const QLLKTransformer<float>::Params&, Bytes,
                                              QLLKTransformer<float>::State&, QLLKTransformer<float>::Cache&,
                                              Mat<float>&, Turn) const;
template void QLLKTransformer<float>::forward(const QLLKTransformer<float>::Int8Params&, Bytes,
                                              QLLKTransformer<float>::State&, QLLKTransformer<float>::Cache&,
                                              Mat<float>&, Turn) const;
template void QLLKTransformer<float>::backward(const QLLKTransformer<float>::Params&, Bytes,
                                               QLLKTransformer<float>::Cache&, Mat<float>&,
                                               QLLKTransformer<float>::StateGrads&,
                                               QLLKTransformer<float>::DeferredGrads&, Turn) const;

}  // namespace qllk::inline QLLK_ISA
