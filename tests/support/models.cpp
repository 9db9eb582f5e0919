#define QLLK_TEST_MODELS template
#include "support/models.hpp"
