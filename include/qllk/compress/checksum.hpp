// The checksum of compressed files, which other files have too.
#pragma once

#include "qllk/files/checksum.hpp"

namespace qllk::compress {

using files::Checksum;

}  // namespace qllk::compress
