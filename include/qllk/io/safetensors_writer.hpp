// Writes named tensors into one file, in the safetensors format that PyTorch and others read.
//
//   8 bytes      header length, little-endian
//   header       JSON: {"name": {"dtype": "F32", "shape": [out, in], "data_offsets": [begin, end]}, …,
//                       "__metadata__": {"key": "value", …}}, padded with spaces to a multiple of 8
//   data         each tensor row-major and little-endian, without gaps
//
// Source: https://github.com/huggingface/safetensors, section "Format".
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "qllk/core/types.hpp"
#include "qllk/files/atomic_file.hpp"
#include "qllk/files/checksum.hpp"
#include "qllk/io/tensor_form.hpp"

namespace qllk::io {

namespace detail {
/// The metadata's checksum is of the file as it is with zeros in its place.
inline constexpr const char* kChecksumKey = "checksum";

/// 16 digits, whatever the value.
inline std::string checksum_text(std::uint64_t value) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text(16, '0');
  for (std::size_t i = text.size(); i-- > 0; value >>= 4) text[i] = kDigits[value & 15];
  return text;
}

/// Where the digits stand in a header of SafetensorsWriter; npos if they are not there. In a string of JSON quotes
/// are escaped: what is found is the member itself.
inline std::size_t checksum_at(const std::string& header) {
  constexpr std::string_view kMember = "\"checksum\":\"";
  const std::size_t at = header.find(kMember);
  if (at == std::string::npos || at + kMember.size() + 17 > header.size() || header[at + kMember.size() + 16] != '"')
    return std::string::npos;
  return at + kMember.size();
}
}  // namespace detail

/// Collects views of tensors, then writes them all.
class SafetensorsWriter {
 public:
  /// Adds or replaces one string of the file's metadata.
  void set_metadata(std::string key, std::string value) { metadata_[std::move(key)] = std::move(value); }

  /// Adds a Mat [out, in], a Vec [n] or a Table (file: [keys, dim]) of float or double. Not copied: its numbers must
  /// stay where they are until `write`. Throws std::invalid_argument if the name is taken.
  template <Tensor T>
  void add(const std::string& name, const T& tensor) {
    const TensorForm form = tensor_form(tensor);
    insert(name,
           {dtype_of<typename T::Scalar>(), form.shape,
            static_cast<std::uint64_t>(tensor.size()) * sizeof(typename T::Scalar), rows_of(tensor.data(), form)});
  }
  template <Tensor T>
  void add(const std::string& name, const T&& temporary) = delete;

  /// Adds numbers of any of the dtypes as a tensor of shape [n]. Not copied either.
  template <class T>
  void add_values(const std::string& name, std::span<const T> values) {
    insert(name, {dtype_of<T>(), {values.size()}, values.size_bytes(), [values](Sink& file) {
                    file.write(as_bytes(values.data(), values.size()));
                  }});
  }

  /// Takes the next bytes of a tensor.
  using Take = std::function<void(Bytes)>;

  /// Adds a tensor that `make` hands on row-major, all of its bytes in order, while `write` writes the file.
  void add_made(const std::string& name, Dtype dtype, const Shape& shape, std::function<void(const Take&)> make);

  /// Writes the file whole or not at all: see AtomicFile for the errors. The same content gives the same bytes: tensors
  /// of wide elements come first, so that each is aligned, and then in the order of their names. The metadata get a
  /// "checksum" of the whole file: SafetensorsReader::verify compares it.
  void write(const std::filesystem::path& path) const;

 private:
  struct Sink {
    explicit Sink(const std::filesystem::path& path) : file(path) {}
    void write(Bytes bytes) {
      sum.update(bytes);
      file.write(bytes);
    }
    files::AtomicFile file;
    files::Checksum sum;
  };

  struct Entry {
    Dtype dtype;
    Shape shape;
    std::uint64_t size;  // bytes
    std::function<void(Sink&)> write;
  };

  /// What writes the rows of this view, one after the other.
  template <Real Scalar>
  static std::function<void(Sink&)> rows_of(const Scalar* tensor, const TensorForm& form) {
    return [tensor, form](Sink& file) {
      const Eigen::Map<const Mat<Scalar>> view(tensor, form.rows, form.cols);
      const Index step = detail::rows_per_block(form);
      detail::RowMajor<Scalar> block(step, form.cols);
      for (Index row = 0; row < form.rows; row += step) {
        const Index rows = std::min(step, form.rows - row);
        block.topRows(rows) = view.middleRows(row, rows);
        file.write(as_bytes(block.data(), static_cast<std::size_t>(rows * form.cols)));
      }
    };
  }

  template <class T>
  static Bytes as_bytes(const T* data, std::size_t count) {
    return Bytes(reinterpret_cast<const Byte*>(data), count * sizeof(T));
  }

  void insert(const std::string& name, Entry entry);

  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace qllk::io

#ifndef QLLK_COMPILED
#include "qllk/io/safetensors_writer_impl.hpp"
#endif
