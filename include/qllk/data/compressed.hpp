// Reading .gz, .xz and .zst files, with those of zlib, liblzma and libzstd that the CMake target qllk::compressed has
// found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/data/compressed_format.hpp"
#include "qllk/files/input_file.hpp"

#if defined(QLLK_WITH_ZLIB)
#include <zlib.h>
#endif
#if defined(QLLK_WITH_LZMA)
#include <lzma.h>
#endif
#if defined(QLLK_WITH_ZSTD)
#include <zstd.h>
#endif

namespace qllk::data {

namespace detail {

using Sink = std::function<void(Bytes)>;
inline constexpr std::size_t kDecodeBuffer = std::size_t{1} << 17;

[[noreturn]] inline void cut_short(const files::InputFile& file) {
  throw RuntimeError("'" + file.name() + "' is cut short: the end of its compressed data is missing");
}
[[noreturn]] inline void damaged(const files::InputFile& file, const char* why) {
  throw RuntimeError("'" + file.name() +
                     "' is damaged: " + (why != nullptr ? why : "its compressed data make no sense"));
}

#if defined(QLLK_WITH_ZLIB)
inline void decode_gzip(const files::InputFile& file, const Sink& sink) {
  std::vector<Byte> in(kDecodeBuffer), out(kDecodeBuffer);
  z_stream stream{};
  if (inflateInit2(&stream, 15 + 16) != Z_OK) throw RuntimeError("zlib cannot start");  // 16: gzip only
  const std::unique_ptr<z_stream, int (*)(z_stream*)> end(&stream, inflateEnd);
  int status = Z_STREAM_END;
  bool first = true;
  for (std::size_t size; (size = file.read(in)) > 0;) {
    stream.next_in = in.data();
    stream.avail_in = static_cast<uInt>(size);
    while (stream.avail_in > 0) {
      if (status == Z_STREAM_END && !first) {
        if (*stream.next_in == 0) {  // padding of tapes
          ++stream.next_in, --stream.avail_in;
          continue;
        }
        inflateReset(&stream);  // a file may have several members
      }
      first = false;
      stream.next_out = out.data();
      stream.avail_out = static_cast<uInt>(out.size());
      status = inflate(&stream, Z_NO_FLUSH);
      if (status != Z_OK && status != Z_STREAM_END) damaged(file, stream.msg);
      sink(Bytes(out).first(out.size() - stream.avail_out));
    }
    while (status == Z_OK && stream.avail_out == 0) {  // output that the buffer had no room for
      stream.next_out = out.data();
      stream.avail_out = static_cast<uInt>(out.size());
      status = inflate(&stream, Z_NO_FLUSH);
      if (status == Z_BUF_ERROR) status = Z_OK;
      if (status != Z_OK && status != Z_STREAM_END) damaged(file, stream.msg);
      sink(Bytes(out).first(out.size() - stream.avail_out));
    }
  }
  if (status != Z_STREAM_END) cut_short(file);
}
#endif

#if defined(QLLK_WITH_LZMA)
inline void decode_xz(const files::InputFile& file, const Sink& sink) {
  std::vector<Byte> in(kDecodeBuffer), out(kDecodeBuffer);
  lzma_stream stream{};
  constexpr std::uint64_t kMostMemory = std::uint64_t{1} << 30;
  if (lzma_stream_decoder(&stream, kMostMemory, LZMA_CONCATENATED) != LZMA_OK)
    throw RuntimeError("liblzma cannot start");
  const std::unique_ptr<lzma_stream, void (*)(lzma_stream*)> end(&stream, lzma_end);
  for (lzma_ret status = LZMA_OK; status != LZMA_STREAM_END;) {
    if (stream.avail_in == 0) {
      stream.next_in = in.data();
      stream.avail_in = file.read(in);
    }
    const lzma_action action = stream.avail_in == 0 ? LZMA_FINISH : LZMA_RUN;
    stream.next_out = out.data();
    stream.avail_out = out.size();
    status = lzma_code(&stream, action);
    sink(Bytes(out).first(out.size() - stream.avail_out));
    if (status == LZMA_BUF_ERROR) cut_short(file);
    if (status == LZMA_MEMLIMIT_ERROR) throw RuntimeError("'" + file.name() + "' needs more than 1 GB to decompress");
    if (status != LZMA_OK && status != LZMA_STREAM_END) damaged(file, nullptr);
  }
}
#endif

#if defined(QLLK_WITH_ZSTD)
inline void decode_zstd(const files::InputFile& file, const Sink& sink) {
  std::vector<Byte> in(kDecodeBuffer), out(kDecodeBuffer);
  const std::unique_ptr<ZSTD_DStream, std::size_t (*)(ZSTD_DStream*)> stream(ZSTD_createDStream(), ZSTD_freeDStream);
  if (stream == nullptr) throw RuntimeError("libzstd cannot start");
  std::size_t left = 0;  // 0 after each frame
  for (std::size_t size; (size = file.read(in)) > 0;) {
    ZSTD_inBuffer input{in.data(), size, 0};
    for (bool full = false; input.pos < input.size || full;) {
      ZSTD_outBuffer output{out.data(), out.size(), 0};
      left = ZSTD_decompressStream(stream.get(), &output, &input);
      if (ZSTD_isError(left) != 0) damaged(file, ZSTD_getErrorName(left));
      sink(Bytes(out).first(output.pos));
      full = output.pos == output.size && left != 0;
    }
  }
  if (left != 0) cut_short(file);
}
#endif

}  // namespace detail

/// From now on Corpus::open reads compressed files of all formats whose libraries this program has. To be called once,
/// before other threads start.
inline void read_compressed_files() {
  [[maybe_unused]] auto& [gzip, xz, zstd] = compressed_formats();
#if defined(QLLK_WITH_ZLIB)
  gzip.decode = detail::decode_gzip;
#endif
#if defined(QLLK_WITH_LZMA)
  xz.decode = detail::decode_xz;
#endif
#if defined(QLLK_WITH_ZSTD)
  zstd.decode = detail::decode_zstd;
#endif
}

}  // namespace qllk::data
