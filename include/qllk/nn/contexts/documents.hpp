// Where one document ends in a stream and the next one starts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>

#include "qllk/core/types.hpp"

namespace qllk::nn {

/// Documents in a stream, each of which starts with the same byte: what was read before it is forgotten, so that
/// nothing of one document is copied into the next. A rule on bytes holds alike in training, scoring and generation,
/// however a stream is cut.
class Documents {
 public:
  /// A stream is one document.
  Documents() = default;
  /// Throws std::invalid_argument unless `start` is a byte, or -1 for none.
  explicit Documents(int start) : start_(start) {
    if (start < -1 || start >= kByteValues)
      throw InvalidArgument("document_start is " + std::to_string(start) +
                            ", expected -1 for none, or a byte from 0 to 255");
  }

  /// Whether a document starts with this byte.
  bool start_with(Byte byte) const { return start_ == int{byte}; }

  /// The last document that starts in these bytes; nothing if none does.
  Bytes last(Bytes bytes) const {
    for (std::size_t size = start_ < 0 ? 0 : bytes.size(); size-- > 0;)
      if (start_with(bytes[size])) return bytes.subspan(size);
    return {};
  }

  /// Calls f(offset, bytes, anew) for each part that is of one document, in order; anew: the document starts there.
  template <class F>
  void for_each(Bytes bytes, F&& f) const {
    if (start_ < 0) return f(std::size_t{0}, bytes, false);
    for (std::size_t begin = 0; begin < bytes.size();) {
      const auto next = std::find(bytes.begin() + static_cast<std::ptrdiff_t>(begin) + 1, bytes.end(), start_);
      const auto end = static_cast<std::size_t>(next - bytes.begin());
      f(begin, bytes.subspan(begin, end - begin), start_with(bytes[begin]));
      begin = end;
    }
  }

 private:
  int start_ = -1;
};

}  // namespace qllk::nn
