#include "qllk/model/compiled.hpp"

namespace qllk::inline QLLK_ISA {

template class BasicTransformer<float, mixers::Registered<float>>;
template void EveryTransformer::forward(const EveryTransformer::Params&, Bytes, EveryTransformer::State&,
                                        EveryTransformer::Cache&, Mat<float>&, Turn) const;
template void EveryTransformer::forward(const EveryTransformer::Int8Params&, Bytes, EveryTransformer::State&,
                                        EveryTransformer::Cache&, Mat<float>&, Turn) const;
template void EveryTransformer::advance(const EveryTransformer::Params&, Bytes, EveryTransformer::State&,
                                        EveryTransformer::Cache&, Turn) const;
template void EveryTransformer::backward(const EveryTransformer::Params&, Bytes, EveryTransformer::Cache&, Mat<float>&,
                                         EveryTransformer::StateGrads&, EveryTransformer::DeferredGrads&, Turn) const;

}  // namespace qllk::inline QLLK_ISA
