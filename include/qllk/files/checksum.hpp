// A 64-bit checksum of a stream of bytes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "qllk/core/random.hpp"
#include "qllk/core/types.hpp"

namespace qllk::files {

static_assert(std::endian::native == std::endian::little, "checksum: written for little-endian machines");

/// Finds damage, not malice. The bytes in words of eight go through h = mix64(h ^ word), a bijection of h and of the
/// word: two streams of one length that differ inside one word never agree; any others do by a chance of 2^-64.
/// However the stream is cut into updates, the value is the same. Cost: about 2 GB/s.
class Checksum {
 public:
  /// Adds bytes to those before.
  void update(Bytes bytes) {
    size_ += bytes.size();
    for (; used_ > 0 && !bytes.empty(); bytes = bytes.subspan(1)) put(bytes[0]);
    for (; bytes.size() >= kWord; bytes = bytes.subspan(kWord)) {
      std::uint64_t word;
      std::memcpy(&word, bytes.data(), kWord);
      hash_ = mix64(hash_ ^ word);
    }
    for (const Byte byte : bytes) put(byte);
  }

  /// Of everything so far.
  std::uint64_t value() const { return mix64(mix64(hash_ ^ word_) ^ size_); }

 private:
  static constexpr std::size_t kWord = 8;

  void put(Byte byte) {
    word_ |= std::uint64_t{byte} << (8 * used_);
    if (++used_ < kWord) return;
    hash_ = mix64(hash_ ^ word_);
    word_ = used_ = 0;
  }

  std::uint64_t hash_ = 0;
  std::uint64_t word_ = 0;  // the bytes past the last whole word
  std::size_t used_ = 0;
  std::uint64_t size_ = 0;
};

}  // namespace qllk::files
