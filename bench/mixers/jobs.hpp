// Measurements in processes of their own, kept in a file as they come.
#pragma once

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "display.hpp"
#include "tool.hpp"

namespace mixer_table {

using Json = nlohmann::ordered_json;

/// What is measured (all that decides the result), how, and about how long it takes.
struct Job {
  Json what;
  std::function<Json()> measure;
  double seconds;
  bool alone = false;  // no other job may run beside it
};

/// A file with a line {"job": …, "result": …} for each measurement.
class Results {
 public:
  /// Throws std::runtime_error if it cannot be read or has a line of another kind. A last line that was cut off does
  /// not count.
  explicit Results(std::string path) : path_(std::move(path)) {
    std::ifstream file(path_, std::ios::binary);
    if (!file && errno != ENOENT) fail("cannot read", errno);
    std::string text;
    for (int number = 1; std::getline(file, text); ++number) {
      cut_ = file.eof();
      if (text.empty()) continue;
      Json line = Json::parse(text, nullptr, false);
      if (line.is_discarded() && text.starts_with('{')) continue;
      if (!line.is_object() || !line.contains("job") || !line.contains("result"))
        throw std::runtime_error("'" + path_ + "', line " + std::to_string(number) +
                                 " is not a result: give another --out");
      lines_.push_back(std::move(line));
    }
  }

  /// The result of a job; null if there is none yet.
  const Json* find(const Json& what) const {
    const auto found = std::find_if(lines_.begin(), lines_.end(), [&](const Json& l) { return l["job"] == what; });
    return found == lines_.end() ? nullptr : &(*found)["result"];
  }
  void add(const Json& what, const Json& result) {
    const Json line{{"job", what}, {"result", result}};
    const std::string text = (cut_ ? "\n" : "") + line.dump() + "\n";
    std::ofstream file(path_, std::ios::binary | std::ios::app);
    if (!file.write(text.data(), std::ssize(text)).flush()) fail("cannot write", errno);
    cut_ = false;
    lines_.push_back(line);
  }
  const std::vector<Json>& lines() const { return lines_; }

 private:
  [[noreturn]] void fail(const std::string& what, int error) const {
    throw std::runtime_error(what + " '" + path_ + "': " + std::generic_category().message(error));
  }

  std::string path_;
  std::vector<Json> lines_;
  bool cut_ = false;
};

/// A child process at work on a job. Its memory is its own, so that the peak is the job's, and a crash ends one job.
class Child {
 public:
  explicit Child(const Job& job) : job_(&job) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::system_error(errno, std::generic_category(), "cannot make a pipe");
    std::fflush(nullptr);
    process_ = ::fork();
    if (process_ < 0) throw std::system_error(errno, std::generic_category(), "cannot start a process");
    if (process_ == 0) work(ends);
    ::close(ends[1]);
    pipe_ = ends[0];
  }

  const Job& job() const { return *job_; }
  pid_t process() const { return process_; }

  /// The result of the child, which has ended with that status; peak_bytes is added. Throws std::runtime_error if it
  /// failed.
  Json result(int status, const rusage& usage) const {
    std::string text;
    char buffer[4096];
    for (ssize_t count; (count = ::read(pipe_, buffer, sizeof buffer)) > 0;)
      text.append(buffer, static_cast<std::size_t>(count));
    ::close(pipe_);
    Json result = Json::parse(text, nullptr, false);
    if (status != 0 || result.is_discarded() || result.contains("error")) {
      const std::string why = result.is_object() && result.contains("error")
                                  ? result["error"].get<std::string>()
                                  : "its process ended with status " + std::to_string(status);
      throw std::runtime_error(job_->what.dump() + ": " + why);
    }
    result["peak_bytes"] = usage.ru_maxrss * 1024;
    return result;
  }

 private:
  /// A result is smaller than a pipe's buffer, so that the parent may read it when the child has ended.
  [[noreturn]] void work(const int (&ends)[2]) const {
    ::close(ends[0]);
    Json result;
    try {
      result = job_->measure();
    } catch (const std::exception& error) {
      result = Json{{"error", error.what()}};
    }
    tool::write_all(ends[1], result.dump());
    ::_exit(0);
  }

  const Job* job_;
  pid_t process_ = -1;
  int pipe_ = -1;
};

/// Runs jobs that have no result yet, `width` at a time, and shows the time left.
class Runner {
 public:
  Runner(Results& results, std::size_t width) : results_(results), width_(width) {}

  /// Jobs that are going to be run, for the time left; those that have a result do not count.
  void expect(const std::vector<Job>& jobs) {
    for (const Job& job : jobs)
      if (results_.find(job.what) == nullptr) left_ += cost(job);
  }

  /// Throws std::runtime_error that names the first job that fails; the others are stopped.
  void run(const std::vector<Job>& jobs) {
    std::vector<Child> running;
    try {
      for (const Job& job : jobs) {
        if (results_.find(job.what) != nullptr) continue;
        while (!running.empty() && (running.size() >= width_ || job.alone || running.front().job().alone))
          wait(running);
        running.emplace_back(job);
      }
      while (!running.empty()) wait(running);
    } catch (...) {
      for (const Child& child : running) ::kill(child.process(), SIGTERM);
      throw;
    }
  }

 private:
  /// Seconds of waiting: jobs beside each other share them.
  double cost(const Job& job) const { return job.alone ? job.seconds : job.seconds / static_cast<double>(width_); }

  void wait(std::vector<Child>& running) {
    int status = 0;
    rusage usage{};
    const pid_t ended = ::wait4(-1, &status, 0, &usage);
    if (ended < 0 && errno == EINTR) return;
    const auto child =
        std::find_if(running.begin(), running.end(), [&](const Child& c) { return c.process() == ended; });
    if (child == running.end()) throw std::runtime_error("lost a process that was measuring");
    const Child done = *child;
    running.erase(child);
    results_.add(done.job().what, done.result(status, usage));
    show(done.job());
  }

  /// The rest takes as much longer than expected as what was done so far.
  void show(const Job& job) {
    done_ += cost(job);
    left_ = std::max(0.0, left_ - cost(job));
    const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    std::string name;
    for (const char* key : {"kind", "mixer", "task", "positions", "learning_rate", "seed"})
      if (job.what.contains(key))
        name += (name.empty() ? "" : " ") +
                (job.what[key].is_string() ? job.what[key].get<std::string>() : job.what[key].dump());
    std::fprintf(stderr, "%s  (%s left)\n", name.c_str(), tool::clock_text(left_ * elapsed / done_).c_str());
  }

  Results& results_;
  std::size_t width_;
  double left_ = 0, done_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace mixer_table
