// How a file of tensors is checked. Include qllk/io/safetensors_reader.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/files/checksum.hpp"
#include "qllk/files/input_file.hpp"
#include "qllk/io/safetensors_reader.hpp"
#include "qllk/io/safetensors_writer.hpp"
#include "qllk/io/tensor_form.hpp"

namespace qllk::io {

QLLK_INLINE void SafetensorsReader::verify() const {
  if (!has_checksum()) return;
  constexpr std::uint64_t kBlock = std::uint64_t{1} << 20;
  files::Checksum sum;
  std::vector<Byte> block;
  const std::uint64_t digits = sizeof(std::uint64_t) + checksum_at_;
  for (std::uint64_t at = 0; at < data_.size(); at += block.size()) {
    block.resize(static_cast<std::size_t>(std::min(kBlock, data_.size() - at)));
    data_.read(at, block);
    for (std::uint64_t i = std::max(at, digits); i < std::min(at + block.size(), digits + 16); ++i)
      block[static_cast<std::size_t>(i - at)] = Byte{'0'};
    sum.update(block);
  }
  if (detail::checksum_text(sum.value()) != metadata_.at(detail::kChecksumKey))
    fail(
        "is damaged: its checksum is wrong. (If another program changed it on purpose, that must remove the metadata "
        "'" +
        std::string(detail::kChecksumKey) + "')");
}

QLLK_INLINE void SafetensorsReader::parse() {
  std::uint64_t length = 0;
  if (data_.size() < sizeof length)
    fail("is not a safetensors file, or cut short: it has " + std::to_string(data_.size()) + " bytes");
  data_.read(0, bytes_of(&length, sizeof length));
  if (length > data_.size() - sizeof length)
    fail("is not a safetensors file, or cut short: a header of " + std::to_string(length) + " bytes in a file of " +
         std::to_string(data_.size()));
  if (length > kMostHeader) fail("has a header of " + std::to_string(length) + " bytes, more than the format allows");
  first_ = sizeof length + length;
  HeaderBytes begin(data_, sizeof length, first_);
  const HeaderBytes end_of_header(data_, first_, first_);
  if (length == 0 || *begin != '{') fail("is not a safetensors file: its header does not begin with '{'");
  HeaderCheck check(*this);
  Json::sax_parse(begin, end_of_header, &check);
  std::string header(static_cast<std::size_t>(length), ' ');
  data_.read(sizeof length, bytes_of(header.data(), header.size()));
  const std::uint64_t bytes = data_.size() - first_;
  std::vector<std::array<std::uint64_t, 2>> ranges;
  const Json parsed = Json::parse(header);
  if (parsed.contains("__metadata__") && parsed["__metadata__"].contains(detail::kChecksumKey))
    checksum_at_ = detail::checksum_at(header);
  for (const auto& [name, value] : parsed.items()) {
    if (name == "__metadata__")
      parse_metadata(value);
    else
      ranges.push_back(parse_entry(name, value, bytes));
  }
  std::sort(ranges.begin(), ranges.end());
  std::uint64_t end = 0;
  for (const auto& range : ranges) {
    if (range[0] != end)
      fail(std::string(range[0] < end ? "has overlapping tensors" : "has a gap between tensors") + " at data byte " +
           std::to_string(std::min(range[0], end)));
    end = range[1];
  }
  if (end != bytes) fail("has " + std::to_string(bytes) + " bytes of data, its header tells of " + std::to_string(end));
  data_.check_unchanged();
}

QLLK_INLINE void SafetensorsReader::parse_metadata(const Json& value) {
  if (!value.is_object()) fail("has '__metadata__' that is not an object");
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) fail("has metadata '" + shown(key) + "' that is not a string");
    metadata_[key] = text.get<std::string>();
  }
}

QLLK_INLINE std::array<std::uint64_t, 2> SafetensorsReader::parse_entry(const std::string& name, const Json& value,
                                                                        std::uint64_t bytes) {
  const std::string tensor = "has a tensor '" + shown(name) + "' ";
  const auto numbers = [&](const char* member) {
    if (!value.is_object() || !value.contains(member) || !value[member].is_array())
      fail(tensor + "without a list '" + member + "'");
    Shape out;
    for (const Json& number : value[member]) {
      if (!number.is_number_unsigned()) fail(tensor + "with a number in '" + member + "' that is no size");
      out.push_back(number.get<std::uint64_t>());
    }
    return out;
  };
  const Shape offsets = numbers("data_offsets"), shape = numbers("shape");
  if (!value.contains("dtype") || !value["dtype"].is_string()) fail(tensor + "without a 'dtype'");
  if (value.size() != 3) fail(tensor + "with other members than dtype, shape and data_offsets");
  const auto dtype_text = value["dtype"].get<std::string>();
  const auto known = std::ranges::find(detail::kDtypes, dtype_text, &detail::DtypeInfo::name);
  if (known == detail::kDtypes.end())
    fail(tensor + "of dtype '" + shown(dtype_text) + "', expected U8, I32, U32, I64, U64, F16, BF16, F32 or F64");
  std::uint64_t size = known->size;
  for (const std::uint64_t extent : shape) {
    if (extent != 0 && size > std::numeric_limits<std::uint64_t>::max() / extent)
      fail(tensor + "whose shape " + shown(shape_string(shape)) + " is too large");
    size *= extent;
  }
  if (offsets.size() != 2 || offsets[0] > offsets[1]) fail(tensor + "whose data_offsets are not [begin, end]");
  if (offsets[1] > bytes)
    fail("is cut short: tensor '" + shown(name) + "' ends at data byte " + std::to_string(offsets[1]) + " of " +
         std::to_string(bytes));
  if (offsets[1] - offsets[0] != size)
    fail(tensor + "of shape " + shown(shape_string(shape)) + " and dtype " + dtype_text + " in " +
         std::to_string(offsets[1] - offsets[0]) + " bytes, expected " + std::to_string(size));
  entries_.emplace(name, Entry{known->dtype, shape, first_ + offsets[0], size});
  return {offsets[0], offsets[1]};
}

QLLK_INLINE const SafetensorsReader::Entry& SafetensorsReader::checked(const std::string& name,
                                                                       const Shape& expected) const {
  const Entry& found = entry(name);
  if (!visit_real(found.dtype, [](auto) {}))
    fail("tensor '" + name + "' has dtype " + std::string(dtype_name(found.dtype)) +
         ", expected F16, BF16, F32 or F64");
  check_shape(name, found, expected);
  return found;
}

QLLK_INLINE void SafetensorsReader::check_shape(const std::string& name, const Entry& found,
                                                const Shape& expected) const {
  if (found.shape != expected)
    fail("tensor '" + name + "' has shape " + shape_string(found.shape) + ", expected " + shape_string(expected));
}

}  // namespace qllk::io
