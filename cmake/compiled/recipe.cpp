#include "qllk/train/fit.hpp"
#include "qllk/train/required_memory.hpp"
#include "qllk/train/speed.hpp"

namespace qllk::train {

template Memory required_memory(const EveryTransformer&, const TrainerSettings&);
template Memory required_memory(const QLLKClassic<float>&, const TrainerSettings&);
template void expect_fits(const EveryTransformer&, const TrainerSettings&, std::uint64_t);
template void expect_fits(const QLLKClassic<float>&, const TrainerSettings&, std::uint64_t);

template double measured_speed<EveryTransformer>(const data::Corpus&, int, linalg::Precision);
template double measured_speed<QLLKClassic<float>>(const data::Corpus&, int, linalg::Precision);
template Recipe<EveryTransformer> measured_recipe<EveryTransformer>(const data::Corpus&, const Budget&, int, Wanted);
template Recipe<QLLKClassic<float>> measured_recipe<QLLKClassic<float>>(const data::Corpus&, const Budget&, int,
                                                                        Wanted);

template double fit<EveryTransformer>(double, Given, EveryTransformer::Config&, TrainerSettings&);
template double fit<QLLKClassic<float>>(double, Given, QLLKClassic<float>::Config&, TrainerSettings&);

}  // namespace qllk::train
