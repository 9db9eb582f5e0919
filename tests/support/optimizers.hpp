// Every optimiser of the library, for typed suites.
#pragma once

#include <gtest/gtest.h>

#include "qllk/optim/adam.hpp"
#include "qllk/optim/lion.hpp"

namespace qllk::optim {

using EveryOptimizerType = ::testing::Types<Adam, AdamW, Lion>;

}  // namespace qllk::optim
