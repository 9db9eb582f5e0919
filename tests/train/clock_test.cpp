#include "qllk/train/clock.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

namespace {

using qllk::train::SuspensionWatch;
using qllk::train::working_seconds;

/// Stops this process for a while, as Ctrl-Z and fg do.
void suspend(std::chrono::milliseconds time) {
  const pid_t self = ::getpid(), child = ::fork();
  if (child == 0) {
    ::kill(self, SIGSTOP);
    std::this_thread::sleep_for(time);
    ::kill(self, SIGCONT);
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
}

double elapsed() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

TEST(WorkingSeconds, DoNotCountWhatTheProcessWasStoppedFor) {
  const SuspensionWatch watch;
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const double work = working_seconds(), wall = elapsed();
  suspend(std::chrono::milliseconds(2000));
  const double worked = working_seconds() - work, passed = elapsed() - wall;
  EXPECT_GE(passed, 2.0);
  EXPECT_LE(worked, passed - 1.8);
  EXPECT_GE(worked, 0);
}

TEST(WorkingSeconds, CountWorkAndWaiting) {
  const SuspensionWatch watch;
  const double work = working_seconds(), wall = elapsed();
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  while (elapsed() - wall < 1.4) continue;
  EXPECT_NEAR(working_seconds() - work, elapsed() - wall, 0.3);
}

TEST(WorkingSeconds, AreThoseOfTheClockWithoutAWatch) {
  const double work = working_seconds(), wall = elapsed();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_NEAR(working_seconds() - work, elapsed() - wall, 0.02);
}

}  // namespace
