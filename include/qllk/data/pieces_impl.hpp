// How the pieces of a corpus are gathered. Include qllk/data/pieces.hpp.
#pragma once

#include <glob.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/data/compressed_format.hpp"
#include "qllk/data/own_files.hpp"
#include "qllk/data/pieces.hpp"
#include "qllk/files/input_file.hpp"
#include "qllk/files/scratch_file.hpp"

namespace qllk::data::detail {

QLLK_INLINE void PiecesBuilder::add_file(files::InputFile file) {
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

QLLK_INLINE void PiecesBuilder::pack(const files::InputFile& file) {
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

QLLK_INLINE void PiecesBuilder::add_compressed(const files::InputFile& file, const CompressedFormat& format) {
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

QLLK_INLINE void PiecesBuilder::seal() {
  block_.shrink_to_fit();
  pieces_.append(files::StoredBytes(files::SharedBytes::of(std::exchange(block_, {}))));
}

QLLK_INLINE std::vector<std::string> expand(const std::string& path) {
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

QLLK_INLINE void add_folder(PiecesBuilder& builder, const std::string& path) {
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

QLLK_INLINE void add_path(PiecesBuilder& builder, const std::string& path) {
  std::error_code ignored;
  if (path != "-" && std::filesystem::is_directory(path, ignored)) return add_folder(builder, path);
  const std::uint64_t before = builder.size();
  const std::size_t skipped = builder.skipped();
  builder.add_file(path == "-" ? files::InputFile::standard_input() : files::InputFile(path));
  if (builder.size() == before && builder.skipped() == skipped)
    throw RuntimeError(path == "-" ? "standard input is empty" : "the file '" + path + "' is empty");
}

}  // namespace qllk::data::detail
