// What the two ends of a compressed file must have in common: the weights, and the arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "qllk/compress/checksum.hpp"
#include "qllk/core/concepts.hpp"
#include "qllk/core/parameters.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/core/types.hpp"

namespace qllk::compress {

/// A model's logits, one byte at a time. Compressor and decompressor both call it, for each byte with matrices of the
/// same shapes, so that rounding is the same on both sides; a pass over many bytes at once would round otherwise.
template <ByteModel Model>
class Predictor {
 public:
  using Scalar = typename Model::Scalar;
  /// One for each value of the next byte.
  using Logits = std::span<const Scalar, kByteValues>;

  /// Keeps references to both: they must outlive it.
  Predictor(const Model& model, const typename Model::Params& params)
      : model_(model), params_(params), state_(model.initial_state(1)) {}
  Predictor(const Model&&, const typename Model::Params&) = delete;
  Predictor(const Model&, const typename Model::Params&&) = delete;

  /// Takes the byte that came last (kStartByte before the first). The logits stay until the next call.
  Logits next(Byte last) {
    model_.forward(params_, Bytes(&last, 1), state_, cache_, logits_);
    QLLK_ASSERT(logits_.rows() == kByteValues && logits_.cols() == 1);
    return Logits(logits_.data(), static_cast<std::size_t>(kByteValues));
  }

 private:
  const Model& model_;
  const typename Model::Params& params_;
  typename Model::State state_;
  typename Model::Cache cache_;
  Mat<Scalar> logits_;
};

/// A checksum of every weight, with its name and shape.
template <HasFields Params>
std::uint64_t weights_fingerprint(const Params& params) {
  Checksum sum;
  const auto add_number = [&](std::uint64_t number) {
    sum.update(Bytes(reinterpret_cast<const Byte*>(&number), sizeof number));
  };
  const auto add = [&](const Path& path, const auto& leaf) {
    const std::string name = path.str();
    add_number(name.size());
    sum.update(Bytes(reinterpret_cast<const Byte*>(name.data()), name.size()));
    add_number(static_cast<std::uint64_t>(leaf.rows()));
    add_number(static_cast<std::uint64_t>(leaf.cols()));
    add_number(sizeof(*leaf.data()));
    sum.update(Bytes(reinterpret_cast<const Byte*>(leaf.data()),
                     static_cast<std::size_t>(leaf.size()) * sizeof(*leaf.data())));
  };
  for_each_parameter(add, params);
  return sum.value();
}

/// A checksum of the logits, to the last bit, that the model gives to a fixed text. It tells apart what the weights do
/// not: another configuration, or another build or machine, which adds the same numbers in another order.
///
/// Cost: one byte's forward pass for each of some 900 bytes.
template <class Model>
std::uint64_t numeric_fingerprint(const Model& model, const typename Model::Params& params) {
  using namespace std::string_view_literals;
  constexpr std::string_view kText =
      "The seven grey geese of Wexmoor, it is said, fly only twice a year: once in March, once in \"1984\".\n"
      "/// Returns the sum.\n"
      "template <class T>\nT sum(const std::vector<T>& x) {\n  T s{};\n  for (auto v : x) s += v;  // O(n)\n  return "
      "s;\n}\n"
      "\xC3\x9C"
      "ber den D\xC3\xA4"
      "chern -- 3.14159, 2.71828, 0xFF\r\n\t<a href='#x'>&amp;</a> [[Category:Birds]]"sv;
  const FlushDenormals flush;
  Predictor<Model> predictor(model, params);
  Checksum sum;
  const auto add = [&](Byte byte) {
    const auto logits = predictor.next(byte);
    sum.update(Bytes(reinterpret_cast<const Byte*>(logits.data()), logits.size_bytes()));
  };
  for (int i = 0; i < 2; ++i)  // what comes again is read by other rows
    for (const char c : kText) add(static_cast<Byte>(c));
  for (unsigned i = 0; i < kByteValues; ++i) add(static_cast<Byte>(i * 167 + 13));  // every value once
  return sum.value();
}

}  // namespace qllk::compress
