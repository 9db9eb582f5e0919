// Any architecture, by its name.
#include "train/train.hpp"

#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "qllk/io/architectures.hpp"
#include "qllk/mixers/registry.hpp"
#include "qllk/train/checkpoint.hpp"
#include "run_files.hpp"
#include "train/run.hpp"
#include "train/together.hpp"

namespace train_tool {

// classic.cpp has it: one architecture alone takes a compiler half a minute and a gigabyte.
extern template int train_model<QLLKClassic<float>>(const Options&, const train::Checkpoint*,
                                                    std::optional<tool::RunFolder>, distributed::Team*);

int train(const Options& options, distributed::Team* team) {
  if (team != nullptr) expect_one_program(*team, options);
  if (team == nullptr && options.together())
    throw std::invalid_argument(
        "--exchange, --local-steps, --outer-rate and --outer-momentum are for several processes: start them with "
        "mpirun -n N qllk-train …, or leave these options out");
  options.check();
  std::optional<tool::RunFolder> folder;
  std::optional<train::Checkpoint> checkpoint;
  std::string arch = options.arch.value_or("default");
  const bool leads = team == nullptr || team->leads();
  if (leads && options.resume) {
    folder = tool::RunFolder::existing(*options.out);
    checkpoint.emplace(folder->training());
    agree("--arch", options.arch, checkpoint->arch());
    arch = checkpoint->arch();
  } else if (leads && options.out) {
    tool::RunFolder::check_unused(*options.out);
  }
  if (team != nullptr) arch = distributed::from_leader(*team, arch);
  int status = 1;
  io::visit_architecture<io::EveryModel>(arch, [&]<class Model>(std::type_identity<Model>) {
    status = train_model<Model>(options, checkpoint ? &*checkpoint : nullptr, std::move(folder), team);
  });
  return status;
}

std::string mixer_names() {
  std::string names;
  for (const auto name : mixers::Registered<float>::names) names += (names.empty() ? "" : ", ") + std::string(name);
  return names;
}

}  // namespace train_tool
