// What the compiled library holds of training. trainer.hpp includes it.
#pragma once

#include "qllk/model/classic.hpp"
#include "qllk/model/compiled.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/train/trainer.hpp"

namespace qllk::train {

extern template class Trainer<EveryTransformer>;
extern template StepReport Trainer<EveryTransformer>::step<NoHook>(double, NoHook&&);
extern template StepReport Trainer<EveryTransformer>::step<NoHook&>(double, NoHook&);

extern template class Trainer<QLLKClassic<float>>;
extern template StepReport Trainer<QLLKClassic<float>>::step<NoHook>(double, NoHook&&);
extern template StepReport Trainer<QLLKClassic<float>>::step<NoHook&>(double, NoHook&);

}  // namespace qllk::train
