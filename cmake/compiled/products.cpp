#include "qllk/linalg/gemm.hpp"
#include "qllk/linalg/gemm_bfloat16_impl.hpp"

namespace qllk::linalg::detail {

template void gemm<float, false, false>(const GemmProduct<float>&);
template void gemm<float, false, true>(const GemmProduct<float>&);
template void gemm<float, true, false>(const GemmProduct<float>&);
template void gemm<float, true, true>(const GemmProduct<float>&);
template void gemm<double, false, false>(const GemmProduct<double>&);
template void gemm<double, false, true>(const GemmProduct<double>&);
template void gemm<double, true, false>(const GemmProduct<double>&);
template void gemm<double, true, true>(const GemmProduct<double>&);

}  // namespace qllk::linalg::detail
