// compile_cost SECONDS MEGABYTES COMMAND…: runs a command, and fails unless it ends well within both limits.
// Time is processor time, and the least of three runs counts: other work on the machine slows a processor too.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

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
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s SECONDS MEGABYTES COMMAND...\n", argv[0]);
    return 2;
  }
  const double most_seconds = std::atof(argv[1]);
  const double most_megabytes = std::atof(argv[2]);
  for (int attempt = 0; attempt < 3; ++attempt) {
    const Cost cost = run(argv + 3);
    std::printf("%.1f s of at most %.0f, %.0f MB of at most %.0f\n", cost.seconds, most_seconds, cost.megabytes,
                most_megabytes);
    if (!cost.well) return 1;
    if (cost.seconds <= most_seconds) return cost.megabytes <= most_megabytes ? 0 : 1;
  }
  return 1;
}
