// Runs of the classic architecture.
#include "qllk/model/classic.hpp"

#include "train/run.hpp"

namespace train_tool {

template int train_model<QLLKClassic<float>>(const Options&, const train::Checkpoint*, std::optional<tool::RunFolder>,
                                             distributed::Team*);

}  // namespace train_tool
