#include "qllk/model/classic.hpp"
#include "train/run.hpp"

template int tool::train_model<qllk::QLLKClassic<float>>(const Options&, const qllk::train::Checkpoint*,
                                                         std::optional<RunFolder>);
