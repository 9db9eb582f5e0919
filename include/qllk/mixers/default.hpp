// What a model of a program that names no mixer is made of.
#pragma once

#include "qllk/core/types.hpp"
#include "qllk/mixers/any_mixer.hpp"
#include "qllk/mixers/latent_kernel.hpp"

namespace qllk::mixers {

/// The mixer that models recommend, alone: every further one would cost each program seconds to compile. All that there
/// are, to be chosen at run time, is Registered (registry.hpp).
template <Real Scalar>
using Default = AnyMixer<LatentKernel<Scalar>>;

}  // namespace qllk::mixers
