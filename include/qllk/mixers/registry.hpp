// The one list of mixers: tools, files, benchmarks and tests are made from it. To add one: its header, and its name
// here.
#pragma once

#include "qllk/core/types.hpp"
#include "qllk/mixers/any_mixer.hpp"
#include "qllk/mixers/gated_delta.hpp"
#include "qllk/mixers/latent_kernel.hpp"
#include "qllk/mixers/linear_attention.hpp"
#include "qllk/mixers/linformer.hpp"
#include "qllk/mixers/mamba.hpp"
#include "qllk/mixers/mamba2.hpp"
#include "qllk/mixers/melf.hpp"
#include "qllk/mixers/min_gru.hpp"
#include "qllk/mixers/retention.hpp"
#include "qllk/mixers/rg_lru.hpp"
#include "qllk/mixers/rwkv4.hpp"
#include "qllk/mixers/rwkv7.hpp"
#include "qllk/mixers/softmax_attention.hpp"

namespace qllk::mixers {

/// Any of the library's mixers. The first is what a model has unless told otherwise, and what old files mean.
template <Real Scalar>
using Registered = AnyMixer<LatentKernel<Scalar>, MinGru<Scalar>, SoftmaxAttention<Scalar>, LinearAttention<Scalar>,
                            Linformer<Scalar>, Retention<Scalar>, Rwkv4<Scalar>, Rwkv7<Scalar>, Mamba<Scalar>,
                            Mamba2<Scalar>, Melf<Scalar>, GatedDelta<Scalar>, RgLru<Scalar>>;

}  // namespace qllk::mixers
