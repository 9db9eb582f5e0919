// Any architecture, by its name.
#include "train/train.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "display.hpp"
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

namespace {
/// The checkpoint to continue: where it is gone or damaged, the one before it.
train::Checkpoint open_checkpoint(tool::RunFolder& folder) {
  const auto open = [](const std::filesystem::path& path) {
    train::Checkpoint checkpoint(path);
    checkpoint.verify();
    return checkpoint;
  };
  try {
    return open(folder.training());
  } catch (const RuntimeError& error) {
    std::error_code ignored;
    if (!std::filesystem::exists(folder.previous(), ignored)) throw;
    const std::string why = error.what();
    auto previous = open(folder.previous());
    folder.go_on_from_previous();
    tool::Display().line(std::string("warning: ") + why + "; the run goes on from '" + folder.previous().string() +
                         "', which was saved before, at step " +
                         tool::grouped(static_cast<std::uint64_t>(previous.progress().steps)));
    return previous;
  }
}
}  // namespace

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
    checkpoint.emplace(open_checkpoint(*folder));
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
