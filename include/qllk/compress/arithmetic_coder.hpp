// Arithmetic coding: a sequence of symbols as one number, in as many bits as their probabilities say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "qllk/core/types.hpp"

namespace qllk::compress {

/// Probabilities are whole multiples of 2^-kTotalBits, those of all symbols together are kTotal.
inline constexpr int kTotalBits = 30;
/// The sum of the probabilities of all symbols.
inline constexpr std::uint32_t kTotal = std::uint32_t{1} << kTotalBits;

namespace detail {
/// The range is kept at 2^56 and more: one part in kTotal of it has 2^26 values, so rounding costs next to nothing.
inline constexpr std::uint64_t kSmallestRange = std::uint64_t{1} << 56;
inline constexpr int kTopShift = 56;
/// Bytes that the decoder sees at once. All but the first may lie past the end, as zeros.
inline constexpr int kWindow = 8;
}  // namespace detail

/// The bytes given to a decoder are not what an encoder wrote.
class DecodeError : public RuntimeError {
 public:
  using RuntimeError::RuntimeError;
};

/// Writes symbols as the bytes of a number in [0, 1): each narrows the interval [low, low + range) to its share.
///
/// A carry out of `low` runs through the bytes already made; so the last of them, and the 0xFF after it that a carry
/// would turn over, are held back. Memory does not grow with them.
///
/// Cost     Σ -log2(size / kTotal) bits, by a factor 1 + 2^-26 at most a symbol, and one byte at the end
/// Source   Martin 1979, "Range encoding"; the carry as in Pavlov's LZMA
class RangeEncoder {
 public:
  /// Appends the symbol that owns [begin, begin + size) of [0, kTotal). size > 0.
  void encode(std::uint32_t begin, std::uint32_t size) {
    QLLK_ASSERT(size > 0 && begin < kTotal && size <= kTotal - begin);
    range_ >>= kTotalBits;
    const std::uint64_t step = range_ * begin;
    low_ += step;
    carry_ = carry_ || low_ < step;
    range_ *= size;
    while (range_ < detail::kSmallestRange) shift();
  }

  /// Makes the last bytes. Call it once, after the last symbol.
  void finish() {
    // the one value in [low, low + range) that ends in seven zero bytes, which need not be written
    low_ += detail::kSmallestRange - 1;
    carry_ = carry_ || low_ < detail::kSmallestRange - 1;
    shift();
    if (holds_) bytes_.push_back(held_);
    bytes_.insert(bytes_.end(), held_full_, Byte{0xFF});
    holds_ = false;
    held_full_ = 0;
  }

  /// Bytes made and not yet taken.
  std::size_t ready() const { return bytes_.size(); }
  /// Hands them over: whoever writes a stream takes them from time to time.
  std::vector<Byte> take() { return std::exchange(bytes_, {}); }

 private:
  void shift() {
    const auto top = static_cast<Byte>(low_ >> detail::kTopShift);
    if (top != 0xFF || carry_) {
      if (holds_) bytes_.push_back(static_cast<Byte>(held_ + (carry_ ? 1 : 0)));
      bytes_.insert(bytes_.end(), held_full_, carry_ ? Byte{0} : Byte{0xFF});
      held_ = top;
      holds_ = true;
      held_full_ = 0;
      carry_ = false;
    } else {
      ++held_full_;
    }
    low_ <<= 8;
    range_ <<= 8;
  }

  std::uint64_t low_ = 0;  // modulo 2^64
  std::uint64_t range_ = std::numeric_limits<std::uint64_t>::max();
  bool carry_ = false;  // out of low_, not yet passed on
  bool holds_ = false;
  Byte held_ = 0;
  std::size_t held_full_ = 0;  // 0xFF after it
  std::vector<Byte> bytes_;
};

/// Reads what RangeEncoder wrote, from memory that must outlive it. Each symbol is two calls: `target` says where in
/// [0, kTotal) it lies, and `consume` takes the interval of the symbol found there.
///
/// Whatever the bytes, it reads none but them. Throws DecodeError when they end too early or cannot have been made
/// by an encoder; any other damage gives other symbols, which only a checksum can tell.
class RangeDecoder {
 public:
  /// Throws DecodeError if there are fewer bytes than any message has.
  explicit RangeDecoder(Bytes bytes) : bytes_(bytes) {
    for (int i = 0; i < detail::kWindow; ++i) pull();
  }

  /// Where the next symbol lies; less than kTotal.
  std::uint32_t target() {
    range_ >>= kTotalBits;
    const std::uint64_t target = code_ / range_;
    if (target >= kTotal) throw DecodeError("the compressed bytes are damaged: no symbol has such a code");
    return static_cast<std::uint32_t>(target);
  }

  /// Goes on to the next symbol. [begin, begin + size) must hold the last target.
  void consume(std::uint32_t begin, std::uint32_t size) {
    QLLK_ASSERT(size > 0 && range_ * begin <= code_);
    code_ -= range_ * begin;
    range_ *= size;
    while (range_ < detail::kSmallestRange) {
      pull();
      range_ <<= 8;
    }
  }

  /// Whether the bytes end exactly here, as they do after the last symbol.
  bool finished() const { return past_end_ == detail::kWindow - 1; }

 private:
  void pull() {
    Byte byte = 0;
    if (next_ < bytes_.size())
      byte = bytes_[next_++];
    else if (++past_end_ >= detail::kWindow)
      throw DecodeError("the compressed bytes are cut short after " + std::to_string(bytes_.size()) + " bytes");
    code_ = code_ << 8 | byte;
  }

  Bytes bytes_;
  std::size_t next_ = 0;
  int past_end_ = 0;        // zeros read instead of bytes
  std::uint64_t code_ = 0;  // the number, less low
  std::uint64_t range_ = std::numeric_limits<std::uint64_t>::max();
};

}  // namespace qllk::compress
