#include "qllk/train/compiled.hpp"

namespace qllk::train {

template class Trainer<QLLKClassic<float>>;
template StepReport Trainer<QLLKClassic<float>>::step<NoHook>(double, NoHook&&);
template StepReport Trainer<QLLKClassic<float>>::step<NoHook&>(double, NoHook&);

}  // namespace qllk::train
