// Model files in numbers of another size.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/io/safetensors_reader.hpp"
#include "qllk/io/safetensors_writer.hpp"
#include "qllk/io/tensor_form.hpp"

namespace qllk::io {

namespace detail {

/// Reads numbers of one dtype and hands them on in another, a block at a time.
template <class From, class To>
void convert_tensor(const SafetensorsReader& in, const std::string& name, const SafetensorsWriter::Take& take) {
  constexpr std::uint64_t kBlock = 1 << 16;
  const SafetensorsReader::Entry& entry = in.entry(name);
  const std::uint64_t count = entry.size / sizeof(From);
  Eigen::Array<From, Eigen::Dynamic, 1> from;
  Eigen::Array<To, Eigen::Dynamic, 1> to;
  for (std::uint64_t at = 0; at < count; at += kBlock) {
    from.resize(static_cast<Index>(std::min(kBlock, count - at)));
    in.read_bytes(entry, at * sizeof(From),
                  {reinterpret_cast<Byte*>(from.data()), static_cast<std::size_t>(from.size()) * sizeof(From)});
    to = from.template cast<To>();
    for (Index i = 0; i < to.size(); ++i)
      if (!(Eigen::numext::isfinite)(to[i]))
        in.fail("has a number in tensor '" + name + "' that is not finite as " +
                std::string(dtype_name(dtype_of<To>())));
    take({reinterpret_cast<const Byte*>(to.data()), static_cast<std::size_t>(to.size()) * sizeof(To)});
  }
}

}  // namespace detail

/// Writes the tensors and metadata of `in` to the file `out`, whole or not at all, with every number of F16, BF16, F32
/// or F64 as one of `to`: rounded to nearest, ties to even. `in` and `out` may be one file.
///
///   F16    2 bytes, 11 significant bits, up to 65,504
///   BF16   2 bytes, 8 significant bits, the range of F32
///
/// Cost     reads and writes every byte once; memory for a block of 65,536 numbers
/// Errors   std::invalid_argument where `to` is no dtype of real numbers; std::runtime_error where a number is not
///          finite in `to`, and for files
inline void convert(const SafetensorsReader& in, const std::filesystem::path& out, Dtype to) {
  SafetensorsWriter writer;
  for (const auto& [key, value] : in.metadata())
    if (key != detail::kChecksumKey) writer.set_metadata(key, value);
  for (const auto& [name, entry] : in.entries()) {
    const bool real = visit_real(entry.dtype, [&]<class From>(std::type_identity<From>) {
      if (!visit_real(to, [&]<class To>(std::type_identity<To>) {
            writer.add_made(name, to, entry.shape, [&in, name](const SafetensorsWriter::Take& take) {
              detail::convert_tensor<From, To>(in, name, take);
            });
          }))
        throw InvalidArgument("cannot convert to " + std::string(dtype_name(to)) + ", expected F16, BF16, F32 or F64");
    });
    if (!real)
      writer.add_made(name, entry.dtype, entry.shape, [&in, &entry](const SafetensorsWriter::Take& take) {
        std::vector<Byte> bytes(static_cast<std::size_t>(entry.size));
        in.read_bytes(entry, 0, bytes);
        take(bytes);
      });
  }
  writer.write(out);
}

}  // namespace qllk::io
