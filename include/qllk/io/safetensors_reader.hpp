// Reads files of named tensors in the safetensors format; safetensors_writer.hpp tells how it looks.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/files/checksum.hpp"
#include "qllk/files/input_file.hpp"
#include "qllk/io/safetensors_writer.hpp"
#include "qllk/io/tensor_form.hpp"

namespace qllk::io {

/// A file of tensors: its header is checked as a whole when it is opened, its numbers are read where they lie.
///
/// Errors   every member throws std::runtime_error that names the file and what is wrong with it; that another program
///          changes it meanwhile is an error too
class SafetensorsReader {
 public:
  /// A tensor in the file.
  struct Entry {
    Dtype dtype;                // of its numbers
    Shape shape;                // extents, the slowest first
    std::uint64_t begin, size;  // bytes of the file, row-major
  };

  /// Throws if the file is missing, unreadable, cut short or longer than it says, not a safetensors file, or if its
  /// header is not exactly as the format demands: after this, every entry lies within the file.
  explicit SafetensorsReader(const std::filesystem::path& path) : file_(path.string()), data_(files::InputFile(file_)) {
    parse();
  }

  /// The path.
  const std::string& file() const { return file_; }
  /// The texts of the header's `__metadata__`.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  /// All tensors by name, in the order of the names.
  const std::map<std::string, Entry>& entries() const { return entries_; }
  /// Whether there is a tensor of that name.
  bool contains(const std::string& name) const { return entries_.contains(name); }

  /// The names of all tensors, in order.
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& entry : entries_) out.push_back(entry.first);
    return out;
  }

  /// The tensor of that name. Throws if there is none.
  const Entry& entry(const std::string& name) const {
    const auto found = entries_.find(name);
    if (found == entries_.end()) fail("has no tensor '" + name + "'");
    return found->second;
  }

  /// Throws unless the tensor is there, F16, BF16, F32 or F64, and has the shape of `tensor`.
  template <Tensor T>
  void check(const std::string& name, const T& tensor) const {
    checked(name, tensor_form(tensor).shape);
  }

  /// Fills a Mat, Vec or Table, whose shape must be the tensor's; converts from F16, BF16, F32 or F64: exactly,
  /// but for F64 to float, which rounds. Throws as `check`, and then `tensor` is as it was, or if the file cannot be
  /// read, and then it is not.
  template <Tensor T>
  void read_into(const std::string& name, T& tensor) const {
    const TensorForm form = tensor_form(tensor);
    const Entry& found = checked(name, form.shape);
    visit_real(found.dtype,
               [&]<class Stored>(std::type_identity<Stored>) { transpose<Stored>(found, tensor.data(), form); });
    data_.check_unchanged();
  }

  /// Fills numbers of exactly that dtype from a tensor of shape [n]. Throws if it is another, or not there.
  template <class T>
  void read_values(const std::string& name, std::span<T> values) const {
    const Entry& found = entry(name);
    if (found.dtype != dtype_of<T>())
      fail("tensor '" + name + "' has dtype " + std::string(dtype_name(found.dtype)) + ", expected " +
           std::string(dtype_name(dtype_of<T>())));
    check_shape(name, found, {values.size()});
    data_.read(found.begin, bytes_of(values.data(), found.size));
    data_.check_unchanged();
  }

  /// Fills `out` with the bytes of a tensor as they lie in the file, from byte `begin` of it on. They must be its own.
  void read_bytes(const Entry& of, std::uint64_t begin, std::span<Byte> out) const {
    QLLK_ASSERT(begin <= of.size && out.size() <= of.size - begin);
    data_.read(of.begin + begin, out);
    data_.check_unchanged();
  }

  /// Whether the file has a checksum: those of SafetensorsWriter have one since version 0.2.
  bool has_checksum() const { return checksum_at_ != std::string::npos; }

  /// Throws if the file has a checksum and any byte of it is not what was written. Cost: reads the whole file.
  void verify() const;

  /// Throws std::runtime_error: "'a.safetensors' <what>".
  [[noreturn]] void fail(const std::string& what) const { throw RuntimeError("'" + file_ + "' " + what); }

 private:
  using Json = nlohmann::json;
  static constexpr std::uint64_t kMostHeader = 100'000'000;  // as in the reference implementation

  /// The header's characters, read a block at a time: one that makes no sense is refused before there is memory for all
  /// of it.
  class HeaderBytes {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = char;
    using difference_type = std::ptrdiff_t;
    using pointer = const char*;
    using reference = const char&;

    HeaderBytes(const files::StoredBytes& data, std::uint64_t at, std::uint64_t end)
        : data_(&data), at_(at), end_(end) {}

    reference operator*() {
      if (next_ == block_.size()) {
        block_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kBlock, end_ - at_)));
        data_->read(at_, bytes_of(block_.data(), block_.size()));
        next_ = 0;
      }
      return block_[next_];
    }
    HeaderBytes& operator++() {
      ++next_, ++at_;
      return *this;
    }
    bool operator==(const HeaderBytes& other) const { return at_ == other.at_; }

   private:
    static constexpr std::uint64_t kBlock = 1 << 14;

    const files::StoredBytes* data_;
    std::uint64_t at_, end_;
    std::string block_;
    std::size_t next_ = 0;
  };

  /// Names may be as long as a header.
  static std::string shown(const std::string& name) {
    constexpr std::size_t kMost = 200;
    return name.size() <= kMost ? name : name.substr(0, kMost) + "…";
  }

  /// Finds what a parsed JSON value no longer shows: names that occur twice. Also bounds the nesting, which the format
  /// limits to tensor, member, list. Not a callback of Json::parse: that takes time with the square of the names.
  struct HeaderCheck : nlohmann::json_sax<Json> {
    explicit HeaderCheck(const SafetensorsReader& reader) : owner(reader) {}
    bool null() override { return true; }
    bool boolean(bool) override { return true; }
    bool number_integer(number_integer_t) override { return true; }
    bool number_unsigned(number_unsigned_t) override { return true; }
    bool number_float(number_float_t, const string_t&) override { return true; }
    bool string(string_t&) override { return true; }
    bool binary(binary_t&) override { return true; }
    bool start_object(std::size_t) override { return open(); }
    bool end_object() override { return close(); }
    bool start_array(std::size_t) override { return open(); }
    bool end_array() override { return close(); }
    bool key(string_t& name) override {
      if (!seen.back().insert(name).second) owner.fail("has the name '" + shown(name) + "' twice in its header");
      return true;
    }
    bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
      owner.fail("has a header that is not valid JSON: " + std::string(error.what()).substr(0, 200));
    }

    bool open() {
      seen.emplace_back();
      if (seen.size() > 3) owner.fail("has a header that is nested too deep");
      return true;
    }
    bool close() {
      seen.pop_back();
      return true;
    }

    const SafetensorsReader& owner;
    std::vector<std::set<std::string>> seen;
  };

  void parse();

  void parse_metadata(const Json& value);

  std::array<std::uint64_t, 2> parse_entry(const std::string& name, const Json& value, std::uint64_t bytes);

  const Entry& checked(const std::string& name, const Shape& expected) const;
  void check_shape(const std::string& name, const Entry& found, const Shape& expected) const;

  static std::span<Byte> bytes_of(void* data, std::uint64_t size) {
    return {static_cast<Byte*>(data), static_cast<std::size_t>(size)};
  }

  template <class Stored, Real Scalar>
  void transpose(const Entry& entry, Scalar* tensor, const TensorForm& form) const {
    Eigen::Map<Mat<Scalar>> view(tensor, form.rows, form.cols);
    const Index step = detail::rows_per_block(form);
    detail::RowMajor<Stored> block(step, form.cols);
    std::uint64_t at = entry.begin;
    for (Index row = 0; row < form.rows && form.cols > 0; row += step) {
      const Index rows = std::min(step, form.rows - row);
      const std::uint64_t size = static_cast<std::uint64_t>(rows * form.cols) * sizeof(Stored);
      data_.read(at, bytes_of(block.data(), size));
      view.middleRows(row, rows) = block.topRows(rows).template cast<Scalar>();
      at += size;
    }
  }

  std::string file_;
  files::StoredBytes data_;
  std::uint64_t first_ = 0;                      // byte of the file after the header
  std::size_t checksum_at_ = std::string::npos;  // of the header
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace qllk::io

#ifndef QLLK_COMPILED
#include "qllk/io/safetensors_reader_impl.hpp"
#endif
