// What a training run reads and where it writes.
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "names.hpp"
#include "qllk/core/random.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/data/split.hpp"
#include "qllk/files/atomic_file.hpp"
#include "qllk/files/input_file.hpp"
#include "qllk/files/scratch_file.hpp"
#include "qllk/io/json_members.hpp"

namespace tool {

/// Where the texts of a run come from. A checkpoint keeps it, so that --resume needs no --data.
struct TextSources {
  std::vector<std::string> data;
  std::optional<std::string> val;  // all of data is for training if this is there
  double val_fraction = 0.1;
  std::vector<double> weights{};  // of each path of data, or none
  bool whole_files = true;      // of several files, whole ones are held out; runs of before 0.2.0 hold out the end

  qllk::io::Json to_json() const {
    // Another day the tool may be started in another folder.
    const auto anywhere = [](const std::string& path) {
      return path == "-" ? path : std::filesystem::absolute(path).string();
    };
    qllk::io::Json json{
        {"val_fraction", val_fraction}, {"whole_files", whole_files}, {"data", qllk::io::Json::array()}};
    for (const auto& path : data) json["data"].push_back(name_to_json(anywhere(path)));
    if (val) json["val"] = name_to_json(anywhere(*val));
    if (!weights.empty()) json["weights"] = weights;
    return json;
  }
  static TextSources of_json(const qllk::io::Json& json) {
    TextSources sources;
    for (const auto& path : json.at("data")) sources.data.push_back(name_of_json(path));
    sources.val_fraction = json.at("val_fraction").get<double>();
    sources.whole_files = json.value("whole_files", false);
    if (json.contains("val")) sources.val = name_of_json(json.at("val"));
    if (json.contains("weights")) sources.weights = json.at("weights").get<std::vector<double>>();
    return sources;
  }

  /// For people.
  std::string description() const {
    std::string text;
    for (std::size_t i = 0; i < data.size(); ++i) {
      text += (i == 0 ? "" : ", ") + (data[i] == "-" ? "standard input" : data[i]);
      if (i < weights.size()) text += " (weight " + qllk::io::Json(weights[i]).dump() + ")";
    }
    return text;
  }
};

struct Texts {
  qllk::data::Corpus training, validation;
  qllk::data::HeldOut held_out = qllk::data::HeldOut::end;  // where they are of one text

  std::uint64_t bytes_in_memory() const { return training.bytes_in_memory() + validation.bytes_in_memory(); }

  static Texts open(const TextSources& sources) {
    using qllk::data::Corpus;
    const auto streams = std::count(sources.data.begin(), sources.data.end(), "-") + (sources.val == "-" ? 1 : 0);
    if (streams > 1) throw std::invalid_argument("standard input ('-') is asked for twice, but can be read once only");
    Corpus all = Corpus::open_all(sources.data, sources.weights);
    if (sources.val) return {std::move(all), Corpus::open(*sources.val), {}};
    if (sources.whole_files) {
      auto [training, validation, held_out] = qllk::data::split_files(all, sources.val_fraction);
      return {std::move(training), std::move(validation), held_out};
    }
    auto [training, validation] = qllk::data::split_tail(all, sources.val_fraction);
    return {std::move(training), std::move(validation)};
  }
};

/// What checkpoints of older versions know a text by: its size, and up to 4 MB of it in 1,024 places. Misses some
/// edits.
inline std::uint64_t sampled_fingerprint(const qllk::data::Corpus& text) {
  constexpr std::uint64_t kBlock = 4096, kBlocks = 1024;
  std::vector<qllk::Byte> block(kBlock);
  const std::uint64_t step = std::max(kBlock, text.size() / kBlocks);
  std::uint64_t hash = qllk::mix64(text.size());
  for (std::uint64_t at = 0; at < text.size(); at += step) {
    block.resize(static_cast<std::size_t>(std::min(kBlock, text.size() - at)));
    text.copy(at, block);
    for (const qllk::Byte byte : block) hash = (hash ^ byte) * 0x100000001B3u;  // FNV-1a
  }
  return qllk::mix64(hash);
}

/// The folder of a run: the model, the checkpoint, and what people and programs see of the run.
class RunFolder {
 public:
  std::filesystem::path path;
  std::filesystem::path model() const { return path / "model.safetensors"; }
  std::filesystem::path training() const { return path / "training.safetensors"; }
  /// The checkpoint that was saved before that.
  std::filesystem::path previous() const { return path / "training.previous.safetensors"; }
  std::filesystem::path metrics() const { return path / "metrics.jsonl"; }
  std::filesystem::path report() const { return path / "report.html"; }

  /// For a new run. `wanted` must not hold a run already; without it, the first of qllk-out/1, qllk-out/2, … that is
  /// free.
  static RunFolder create(const std::optional<std::string>& wanted) {
    RunFolder folder;
    std::error_code error;
    if (wanted) {
      folder.path = *wanted;
      make(folder.path);
      folder.lock();
      check_unused(*wanted);  // now that no other run can begin there
    } else {
      const std::filesystem::path parent = "qllk-out";
      make(parent);
      for (int number = 1;; ++number) {
        folder.path = parent / std::to_string(number);
        if (std::filesystem::create_directory(folder.path, error)) break;
        if (error && !std::filesystem::exists(folder.path)) fail(folder.path, error);
      }
      folder.lock();
    }
    folder.check_writable();
    folder.absolute_ = std::filesystem::absolute(folder.path);
    return folder;
  }

  /// Of a run to continue.
  static RunFolder existing(const std::string& wanted) {
    RunFolder folder;
    folder.path = wanted;
    std::error_code error;
    if (!std::filesystem::exists(folder.training(), error) && !std::filesystem::exists(folder.previous(), error))
      throw std::runtime_error("cannot resume: there is no '" + folder.training().string() + "'");
    folder.lock();
    folder.check_writable();
    folder.absolute_ = std::filesystem::absolute(folder.path);
    return folder;
  }

  /// A new folder for what can be saved nowhere else.
  static RunFolder rescue() {
    RunFolder folder;
    std::string name = qllk::files::scratch_folder() + "/qllk-rescue-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) qllk::files::throw_errno("cannot make the folder", name, errno);
    folder.path = folder.absolute_ = name;
    folder.lock();
    return folder;
  }

  bool exists() const {
    std::error_code error;
    return std::filesystem::is_directory(path, error);
  }

  /// Makes the folder again if it was removed, and locks the one that is there now. Returns whether it was gone. Hours
  /// of training must not be lost for want of a folder.
  bool restore() {
    const bool gone = !exists();
    if (gone) {
      std::error_code error;
      std::filesystem::create_directories(path, error);
      if (!exists()) path = absolute_;  // the folder that the tool was started in is gone too
      make(path);
    }
    struct stat locked, there;
    const bool ours = lock_.is_open() && ::fstat(lock_.get(), &locked) == 0 && ::stat(path.c_str(), &there) == 0 &&
                      locked.st_dev == there.st_dev && locked.st_ino == there.st_ino;
    if (!ours) lock();
    return gone;
  }

  /// The checkpoint to replace stays as the previous one. It gets a second name, which takes no room: file systems that
  /// have none of these keep one checkpoint. Not where the run goes on from the previous one because this is damaged.
  void keep_previous() const {
    if (from_previous_) return;
    const std::string kept = previous().string(), added = kept + ".tmp";
    ::unlink(added.c_str());  // of a process that died
    if (::linkat(AT_FDCWD, training().c_str(), AT_FDCWD, added.c_str(), AT_SYMLINK_FOLLOW) == 0 &&
        ::rename(added.c_str(), kept.c_str()) != 0)
      ::unlink(added.c_str());
    ::unlink(added.c_str());  // rename does nothing where both are names of one file
  }
  /// Makes room for others, where there is less than a save takes. Returns whether there is more now.
  bool drop_previous() const {
    if (from_previous_) return false;
    std::uint64_t needed = 0;
    for (const auto& file : {model(), training()}) {
      std::error_code error;
      const auto size = std::filesystem::file_size(file, error);
      if (!error) needed += size;
    }
    return free_bytes().value_or(needed) < needed && ::unlink(previous().c_str()) == 0;
  }
  void go_on_from_previous() { from_previous_ = true; }
  /// The checkpoint is a good one again.
  void saved() { from_previous_ = false; }

  /// Bytes that the file system has left for this user, if it tells.
  std::optional<std::uint64_t> free_bytes() const {
    struct statvfs status;
    if (::statvfs(path.c_str(), &status) != 0 || status.f_blocks == 0) return std::nullopt;
    return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
  }

  /// Throws if a run is there: it was expensive to make, and is never overwritten.
  static void check_unused(const std::filesystem::path& wanted) {
    RunFolder folder;
    folder.path = wanted;
    std::error_code error;
    for (const auto& file : {folder.training(), folder.model(), folder.previous()})
      if (std::filesystem::exists(file, error))
        throw std::runtime_error("'" + file.string() +
                                 "' is there already: continue that run with --resume, or give another --out");
  }

 private:
  /// Two runs in one folder would replace each other's files. Some network file systems know no locks: there is none
  /// then.
  void lock() {
    lock_.close();
    lock_ = qllk::files::FileDescriptor(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (lock_.is_open() && ::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
      throw std::runtime_error("another run is at work in '" + path.string() +
                               "': wait until it ends, or give another --out");
  }

  /// Better now than after an hour of training.
  void check_writable() const {
    for (const auto& file : {model(), training()}) qllk::files::AtomicFile(file).write("");
  }

  static void make(const std::filesystem::path& folder) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    std::error_code ignored;
    if (!std::filesystem::is_directory(folder, ignored))
      fail(folder, error ? error : std::make_error_code(std::errc::file_exists));
  }
  [[noreturn]] static void fail(const std::filesystem::path& folder, const std::error_code& error) {
    throw std::runtime_error("cannot make the folder '" + folder.string() + "': " + error.message());
  }

  std::filesystem::path absolute_;
  qllk::files::FileDescriptor lock_;
  bool from_previous_ = false;
};

}  // namespace tool
