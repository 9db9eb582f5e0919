// How a file of tensors is written. Include qllk/io/safetensors_writer.hpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/files/atomic_file.hpp"
#include "qllk/files/checksum.hpp"
#include "qllk/io/safetensors_writer.hpp"
#include "qllk/io/tensor_form.hpp"

namespace qllk::io {

QLLK_INLINE void SafetensorsWriter::add_made(const std::string& name, Dtype dtype, const Shape& shape,
                                             std::function<void(const Take&)> make) {
  std::uint64_t size = dtype_size(dtype);
  for (const std::uint64_t extent : shape) size *= extent;
  insert(name,
         {dtype, shape, size, [make = std::move(make)](Sink& file) { make([&](Bytes bytes) { file.write(bytes); }); }});
}

QLLK_INLINE void SafetensorsWriter::write(const std::filesystem::path& path) const {
  std::vector<const std::pair<const std::string, Entry>*> order;
  for (const auto& entry : entries_) order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return dtype_size(a->second.dtype) > dtype_size(b->second.dtype);
  });
  nlohmann::json header = nlohmann::json::object();
  header["__metadata__"] = metadata_;
  header["__metadata__"][detail::kChecksumKey] = detail::checksum_text(0);
  std::uint64_t end = 0;
  for (const auto* item : order) {
    const auto& [name, entry] = *item;
    const std::uint64_t begin = std::exchange(end, end + entry.size);
    header[name] = {{"dtype", dtype_name(entry.dtype)}, {"shape", entry.shape}, {"data_offsets", {begin, end}}};
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    throw InvalidArgument("cannot write '" + path.string() + "': a name or its metadata is not UTF-8 text");
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const auto length = static_cast<std::uint64_t>(text.size());
  Sink file(path);
  file.write(as_bytes(&length, 1));
  file.write(as_bytes(text.data(), text.size()));
  for (const auto* item : order) item->second.write(file);
  const std::string sum = detail::checksum_text(file.sum.value());
  file.file.rewrite(sizeof length + detail::checksum_at(text), as_bytes(sum.data(), sum.size()));
  file.file.commit();
}

QLLK_INLINE void SafetensorsWriter::insert(const std::string& name, Entry entry) {
  if (name == "__metadata__" || !entries_.emplace(name, std::move(entry)).second)
    throw InvalidArgument("safetensors: the tensor name '" + name + "' is taken already");
}

}  // namespace qllk::io
