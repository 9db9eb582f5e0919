// The processes that an MPI launcher started.
#pragma once

#include <mpi.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/distributed/team.hpp"

namespace qllk::distributed {

/// All processes of an mpirun, mpiexec or srun, from MPI_Init to MPI_Finalize. One a process; only the thread that
/// made it may use it, others may run. Any MPI of version 3 or later: OpenMPI, MPICH.
///
/// Errors   std::runtime_error with MPI's own words. A process that ends without its destructor, or is killed, makes
///          the launcher end all others
class MpiTeam final : public Team {
 public:
  /// Begins MPI. One for each program, made by the thread that uses it.
  MpiTeam() {
    int provided = 0;
    check("MPI_Init_thread", MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided));
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    check("MPI_Comm_rank", MPI_Comm_rank(MPI_COMM_WORLD, &rank_));
    check("MPI_Comm_size", MPI_Comm_size(MPI_COMM_WORLD, &size_));
  }
  ~MpiTeam() override { MPI_Finalize(); }
  MpiTeam(const MpiTeam&) = delete;
  MpiTeam& operator=(const MpiTeam&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  std::string machine() const override {
    std::array<char, MPI_MAX_PROCESSOR_NAME> name{};
    int length = 0;
    check("MPI_Get_processor_name", MPI_Get_processor_name(name.data(), &length));
    return {name.data(), static_cast<std::size_t>(length)};
  }

  /// How many processes share this machine, this one included.
  int on_this_machine() const {
    MPI_Comm shared = MPI_COMM_NULL;
    check("MPI_Comm_split_type", MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &shared));
    int size = 1;
    const int error = MPI_Comm_size(shared, &size);
    MPI_Comm_free(&shared);
    check("MPI_Comm_size", error);
    return size;
  }

  Ticket begin(std::span<const Outgoing> out, std::span<const Incoming> in, int channel) override {
    Flight& flight = flights_.emplace_back(Flight{++last_, {}});
    if (!spare_.empty()) {
      flight.requests = std::move(spare_.back());
      spare_.pop_back();
    }
    for (const Incoming& message : in)
      for_each_part(message.bytes, [&](std::span<std::byte> part) {
        check("MPI_Irecv", MPI_Irecv(part.data(), static_cast<int>(part.size()), MPI_BYTE, message.from, channel,
                                     MPI_COMM_WORLD, &flight.requests.emplace_back()));
      });
    for (const Outgoing& message : out)
      for_each_part(message.bytes, [&](std::span<const std::byte> part) {
        check("MPI_Isend", MPI_Isend(part.data(), static_cast<int>(part.size()), MPI_BYTE, message.to, channel,
                                     MPI_COMM_WORLD, &flight.requests.emplace_back()));
      });
    return last_;
  }

  bool through(Ticket ticket) override {
    bool waits = false;
    for (Flight& flight : flights_) {
      int all = 0;
      auto& requests = flight.requests;
      check("MPI_Testall", MPI_Testall(static_cast<int>(requests.size()), requests.data(), &all, MPI_STATUSES_IGNORE));
      if (flight.ticket == ticket && all == 0) waits = true;
    }
    return !waits;
  }

  void finish(Ticket ticket) override {
    const auto flight = std::ranges::find(flights_, ticket, &Flight::ticket);
    if (flight == flights_.end()) return;
    auto& requests = flight->requests;
    check("MPI_Waitall", MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE));
    requests.clear();
    spare_.push_back(std::move(requests));
    flights_.erase(flight);
  }

  void broadcast(std::span<std::byte> bytes) override {
    for_each_part(bytes, [](std::span<std::byte> part) {
      check("MPI_Bcast", MPI_Bcast(part.data(), static_cast<int>(part.size()), MPI_BYTE, 0, MPI_COMM_WORLD));
    });
  }

  /// Returns when all processes have called it, in all at once. Does not take the processor from those that still work.
  void meet() const {
    MPI_Request all = MPI_REQUEST_NULL;
    check("MPI_Ibarrier", MPI_Ibarrier(MPI_COMM_WORLD, &all));
    for (int here = 0; here == 0;) {
      check("MPI_Test", MPI_Test(&all, &here, MPI_STATUS_IGNORE));
      if (here == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    check("MPI_Barrier", MPI_Barrier(MPI_COMM_WORLD));
  }

  /// Ends all processes of the launcher at once: for errors that only this one knows of.
  void end_all(int status) const { MPI_Abort(MPI_COMM_WORLD, status); }

 private:
  static constexpr std::size_t kMost = std::size_t{1} << 30;  // bytes of a message: MPI counts with an int

  template <class T, class F>
  static void for_each_part(std::span<T> bytes, F&& f) {
    for (std::size_t at = 0; at < bytes.size(); at += kMost) f(bytes.subspan(at, std::min(kMost, bytes.size() - at)));
  }

  static void check(const char* call, int error) {
    if (error == MPI_SUCCESS) return;
    std::array<char, MPI_MAX_ERROR_STRING> text{};
    int length = 0;
    MPI_Error_string(error, text.data(), &length);
    throw RuntimeError(std::string(call) + ": " + text.data());
  }

  /// Messages on their way.
  struct Flight {
    Ticket ticket;
    std::vector<MPI_Request> requests;
  };

  int rank_ = 0, size_ = 1;
  Ticket last_ = 0;
  std::vector<Flight> flights_;
  std::vector<std::vector<MPI_Request>> spare_;  // the memory of flights that are over
};

}  // namespace qllk::distributed
