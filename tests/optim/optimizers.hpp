// Every optimiser of the library, for typed suites.
#pragma once

#include <gtest/gtest.h>

#include "qllk/optim/adam.hpp"

namespace qllk::optim {

using EveryOptimizerType = ::testing::Types<Adam, AdamW>;

}  // namespace qllk::optim
