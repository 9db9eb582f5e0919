#include "qllk/language_model_impl.hpp"

namespace qllk::inline QLLK_ISA {

template class BasicLanguageModel<StoredEveryModel>;

}  // namespace qllk::inline QLLK_ISA
