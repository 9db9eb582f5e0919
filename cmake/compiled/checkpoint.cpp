#include "qllk/train/checkpoint.hpp"

namespace qllk::io {

template Json to_json(const train::TrainerSettings&);
template void from_json(const Json&, train::TrainerSettings&, const std::string&);

}  // namespace qllk::io

namespace qllk::train {

template void save_checkpoint(const std::filesystem::path&, const Trainer<EveryTransformer>&, const Budget&,
                              const io::Json&);
template void save_checkpoint(const std::filesystem::path&, const Trainer<QLLKClassic<float>>&, const Budget&,
                              const io::Json&);
template EveryTransformer Checkpoint::model<EveryTransformer>() const;
template QLLKClassic<float> Checkpoint::model<QLLKClassic<float>>() const;
template TrainerSettings Checkpoint::settings<optim::AdamW>() const;
template void Checkpoint::restore(Trainer<EveryTransformer>&) const;
template void Checkpoint::restore(Trainer<QLLKClassic<float>>&) const;

}  // namespace qllk::train
