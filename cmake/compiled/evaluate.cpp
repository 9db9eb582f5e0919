#include "qllk/train/evaluate.hpp"

namespace qllk::train {

template Score evaluate(const EveryTransformer&, const EveryTransformer::Params&, const data::Corpus&,
                        const std::function<bool(const Score&)>&, EvaluateSettings);
template Score evaluate(const QLLKClassic<float>&, const QLLKClassic<float>::Params&, const data::Corpus&,
                        const std::function<bool(const Score&)>&, EvaluateSettings);
template Score evaluate(const EveryTransformer&, const EveryTransformer::Int8Params&, const data::Corpus&,
                        const std::function<bool(const Score&)>&, EvaluateSettings);
template Score evaluate(const QLLKClassic<float>&, const QLLKClassic<float>::Int8Params&, const data::Corpus&,
                        const std::function<bool(const Score&)>&, EvaluateSettings);
template Score evaluate_adapting(Adapter<EveryTransformer>&, const data::Corpus&,
                                 const std::function<bool(const Score&)>&);
template Score evaluate_adapting(Adapter<QLLKClassic<float>>&, const data::Corpus&,
                                 const std::function<bool(const Score&)>&);

}  // namespace qllk::train
