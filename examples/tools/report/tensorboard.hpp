// The metrics of a run as an event file, which TensorBoard reads.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "metrics.hpp"
#include "qllk/files/atomic_file.hpp"

namespace report {

/// A message of Protocol Buffers, field by field.
class Message {
 public:
  Message& number(int field, std::uint64_t value) { return key(field, 0).varint(value); }
  Message& number(int field, double value) { return key(field, 1).fixed(std::bit_cast<std::uint64_t>(value)); }
  Message& number(int field, float value) { return key(field, 5).fixed(std::bit_cast<std::uint32_t>(value)); }
  Message& text(int field, std::string_view value) {
    key(field, 2).varint(value.size());
    bytes_ += value;
    return *this;
  }

  const std::string& bytes() const { return bytes_; }

  /// Little-endian.
  template <class Unsigned>
  Message& fixed(Unsigned value) {
    for (std::size_t i = 0; i < sizeof value; ++i) bytes_ += static_cast<char>(value >> 8 * i & 0xFF);
    return *this;
  }

 private:
  Message& key(int field, unsigned type) { return varint(static_cast<std::uint64_t>(field) << 3 | type); }
  Message& varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
    return *this;
  }

  std::string bytes_;
};

/// CRC-32C (Castagnoli), turned and moved as the records of TensorFlow have it.
inline std::uint32_t record_checksum(std::string_view bytes) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> all{};
    for (std::uint32_t byte = 0; byte < all.size(); ++byte) {
      std::uint32_t rest = byte;
      for (int bit = 0; bit < 8; ++bit) rest = (rest & 1) != 0 ? rest >> 1 ^ 0x82F63B78u : rest >> 1;
      all[byte] = rest;
    }
    return all;
  }();
  std::uint32_t sum = ~0u;
  for (const char c : bytes) sum = table[(sum ^ static_cast<unsigned char>(c)) & 0xFF] ^ sum >> 8;
  return std::rotr(~sum, 15) + 0xA282EAD8u;
}

/// Length, its checksum, the bytes of an event, their checksum.
inline std::string record(const Message& event) {
  Message length, out;
  length.fixed(std::uint64_t{event.bytes().size()});
  std::string text = length.bytes();
  text += out.fixed(record_checksum(length.bytes())).bytes();
  text += event.bytes();
  text += Message().fixed(record_checksum(event.bytes())).bytes();
  return text;
}

/// A record for every row, with a scalar for every number that is known. `start`: when training began, in seconds since
/// 1970. Source: the messages Event (wall_time 1, step 2, file_version 3, summary 5) and Summary.Value (tag 1,
/// simple_value 2) of TensorFlow.
inline std::string event_file(const std::vector<tool::MetricsRow>& rows, double start) {
  std::string file = record(Message().number(1, start).text(3, "brain.Event:2"));
  for (const tool::MetricsRow& row : rows) {
    Message summary;
    tool::MetricsRow::numbers(row, [&](const char* name, double value) {
      if (std::isfinite(value)) summary.text(1, Message().text(1, name).number(2, static_cast<float>(value)).bytes());
    });
    file += record(Message()
                       .number(1, start + row.seconds)
                       .number(2, static_cast<std::uint64_t>(row.step))
                       .text(5, summary.bytes()));
  }
  return file;
}

/// Writes folder/name/events.out.tfevents.qllk, whole or not at all.
inline void write_events(const std::filesystem::path& folder, const std::string& name,
                         const std::vector<tool::MetricsRow>& rows, double start) {
  std::error_code error;
  std::filesystem::create_directories(folder / name, error);
  if (error) throw std::runtime_error("cannot make the folder '" + (folder / name).string() + "': " + error.message());
  qllk::files::AtomicFile file(folder / name / "events.out.tfevents.qllk");
  file.write(event_file(rows, start));
  file.commit();
}

}  // namespace report
