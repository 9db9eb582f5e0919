// Files made smaller by a model's predictions, and back, bit by bit.
//
//   offset  bytes
//        0      8   "QLLKzip" and the format's version: 1, or 2 for a model that adapts
//        8      8   fingerprint of the weights
//       16      8   fingerprint of the arithmetic: see fingerprint.hpp
//       24      n   the bytes of RangeEncoder; n >= 1
//   24 + n      8   size of the original
//   32 + n      8   checksum of the original
//   40 + n      8   checksum of all before
//
// Version 2 has 8 bytes more behind the first 24: the rate of adapting, a double. Numbers are little-endian. What is
// known only at the end stands at the end: both sides can stream.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "qllk/compress/arithmetic_coder.hpp"
#include "qllk/compress/checksum.hpp"
#include "qllk/compress/fingerprint.hpp"
#include "qllk/compress/frequencies.hpp"
#include "qllk/compress/sizes.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/core/types.hpp"
#include "qllk/model/adapter.hpp"

namespace qllk::compress {

/// Where bytes come from: fills `out`, returns fewer than that only at the end. files::InputFile is one.
template <class T>
concept ByteSource = requires(T& source, std::span<Byte> out) {
  { source.read(out) } -> std::convertible_to<std::size_t>;
};
/// Where bytes go. files::AtomicFile is one.
template <class T>
concept ByteSink = requires(T& sink, Bytes bytes) {
  sink.write(bytes);
};

/// Bytes in memory as a source.
class MemorySource {
 public:
  /// The bytes must outlive it.
  explicit MemorySource(Bytes bytes) : rest_(bytes) {}
  /// Fills `out` from the front, and returns how many bytes there were.
  std::size_t read(std::span<Byte> out) {
    const std::size_t count = std::min(out.size(), rest_.size());
    std::copy_n(rest_.begin(), count, out.begin());
    rest_ = rest_.subspan(count);
    return count;
  }

 private:
  Bytes rest_;
};

/// Memory as a sink.
struct MemorySink {
  std::vector<Byte> bytes;  // all that was written
  /// Adds bytes to those before.
  void write(Bytes more) { bytes.insert(bytes.end(), more.begin(), more.end()); }
};

namespace detail {

inline constexpr std::array<Byte, 7> kMagic{'Q', 'L', 'L', 'K', 'z', 'i', 'p'};
inline constexpr Byte kPlain = 1, kAdapting = 2;  // versions
inline constexpr std::size_t kVersion = kMagic.size(), kHeader = 24, kRate = 8, kTrailer = 24;
inline constexpr std::size_t kBlock = std::size_t{1} << 16;  // bytes read or written at a time
inline constexpr std::size_t kBetweenCalls = 64;             // bytes from one call of progress to the next

struct IgnoreProgress {
  void operator()(std::uint64_t /*done*/, std::uint64_t /*all*/ = 0) const {}
};

/// Counts and sums up what goes into a sink.
template <ByteSink Sink>
class Output {
 public:
  explicit Output(Sink& sink) : sink_(sink) {}

  void write(Bytes bytes) {
    checksum_.update(bytes);
    size_ += bytes.size();
    if (!bytes.empty()) sink_.write(bytes);
  }
  void write(std::uint64_t number) {
    std::array<Byte, 8> bytes;
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<Byte>(number >> (8 * i));
    write(Bytes(bytes));
  }
  std::uint64_t checksum() const { return checksum_.value(); }
  std::uint64_t size() const { return size_; }

 private:
  Sink& sink_;
  Checksum checksum_;
  std::uint64_t size_ = 0;
};

inline std::uint64_t number_at(Bytes bytes, std::size_t offset) {
  std::uint64_t number = 0;
  for (std::size_t i = 8; i-- > 0;) number = number << 8 | bytes[offset + i];
  return number;
}

/// Everything that can be told without a model. Throws std::runtime_error.
inline void check_file(Bytes file, const std::string& name) {
  const std::size_t seen = std::min(file.size(), kMagic.size());
  const bool foreign = seen == 0 || std::memcmp(file.data(), kMagic.data(), seen) != 0;
  if (foreign) throw RuntimeError(name + " is not a file that qllk-compress made");
  const Byte version = file.size() > kVersion ? file[kVersion] : kPlain;
  if (version != kPlain && version != kAdapting)
    throw RuntimeError(name + " has version " + std::to_string(version) + " of the format, expected 1 or 2");
  const std::size_t around = kHeader + (version == kAdapting ? kRate : 0) + kTrailer;
  if (file.size() <= around)
    throw RuntimeError(name + " is cut short: it has " + std::to_string(file.size()) + " bytes, expected more than " +
                       std::to_string(around));
  Checksum sum;
  sum.update(file.first(file.size() - 8));
  if (sum.value() != number_at(file, file.size() - 8))
    throw RuntimeError(name + " is cut short or altered: its checksum is wrong");
}

/// Predictions for a stream, and what is learned from it where the rate is not 0.
template <class Model>
class Forecast {
 public:
  using Params = typename Model::Params;

  Forecast(const Model& model, const Params& params, double rate) {
    const Params* all = &params;
    if (rate != 0) {
      if constexpr (kAdapts)
        all = &adapter_.emplace(model, params, rate).params();
      else
        throw InvalidArgument("this model cannot be trained, and so not adapt: leave adapting out");
    }
    predictor_.emplace(model, *all);
  }

  auto next(Byte last) { return predictor_->next(last); }
  void learn([[maybe_unused]] Byte byte) {
    if constexpr (kAdapts)
      if (adapter_) adapter_->read(byte);
  }

 private:
  static constexpr bool kAdapts = TrainableModel<Model>;
  struct Nothing {};
  template <class M>
  struct OptionalAdapter {
    using type = Nothing;
  };
  template <TrainableModel M>
  struct OptionalAdapter<M> {
    using type = std::optional<Adapter<M>>;
  };

  typename OptionalAdapter<Model>::type adapter_;
  std::optional<Predictor<Model>> predictor_;
};

}  // namespace detail

/// Compresses all of a source: each byte is coded with the probability that the model gives it after all before it.
///
/// Calls progress(bytes read) every few bytes; it may throw to stop. Denormals are flushed, as in training.
///
/// With a rate of adapting that is not 0, hashed rows learn from the text on the way (Adapter).
///
/// Cost     one forward pass of one byte for each byte, and about 2 µs; memory does not depend on the size. Adapting:
///          what Adapter takes besides
/// Size     train::evaluate's score of the same bytes in bits, over 8, and 49 bytes more: within 0.01 %
/// Errors   std::runtime_error if the model gives logits that are not finite; those of source and sink pass through
template <class Model, ByteSource Source, ByteSink Sink, class Progress = detail::IgnoreProgress>
Sizes compress(const Model& model, const typename Model::Params& params, Source& source, Sink& sink,
               Progress&& progress = {}, double adapt = 0) {
  const FlushDenormals flush;
  detail::Output<Sink> output(sink);
  output.write(Bytes(detail::kMagic));
  output.write(Bytes(adapt != 0 ? &detail::kAdapting : &detail::kPlain, 1));
  output.write(weights_fingerprint(params));
  output.write(numeric_fingerprint(model, params));
  if (adapt != 0) output.write(std::bit_cast<std::uint64_t>(adapt));

  detail::Forecast<Model> forecast(model, params, adapt);
  Frequencies frequencies;
  RangeEncoder encoder;
  Checksum checksum;
  std::vector<Byte> block(detail::kBlock);
  std::uint64_t size = 0;
  Byte last = kStartByte;
  for (std::size_t count = block.size(); count == block.size();) {
    count = source.read(std::span(block));
    const Bytes bytes = Bytes(block).first(count);
    checksum.update(bytes);
    for (const Byte byte : bytes) {
      frequencies.assign(forecast.next(last));
      encoder.encode(frequencies.begin(byte), frequencies.size(byte));
      forecast.learn(byte);
      last = byte;
      if (++size % detail::kBetweenCalls == 0) progress(size);
    }
    if (encoder.ready() >= detail::kBlock) output.write(encoder.take());
  }
  encoder.finish();
  output.write(encoder.take());
  output.write(size);
  output.write(checksum.value());
  output.write(output.checksum());
  return {size, output.size()};
}

/// Undoes `compress`. `file` is all that it wrote; errors call it by `name`.
///
/// Calls progress(bytes written, bytes in all) every few bytes; it may throw to stop. Cost: as `compress`.
///
/// Errors   std::runtime_error if the file is foreign, cut short or altered, if it was made with another model, or by a
///          build or machine that computes this one differently. All this is found before the first byte is written.
///          That the result is the original is known only at the end: where it is not, what was written must be thrown
///          away, as files::AtomicFile does
template <class Model, ByteSink Sink, class Progress = detail::IgnoreProgress>
Sizes decompress(const Model& model, const typename Model::Params& params, Bytes file, Sink& sink,
                 Progress&& progress = {}, const std::string& name = "the compressed data") {
  const FlushDenormals flush;
  detail::check_file(file, name);
  if (detail::number_at(file, 8) != weights_fingerprint(params))
    throw RuntimeError(name + " was made with another model: the weights differ");
  if (detail::number_at(file, 16) != numeric_fingerprint(model, params))
    throw RuntimeError(name +
                       " was made with these weights, but by a program, a machine or a configuration that computes "
                       "other probabilities from them: decompress it with the program that compressed it");
  const std::size_t trailer = file.size() - detail::kTrailer;
  const std::uint64_t size = detail::number_at(file, trailer);

  const bool adapts = file[detail::kVersion] == detail::kAdapting;
  const std::size_t begin = detail::kHeader + (adapts ? detail::kRate : 0);
  const double rate = adapts ? std::bit_cast<double>(detail::number_at(file, detail::kHeader)) : 0.0;
  auto forecast = [&] {
    try {
      return detail::Forecast<Model>(model, params, rate);
    } catch (const InvalidArgument& error) {
      throw RuntimeError(name + " was made with a model that adapts, which this one cannot do so: " + error.what());
    }
  }();
  Frequencies frequencies;
  RangeDecoder decoder(file.subspan(begin, trailer - begin));
  detail::Output<Sink> output(sink);
  std::vector<Byte> block;
  block.reserve(detail::kBlock);
  Byte last = kStartByte;
  bool right = true;
  try {
    for (std::uint64_t done = 0; done < size;) {
      frequencies.assign(forecast.next(last));
      last = frequencies.find(decoder.target());
      decoder.consume(frequencies.begin(last), frequencies.size(last));
      forecast.learn(last);
      block.push_back(last);
      if (block.size() == detail::kBlock) {
        output.write(block);
        block.clear();
      }
      if (++done % detail::kBetweenCalls == 0) progress(done, size);
    }
    output.write(block);
  } catch (const DecodeError&) {
    right = false;
  }
  // The file is whole, so the probabilities are to blame, at a place that the fingerprint did not reach.
  if (!right || !decoder.finished() || output.checksum() != detail::number_at(file, trailer + 8))
    throw RuntimeError(name +
                       " does not decompress to what was compressed: this program or machine computes other "
                       "probabilities than the one that made it");
  return {size, file.size()};
}

/// In memory.
template <class Model>
std::vector<Byte> compress(const Model& model, const typename Model::Params& params, Bytes bytes, double adapt = 0) {
  MemorySource source(bytes);
  MemorySink sink;
  compress(model, params, source, sink, detail::IgnoreProgress(), adapt);
  return std::move(sink.bytes);
}
/// The original of what compress made.
template <class Model>
std::vector<Byte> decompress(const Model& model, const typename Model::Params& params, Bytes file) {
  MemorySink sink;
  decompress(model, params, file, sink);
  return std::move(sink.bytes);
}

}  // namespace qllk::compress
