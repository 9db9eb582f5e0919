// What a corpus is made of: files, and blocks of memory.
#pragma once

#include <sys/resource.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
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
  void add_file(files::InputFile file);

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

  void pack(const files::InputFile& file);

  /// What is decompressed lies in memory where it is small, and else in one scratch file.
  void add_compressed(const files::InputFile& file, const CompressedFormat& format);

  void seal();

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
std::vector<std::string> expand(const std::string& path);

/// Adds the files of a folder that can be read, but for those that are qllk's own. Throws std::runtime_error if none of
/// them has any bytes.
void add_folder(PiecesBuilder& builder, const std::string& path);

/// Adds a folder, a file, or standard input, "-". Throws std::runtime_error if it has no bytes, as add_folder and
/// add_file.
void add_path(PiecesBuilder& builder, const std::string& path);

}  // namespace detail

}  // namespace qllk::data

#ifndef QLLK_COMPILED
#include "qllk/data/pieces_impl.hpp"
#endif
