// What a corpus is made of: files, and blocks of memory.
#pragma once

#include <glob.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/data/compressed_format.hpp"
#include "qllk/data/own_files.hpp"
#include "qllk/files/input_file.hpp"
#include "qllk/files/scratch_file.hpp"

namespace qllk::data {

namespace detail {

/// Bytes at any offset, for any number of threads: stored somewhere, or a part of a scratch file.
class PieceData {
 public:
  explicit PieceData(files::StoredBytes stored) : stored_(std::move(stored)) {}
  /// [offset, end of the file as it is now)
  PieceData(std::shared_ptr<const files::ScratchFile> scratch, std::uint64_t offset)
      : scratch_(std::move(scratch)), offset_(offset), size_(scratch_->size() - offset) {}

  std::uint64_t size() const { return scratch_ ? size_ : stored_.size(); }
  /// As those of StoredBytes.
  Bytes in_memory() const { return stored_.in_memory(); }
  std::optional<std::string> change() const { return stored_.change(); }
  void read(std::uint64_t offset, std::span<Byte> out) const {
    if (scratch_)
      scratch_->read_at(offset_ + offset, out);
    else
      stored_.read(offset, out);
  }

 private:
  files::StoredBytes stored_;
  std::shared_ptr<const files::ScratchFile> scratch_;
  std::uint64_t offset_ = 0, size_ = 0;
};

/// Bytes [from, from + size) of some that are stored.
struct Piece {
  std::uint64_t start;  // of it in the text
  PieceData data;
  std::uint64_t from, size;
};

/// Pieces in order, without gaps, none of them empty.
struct Pieces {
  std::vector<Piece> list;
  std::vector<std::string> sources, skipped;
  std::vector<std::uint64_t> begins;  // of each source
  std::vector<double> weights;        // of each source
  std::uint64_t size = 0;

  void append(files::StoredBytes data) { append(PieceData(std::move(data))); }
  void append(PieceData data) {
    const std::uint64_t all = data.size();
    append(std::move(data), 0, all);
  }
  void append(PieceData data, std::uint64_t from, std::uint64_t count) {
    if (count == 0) return;
    list.push_back({size, std::move(data), from, count});
    size += count;
  }
};

/// Adds sources one after the other. Large files stay open and are read where they lie, so long as this process may
/// open more; large compressed ones are decompressed into a scratch file; all else is packed into blocks of memory.
class PiecesBuilder {
 public:
  explicit PiecesBuilder(files::Machine machine = files::Machine()) : machine_(std::move(machine)) {}

  /// Of what is added from now on; 1 before.
  void set_weight(double weight) { weight_ = weight; }

  /// Nothing is added if this throws, unless it is a stream that fails on the way. A file that was added before, by
  /// whatever name, is skipped.
  void add_file(files::InputFile file) {
    const std::string name = file.name();
    const std::uint64_t before = size();
    if (file.is_regular()) {
      const auto [first, is_new] = added_.emplace(file.identity(), name);
      if (!is_new) {
        skip(std::string("'") + name + "' is the same file as '" + first->second + "', which counts once");
        return;
      }
    }
    if (const CompressedFormat* const format = compressed_format(file)) {
      add_compressed(file, *format);
    } else if (files::StoredBytes::is_large(file) && open_files_ < most_open_files()) {
      Byte first[1];
      file.read_at(0, first);  // some files can be opened, but not read
      seal();
      pieces_.append(files::StoredBytes(std::move(file)));
      ++open_files_;
    } else if (file.is_regular()) {
      const files::SharedBytes all = file.contents();
      if (block_.size() >= kBlock) seal();
      block_.insert(block_.end(), all.bytes.begin(), all.bytes.end());
    } else {
      pack(file);
    }
    if (size() == before) return;
    pieces_.sources.push_back(name);
    pieces_.begins.push_back(before);
    pieces_.weights.push_back(weight_);
  }

  void skip(std::string why) { pieces_.skipped.push_back(std::move(why)); }

  std::size_t skipped() const { return pieces_.skipped.size(); }
  std::uint64_t size() const { return pieces_.size + block_.size(); }

  Pieces finish() {
    seal();
    return std::move(pieces_);
  }

 private:
  static constexpr std::size_t kBlock = std::size_t{1} << 22;
  static constexpr std::size_t kStep = std::size_t{1} << 16;
  static constexpr std::size_t kSmall = std::size_t{1} << 16;  // of what is decompressed

  /// Half of what the system allows: the program opens other files too.
  static std::uint64_t most_open_files() {
    rlimit limit{};
    return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur / 2 : 256;
  }

  void pack(const files::InputFile& file) {
    for (;;) {
      if (block_.size() >= kBlock) seal();
      if (const std::uint64_t all = size(); all % files::kLargeStream < kStep && all >= files::kLargeStream)
        files::expect_room(file.name(), all, 2 * files::kLargeStream, machine_);
      const std::size_t begin = block_.size();
      block_.resize(begin + kStep);
      std::size_t count = 0;
      try {
        count = file.read(std::span(block_).subspan(begin));
      } catch (...) {
        block_.resize(begin);
        throw;
      }
      block_.resize(begin + count);
      if (count < kStep) return;
    }
  }

  /// What is decompressed lies in memory where it is small, and else in one scratch file.
  void add_compressed(const files::InputFile& file, const CompressedFormat& format) {
    if (format.decode == nullptr)
      throw RuntimeError("'" + file.name() + "' is compressed, but this program was built without " +
                         std::string(format.library) + ": decompress it first");
    std::vector<Byte> begin;
    const std::uint64_t before = scratch_ ? scratch_->size() : 0;
    bool large = false;
    try {
      format.decode(file, [&](Bytes bytes) {
        if (!large && begin.size() + bytes.size() <= kSmall) {
          begin.insert(begin.end(), bytes.begin(), bytes.end());
          return;
        }
        if (!scratch_) scratch_ = std::make_shared<files::ScratchFile>();
        if (!std::exchange(large, true)) scratch_->append(begin);
        scratch_->append(bytes);
      });
    } catch (...) {
      if (scratch_) scratch_->shorten(before);
      throw;
    }
    file.check_unchanged();
    if (large) {
      seal();
      pieces_.append(PieceData(scratch_, before));
      return;
    }
    if (block_.size() >= kBlock) seal();
    block_.insert(block_.end(), begin.begin(), begin.end());
  }

  void seal() {
    block_.shrink_to_fit();
    pieces_.append(files::StoredBytes(files::SharedBytes::of(std::exchange(block_, {}))));
  }

  files::Machine machine_;
  Pieces pieces_;
  std::shared_ptr<files::ScratchFile> scratch_;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::string> added_;  // regular files, and the names they came by
  std::vector<Byte> block_;
  std::uint64_t open_files_ = 0;
  double weight_ = 1;
};

/// Appends the regular files in a folder and in its folders. Calls left_out(why) for each folder that cannot be listed,
/// or is hidden.
template <class LeftOut>
void list_regular_files(const std::filesystem::path& folder, std::vector<std::string>& files, LeftOut&& left_out) {
  std::error_code error, ignored;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->is_regular_file(ignored)) {
      files.push_back(entry->path().string());
    } else if (entry->is_directory(ignored) && !entry->is_symlink(ignored)) {
      if (entry->path().filename().string().starts_with("."))
        left_out(std::string("'") + entry->path().string() + "' is a hidden folder");
      else
        list_regular_files(entry->path(), files, left_out);
    }
  }
  if (error) left_out("cannot read the folder '" + folder.string() + "': " + error.message());
}

/// The path, or what it matches if it is not there, but a pattern. Throws std::runtime_error where that is nothing.
inline std::vector<std::string> expand(const std::string& path) {
  std::error_code ignored;
  if (path.find_first_of("*?[") == std::string::npos || std::filesystem::exists(path, ignored)) return {path};
  glob_t found{};
  const int status = ::glob(path.c_str(), GLOB_NOSORT, nullptr, &found);
  const std::unique_ptr<glob_t, void (*)(glob_t*)> end(&found, ::globfree);
  if (status != 0 || found.gl_pathc == 0) throw RuntimeError("no file matches '" + path + "'");
  std::vector<std::string> matches(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  std::sort(matches.begin(), matches.end());
  return matches;
}

/// Adds the files of a folder that can be read, but for those that are qllk's own. Throws std::runtime_error if none of
/// them has any bytes.
inline void add_folder(PiecesBuilder& builder, const std::string& path) {
  const std::uint64_t before = builder.size();
  const std::size_t twice = builder.skipped();
  std::vector<std::string> files, skipped;
  const auto skip = [&](std::string why) { skipped.push_back(std::move(why)); };
  list_regular_files(path, files, skip);
  std::sort(files.begin(), files.end());  // std::string compares bytes as unsigned
  for (const std::string& name : files) try {
      files::InputFile file(name);
      if (const char* const kind = kind_of_own_file(file))
        skip(std::string("'") + name + "' is " + kind);
      else
        builder.add_file(std::move(file));
    } catch (const std::runtime_error& error) {
      skip(error.what());
    }
  const bool nothing = builder.size() == before && builder.skipped() == twice;
  if (nothing && !skipped.empty()) throw RuntimeError(skipped.front());
  if (nothing) throw RuntimeError("the folder '" + path + "' is empty: no regular file in it has any bytes");
  for (std::string& why : skipped) builder.skip(std::move(why));
}

/// Adds a folder, a file, or standard input, "-". Throws std::runtime_error if it has no bytes, as add_folder and
/// add_file.
inline void add_path(PiecesBuilder& builder, const std::string& path) {
  std::error_code ignored;
  if (path != "-" && std::filesystem::is_directory(path, ignored)) return add_folder(builder, path);
  const std::uint64_t before = builder.size();
  const std::size_t skipped = builder.skipped();
  builder.add_file(path == "-" ? files::InputFile::standard_input() : files::InputFile(path));
  if (builder.size() == before && builder.skipped() == skipped)
    throw RuntimeError(path == "-" ? "standard input is empty" : "the file '" + path + "' is empty");
}

}  // namespace detail

}  // namespace qllk::data
