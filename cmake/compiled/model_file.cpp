#include "qllk/io/model_file.hpp"

namespace qllk::io {

template void save_model(const std::filesystem::path&, const EveryTransformer&, const EveryTransformer::Params&);
template void save_model(const std::filesystem::path&, const QLLKClassic<float>&, const QLLKClassic<float>::Params&);
template EveryModel load_model<EveryModel>(const std::filesystem::path&);

template Json to_json(const EveryTransformer::Config&);
template void from_json(const Json&, EveryTransformer::Config&, const std::string&);

}  // namespace qllk::io
