#include "qllk/train/compiled.hpp"

namespace qllk::train {

template class Trainer<EveryTransformer>;
template StepReport Trainer<EveryTransformer>::step<NoHook>(double, NoHook&&);
template StepReport Trainer<EveryTransformer>::step<NoHook&>(double, NoHook&);

}  // namespace qllk::train
