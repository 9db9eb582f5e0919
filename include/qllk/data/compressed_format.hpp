// Compressed files: how they are known, and what reads them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "qllk/core/types.hpp"
#include "qllk/files/input_file.hpp"

namespace qllk::data {

/// A file is of a format if its name ends as that of the format and its bytes begin so.
struct CompressedFormat {
  std::string_view extension, magic, library;  // ".gz"; the first bytes of a file; what decodes it
  /// Reads a file from its begin to its end, and calls sink(Bytes) for one run of bytes after the other. Throws
  /// std::runtime_error that names the file if it is damaged or cut short. Null: this program does not have the
  /// library.
  void (*decode)(const files::InputFile& file, const std::function<void(Bytes)>& sink) = nullptr;
};

/// The formats that Corpus::open knows. At first none has a decoder; see read_compressed_files in data/compressed.hpp.
inline std::array<CompressedFormat, 3>& compressed_formats() {
  static std::array<CompressedFormat, 3> formats{{
      {".gz", "\x1F\x8B", "zlib"},
      {".xz",
       std::string_view("\xFD"
                        "7zXZ\0",
                        6),
       "liblzma"},
      {".zst", "\x28\xB5\x2F\xFD", "libzstd"},
  }};
  return formats;
}

/// The format of a file, null if it is not compressed.
inline const CompressedFormat* compressed_format(const files::InputFile& file) {
  if (!file.is_regular()) return nullptr;
  for (const CompressedFormat& format : compressed_formats()) {
    if (!file.name().ends_with(format.extension) || file.size() < format.magic.size()) continue;
    std::array<Byte, 8> begin{};
    file.read_at(0, std::span(begin).first(format.magic.size()));
    if (std::ranges::equal(std::span(begin).first(format.magic.size()), format.magic,
                           [](Byte a, char b) { return a == static_cast<Byte>(b); }))
      return &format;
  }
  return nullptr;
}

}  // namespace qllk::data
