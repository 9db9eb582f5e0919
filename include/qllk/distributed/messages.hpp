// Values that travel together, as they are or in 16 bits.
#pragma once

#include <cstddef>
#include <deque>
#include <span>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/distributed/team.hpp"
#include "qllk/distributed/wire.hpp"

namespace qllk::distributed {

/// Messages between the processes of a team that begin at once: list them, begin, do something else, finish. Then they
/// are gone, and others can be listed. In full they are sent from where they are and received where they belong;
/// nothing of them may change meanwhile. Lists with other channels may begin in any order.
template <Real Scalar>
class Messages {
 public:
  /// `team` must outlive it.
  explicit Messages(Team& team, Wire wire = Wire::full, int channel = 0)
      : team_(&team), wire_(wire), channel_(channel) {}

  /// Values for another process; `residual` as in `encode`. Returns their bytes.
  std::size_t send(int other, std::span<const Scalar> values, std::span<Scalar> residual) {
    if (wire_ == Wire::full) return send(other, bytes_of(values));
    return send(other, encoded(values, residual).bytes);
  }
  /// Values for all others. What these decode is what `values` are in the end. Returns the bytes.
  std::size_t send_to_all(std::span<Scalar> values, std::span<Scalar> residual) {
    std::span<const std::byte> bytes = bytes_of(values);
    if (wire_ != Wire::full) {
      Packet& packet = encoded(values, residual);
      packet.values = values;
      bytes = packet.bytes;
    }
    std::size_t sent = 0;
    team_->for_each_other([&](int other) { sent += send(other, bytes); });
    return sent;
  }
  /// Bytes as they are.
  std::size_t send(int other, std::span<const std::byte> bytes) {
    out_.push_back({other, bytes});
    return bytes.size();
  }

  /// Where values of another process go.
  void receive(int other, std::span<Scalar> values) {
    if (wire_ == Wire::full) return receive_bytes(other, bytes_of(values));
    Packet& packet = next_packet(values.size());
    packet.values = values;
    receive_bytes(other, packet.bytes);
  }
  /// Where bytes go.
  void receive_bytes(int other, std::span<std::byte> bytes) { in_.push_back({other, bytes}); }

  /// All of these are on their way.
  void begin() { ticket_ = team_->begin(out_, in_, channel_); }

  /// Whether `finish` would not have to wait.
  bool through() { return team_->through(ticket_); }

  /// Waits for them.
  void finish() {
    team_->finish(ticket_);
    out_.clear();
    in_.clear();
    for (std::size_t i = 0; i < used_; ++i)
      if (!packets_[i].values.empty()) decode(wire_, packets_[i].bytes.data(), packets_[i].values);
    used_ = 0;
  }

 private:
  struct Packet {
    std::vector<std::byte> bytes;
    std::span<Scalar> values;  // to be decoded when it is through
  };

  Packet& next_packet(std::size_t values) {
    if (used_ == packets_.size()) packets_.emplace_back();
    Packet& packet = packets_[used_++];
    packet.bytes.resize(wire_bytes<Scalar>(wire_, values));
    packet.values = {};
    return packet;
  }
  Packet& encoded(std::span<const Scalar> values, std::span<Scalar> residual) {
    Packet& packet = next_packet(values.size());
    encode(wire_, values, residual, packet.bytes.data());
    return packet;
  }

  Team* team_;
  Wire wire_;
  int channel_;
  std::deque<Packet> packets_;  // of which the first used_ are on their way
  std::size_t used_ = 0;
  std::vector<Team::Outgoing> out_;
  std::vector<Team::Incoming> in_;
  Team::Ticket ticket_ = 0;
};

}  // namespace qllk::distributed
