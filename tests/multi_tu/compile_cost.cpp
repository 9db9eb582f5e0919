// compile_cost SECONDS MEGABYTES COMMAND…: runs a command, and fails unless it ends well within both limits.
// Time is processor time, which other work on the machine changes little.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s SECONDS MEGABYTES COMMAND...\n", argv[0]);
    return 2;
  }
  const double most_seconds = std::atof(argv[1]);
  const double most_megabytes = std::atof(argv[2]);

  const pid_t child = fork();
  if (child == 0) {
    execvp(argv[3], argv + 3);
    std::perror(argv[3]);
    _exit(127);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) {
    std::perror("fork");
    return 2;
  }
  rusage usage{};
  getrusage(RUSAGE_CHILDREN, &usage);  // the compiler proper is a child's child: counted, as it was waited for
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  const double spent = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  const double megabytes = static_cast<double>(usage.ru_maxrss) / 1024;
  std::printf("%.1f s of at most %.0f, %.0f MB of at most %.0f\n", spent, most_seconds, megabytes, most_megabytes);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return 1;
  return spent <= most_seconds && megabytes <= most_megabytes ? 0 : 1;
}
