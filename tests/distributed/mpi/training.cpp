#include "distributed/mpi/training.hpp"

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>

#include "distributed/training_cases.hpp"
#include "qllk/distributed/data_parallel.hpp"
#include "qllk/distributed/state.hpp"
#include "qllk/train/checkpoint.hpp"

namespace qllk::test {

namespace {

using distributed::Team;

class Checks {
 public:
  explicit Checks(Team& team) : team_(team) {}

  /// All processes have `expected`.
  void same(const std::string& what, std::uint64_t expected, std::uint64_t value) {
    const int here = value == expected ? 1 : 0;
    int wrong = 0;
    for (const int equal : distributed::all_gather(team_, std::span<const int>(&here, 1))) wrong += 1 - equal;
    if (team_.leads())
      std::printf("%-50s %016llx %s\n", what.c_str(), static_cast<unsigned long long>(value),
                  wrong == 0 ? "ok" : ("WRONG in " + std::to_string(wrong) + " processes").c_str());
    failures_ += wrong > 0;
  }
  int failures() const { return failures_; }

 private:
  Team& team_;
  int failures_ = 0;
};

constexpr auto kGoOn = [](const train::StepReport&) { return true; };

template <class Model>
void check_model(Team& team, Checks& checks, const std::string& name) {
  using Trainer = train::Trainer<Model>;
  const train::Budget budget{.steps = 6};
  Trainer alone(tiny_model<Model>(), tiny_settings(), tiny_text(), 1);
  alone.run(budget, kGoOn);
  const std::uint64_t expected = checksum_of(alone);

  for (const char* const time : {"first", "second"}) {
    distributed::DataParallel<float> exchange(team);
    Trainer together(tiny_model<Model>(), tiny_settings(), tiny_text(), 2, &exchange);
    together.run(budget, kGoOn);
    checks.same(name + ", " + time + " time", expected, checksum_of(together));
  }

  // process 0 alone has a file of a run of one process
  Trainer first(tiny_model<Model>(), tiny_settings(), tiny_text(), 1);
  if (team.leads()) first.run(budget, [&](const train::StepReport&) { return first.progress().steps < 3; });
  distributed::DataParallel<float> exchange(team);
  Trainer second(tiny_model<Model>(), tiny_settings(), tiny_text(), 1, &exchange);
  if (team.leads()) second.restore(first.params(), first.optimizer(), first.average(), first.progress());
  distributed::send_state(team, second);
  second.run(budget, kGoOn);
  checks.same(name + ", resumed after a run of one process", expected, checksum_of(second));
}

}  // namespace

int check_training(Team& team) {
  Checks checks(team);
  check_model<QLLKClassic<float>>(team, checks, "classic");
  check_model<QLLKTransformer<float>>(team, checks, "default");

  // a message that is longer than what networks send at once
  std::string text(team.leads() ? std::size_t{1} << 22 : 0, 'x');
  text = distributed::from_leader(team, text);
  checks.same("a long message", std::size_t{1} << 22, text.size());
  return checks.failures();
}

}  // namespace qllk::test
