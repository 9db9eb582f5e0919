#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "qllk/io/architectures.hpp"
#include "qllk/train/checkpoint.hpp"
#include "run_files.hpp"
#include "train/options.hpp"
#include "train/run.hpp"

// classic.cpp has it: one architecture alone takes a compiler half a minute and a gigabyte.
extern template int tool::train_model<qllk::QLLKClassic<float>>(const Options&, const qllk::train::Checkpoint*,
                                                                std::optional<RunFolder>);

int tool::train(const Options& options) {
  options.check();
  std::optional<RunFolder> folder;
  std::optional<qllk::train::Checkpoint> checkpoint;
  std::string arch = options.arch.value_or("default");
  if (options.resume) {
    folder = RunFolder::existing(*options.out);
    checkpoint.emplace(folder->training());
    agree("--arch", options.arch, checkpoint->arch());
    arch = checkpoint->arch();
  } else if (options.out) {
    RunFolder::check_unused(*options.out);
  }
  int status = 1;
  qllk::io::visit_architecture(arch, [&]<class Model>(std::type_identity<Model>) {
    status = train_model<Model>(options, checkpoint ? &*checkpoint : nullptr, std::move(folder));
  });
  return status;
}
