// Processes that work on one task and send each other bytes.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "qllk/core/types.hpp"

namespace qllk::distributed {

/// The processes 0 … size() - 1, of which this one is rank(); process 0 leads. All make the same calls in the same
/// order; each but `begin` returns when its messages are through, and waits for those who are late. MpiTeam is one over
/// MPI.
///
/// Errors   std::runtime_error when the network or another process fails; the team is of no use then
class Team {
 public:
  /// A message to another process.
  struct Outgoing {
    int to;                            // its rank
    std::span<const std::byte> bytes;  // must stay until exchange returns
  };
  /// A message from another process.
  struct Incoming {
    int from;                    // its rank
    std::span<std::byte> bytes;  // overwritten
  };

  virtual ~Team() = default;

  /// Which of the processes this one is.
  virtual int rank() const = 0;
  /// How many processes there are.
  virtual int size() const = 0;
  /// The machine of this process, for people.
  virtual std::string machine() const = 0;

  /// Which messages to wait for.
  using Ticket = std::uint64_t;

  /// Begins to send and receive all of these. Messages from one process to another on one channel (0 to 32,000) arrive
  /// in the order in which both begin them, and both must give them the same sizes; channels do not wait for one
  /// another. No process sends to itself. All bytes must stay where they are until `finish` returns.
  virtual Ticket begin(std::span<const Outgoing> out, std::span<const Incoming> in, int channel) = 0;
  /// Whether the messages of that `begin` are through. Lets all messages move on, which some networks carry during
  /// calls only.
  virtual bool through(Ticket ticket) = 0;
  /// Waits until they are. Each is to be waited for once.
  virtual void finish(Ticket ticket) = 0;

  /// Sends and receives all of these, at the same time.
  void exchange(std::span<const Outgoing> out, std::span<const Incoming> in) { finish(begin(out, in, 0)); }

  /// Overwrites `bytes` by those of process 0, of the same number.
  virtual void broadcast(std::span<std::byte> bytes) = 0;

  /// Whether this is process 0.
  bool leads() const { return rank() == 0; }
  /// Calls f(rank) for all processes but this one.
  template <class F>
  void for_each_other(F&& f) const {
    for (int other = 0; other < size(); ++other)
      if (other != rank()) f(other);
  }
};

/// The bytes of values that can be copied as such.
template <class T>
requires std::is_trivially_copyable_v<T> std::span<std::byte> bytes_of(std::span<T> values) {
  return std::as_writable_bytes(values);
}
/// The bytes of values that can be copied as such.
template <class T>
requires std::is_trivially_copyable_v<T> std::span<const std::byte> bytes_of(std::span<const T> values) {
  return std::as_bytes(values);
}

/// What process 0 passes.
template <class T>
T from_leader(Team& team, T value) {
  team.broadcast(bytes_of(std::span(&value, 1)));
  return value;
}

/// The text that process 0 passes.
inline std::string from_leader(Team& team, std::string text) {
  text.resize(static_cast<std::size_t>(from_leader(team, std::uint64_t{text.size()})));
  team.broadcast(bytes_of(std::span(text.data(), text.size())));
  return text;
}

/// The values of all processes, in their order; each passes as many.
template <class T>
std::vector<T> all_gather(Team& team, std::span<const T> mine) {
  const auto ranks = static_cast<std::size_t>(team.size());
  std::vector<T> all(ranks * mine.size());
  const auto part = [&](int rank) {
    return std::span(all).subspan(static_cast<std::size_t>(rank) * mine.size(), mine.size());
  };
  std::vector<Team::Outgoing> out;
  std::vector<Team::Incoming> in;
  team.for_each_other([&](int other) {
    out.push_back({other, bytes_of(mine)});
    in.push_back({other, bytes_of(part(other))});
  });
  std::ranges::copy(mine, part(team.rank()).begin());
  team.exchange(out, in);
  return all;
}

/// What all processes find out together, and each of them throws.
class Disagreement : public InvalidArgument {
 public:
  using InvalidArgument::InvalidArgument;
};

/// Throws a Disagreement in every process unless all pass the same value: "process 2 (on pi3) has another <what> than
/// process 0 (on pi1): <advice>".
inline void expect_same(Team& team, std::uint64_t value, const std::string& what, const std::string& advice) {
  struct Entry {
    std::uint64_t value;
    std::array<char, 64> machine;
  };
  Entry mine{value, {}};
  const std::string name = team.machine();
  std::copy_n(name.begin(), std::min(name.size(), mine.machine.size() - 1), mine.machine.begin());
  const auto all = all_gather(team, std::span<const Entry>(&mine, 1));
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank].value == all[0].value) continue;
    std::string message = "process " + std::to_string(rank);
    message += std::string(" (on ") + all[rank].machine.data() + ") has another " + what;
    message += std::string(" than process 0 (on ") + all[0].machine.data() + "): " + advice;
    throw Disagreement(message);
  }
}

}  // namespace qllk::distributed
