// The end of a process among several.
#pragma once

#include <chrono>
#include <cstdlib>
#include <thread>

namespace train_tool {

/// Ends this process with that status in ten seconds, unless it has ended before: for when all processes have met, and
/// nothing is lost. On a slow network MPICH 4.0, which Debian 12 has, waits in MPI_Finalize now and then for a process
/// that has closed its connections already. What is in buffers of <cstdio> is not written.
inline void end_in_time(int status) {
  std::thread([status] {
    std::this_thread::sleep_for(std::chrono::seconds(10));
    std::_Exit(status);
  }).detach();
}

}  // namespace train_tool
