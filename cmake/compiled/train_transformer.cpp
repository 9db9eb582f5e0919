#include "qllk/train/compiled.hpp"

namespace qllk::train {

template class Trainer<QLLKTransformer<float>>;
template StepReport Trainer<QLLKTransformer<float>>::step<NoHook>(double, NoHook&&);
template StepReport Trainer<QLLKTransformer<float>>::step<NoHook&>(double, NoHook&);

}  // namespace qllk::train
