#include "qllk/model/compiled.hpp"

namespace qllk::inline QLLK_ISA {

template class QLLKClassic<float>;
template void QLLKClassic<float>::forward(const QLLKClassic<float>::Params&, Bytes, QLLKClassic<float>::State&,
                                          QLLKClassic<float>::Cache&, Mat<float>&, Turn) const;
template void QLLKClassic<float>::forward(const QLLKClassic<float>::Int8Params&, Bytes, QLLKClassic<float>::State&,
                                          QLLKClassic<float>::Cache&, Mat<float>&, Turn) const;
template void QLLKClassic<float>::backward(const QLLKClassic<float>::Params&, Bytes, QLLKClassic<float>::Cache&,
                                           const Mat<float>&, QLLKClassic<float>::State&,
                                           QLLKClassic<float>::DeferredGrads&, Turn) const;

}  // namespace qllk::inline QLLK_ISA
