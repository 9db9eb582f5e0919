// A team whose processes are threads of the test.
#pragma once

#include <compare>
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "qllk/distributed/team.hpp"

namespace qllk::test {

/// Where messages wait. When a thread has failed, those who wait for its messages fail too; those it sent arrive.
class Mailbox {
 public:
  struct Address {
    int from, to, channel;
    auto operator<=>(const Address&) const = default;
  };

  void send(const Address& address, std::span<const std::byte> bytes) {
    const std::lock_guard lock(mutex_);
    queues_[address].emplace_back(bytes.begin(), bytes.end());
    changed_.notify_all();
  }
  void receive(const Address& address, std::span<std::byte> bytes) {
    std::unique_lock lock(mutex_);
    auto& queue = queues_[address];
    changed_.wait(lock, [&] { return !queue.empty() || failed_.contains(address.from); });
    if (queue.empty()) throw RuntimeError("another process of the team failed");
    if (queue.front().size() != bytes.size())
      throw RuntimeError("a message has " + std::to_string(queue.front().size()) + " bytes, expected " +
                         std::to_string(bytes.size()));
    std::ranges::copy(queue.front(), bytes.begin());
    queue.pop_front();
  }
  std::size_t waiting(const Address& address) {
    const std::lock_guard lock(mutex_);
    return queues_[address].size();
  }
  void fail(int rank) {
    const std::lock_guard lock(mutex_);
    failed_.insert(rank);
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<Address, std::deque<std::vector<std::byte>>> queues_;
  std::set<int> failed_;
};

class ThreadTeam final : public distributed::Team {
 public:
  ThreadTeam(Mailbox& mailbox, int rank, int size) : mailbox_(mailbox), rank_(rank), size_(size) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string machine() const override { return "thread" + std::to_string(rank_); }
  Ticket begin(std::span<const Outgoing> out, std::span<const Incoming> in, int channel) override {
    for (const auto& message : out) mailbox_.send({rank_, message.to, channel}, message.bytes);
    awaited_[++begun_] = {channel, {in.begin(), in.end()}};
    return begun_;
  }
  bool through(Ticket ticket) override {
    const auto& [channel, messages] = awaited_.at(ticket);
    std::map<int, std::size_t> due;
    for (const auto& message : messages) ++due[message.from];
    for (const auto& [from, count] : due)
      if (mailbox_.waiting({from, rank_, channel}) < count) return false;
    return true;
  }
  void finish(Ticket ticket) override {
    const auto& [channel, messages] = awaited_.at(ticket);
    for (const auto& message : messages) mailbox_.receive({message.from, rank_, channel}, message.bytes);
    awaited_.erase(ticket);
  }
  void broadcast(std::span<std::byte> bytes) override {
    if (rank_ != 0) return mailbox_.receive({0, rank_, kBroadcasts}, bytes);
    for (int other = 1; other < size_; ++other) mailbox_.send({0, other, kBroadcasts}, bytes);
  }

 private:
  static constexpr int kBroadcasts = -1;

  Mailbox& mailbox_;
  int rank_, size_;
  Ticket begun_ = 0;
  std::map<Ticket, std::pair<int, std::vector<Incoming>>> awaited_;
};

/// Calls f(team) in `size` threads, and throws the first process' exception, by rank.
template <class F>
void run_team(int size, F&& f) {
  Mailbox mailbox;
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      try {
        ThreadTeam team(mailbox, rank, size);
        f(team);
      } catch (...) {
        errors[static_cast<std::size_t>(rank)] = std::current_exception();
        mailbox.fail(rank);
      }
    });
  for (auto& thread : threads) thread.join();
  for (const auto& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace qllk::test
