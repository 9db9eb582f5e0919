// compile_cost SECONDS MEGABYTES COMMAND… -- YARDSTICK…: runs a command, and fails unless it ends within both limits.
// Time is processor time, and the least of three runs counts. Other work on a machine slows a processor too, and a
// small board's is slow at its best: SECONDS are those of a processor that runs the yardstick in one second, or sooner.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string_view>

namespace {

struct Cost {
  bool well;
  double seconds, megabytes;
};

double seconds_of(const rusage& usage) {
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

Cost run(char** command) {
  rusage before{}, after{};
  getrusage(RUSAGE_CHILDREN, &before);
  const pid_t child = fork();
  if (child == 0) {
    execvp(command[0], command);
    std::perror(command[0]);
    _exit(127);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) {
    std::perror("fork");
    return {false, 0, 0};
  }
  getrusage(RUSAGE_CHILDREN, &after);  // the compiler proper is a child's child: counted, as it was waited for
  return {WIFEXITED(status) && WEXITSTATUS(status) == 0, seconds_of(after) - seconds_of(before),
          static_cast<double>(after.ru_maxrss) / 1024};
}

}  // namespace

int main(int argc, char** argv) {
  char** const end = argv + argc;
  char** const split = std::find_if(argv, end, [](const char* word) { return std::string_view(word) == "--"; });
  if (split < argv + 4 || split + 1 >= end) {
    std::fprintf(stderr, "usage: %s SECONDS MEGABYTES COMMAND... -- YARDSTICK...\n", argv[0]);
    return 2;
  }
  *split = nullptr;
  const double most_seconds = std::atof(argv[1]);
  const double most_megabytes = std::atof(argv[2]);
  constexpr double kNever = std::numeric_limits<double>::infinity();
  double second = kNever, seconds = kNever, megabytes = 0;
  // once is enough where it is within the limit of any processor
  for (int attempt = 0; attempt < 3 && seconds > most_seconds; ++attempt) {
    const Cost yardstick = run(split + 1), cost = run(argv + 3);
    if (!yardstick.well || !cost.well) return 1;
    second = std::min(second, yardstick.seconds);
    seconds = std::min(seconds, cost.seconds);
    megabytes = std::max(megabytes, cost.megabytes);
  }
  const double limit = most_seconds * std::max(1.0, second);
  std::printf("%.1f s of at most %.1f (yardstick %.2f s), %.0f MB of at most %.0f\n", seconds, limit, second, megabytes,
              most_megabytes);
  return seconds <= limit && megabytes <= most_megabytes ? 0 : 1;
}
