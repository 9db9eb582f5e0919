// Progress for people, on standard error: a bar redrawn in place on a terminal, plain lines elsewhere.
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "qllk/core/types.hpp"
#include "tool.hpp"

namespace tool {

/// "1:02:03" or "2:03"
inline std::string clock_text(double seconds) {
  if (!std::isfinite(seconds) || seconds > 1e7) return "?";
  const auto total = static_cast<long>(std::ceil(std::max(0.0, seconds)));
  char text[32];
  if (total >= 3600)
    std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", total / 3600, total / 60 % 60, total % 60);
  else
    std::snprintf(text, sizeof text, "%ld:%02ld", total / 60, total % 60);
  return text;
}

/// Bytes as text that does no harm to a terminal: printable ASCII, line ends and well-formed UTF-8 as they are, a dot
/// for everything else. Every line is indented.
inline std::string visible(qllk::Bytes bytes, std::string_view indent) {
  const auto continues = [&](std::size_t i) { return i < bytes.size() && (bytes[i] & 0xC0) == 0x80; };
  std::string out(indent);
  for (std::size_t i = 0; i < bytes.size();) {
    const unsigned byte = bytes[i];
    std::size_t length = 1;
    if (byte >= 0xC2 && byte <= 0xDF && continues(i + 1) && !(byte == 0xC2 && bytes[i + 1] < 0xA0)) length = 2;
    // without surrogates, overlong forms and the directional controls of U+2000 to U+206F
    if (byte >= 0xE0 && byte <= 0xEF && continues(i + 1) && continues(i + 2) &&
        !(byte == 0xE0 && bytes[i + 1] < 0xA0) && !(byte == 0xED && bytes[i + 1] >= 0xA0) &&
        !(byte == 0xE2 && bytes[i + 1] <= 0x81) && !(byte == 0xEF && bytes[i + 1] >= 0xBB))
      length = 3;
    const bool printable = length > 1 || (byte >= 0x20 && byte < 0x7F);
    if (byte == '\n')
      out += '\n' + std::string(indent);
    else if (byte == '\t')
      out += "  ";
    else if (printable)
      out.append(reinterpret_cast<const char*>(bytes.data()) + i, length);
    else if (byte != '\r')
      out += '.';
    i += length;
  }
  return out;
}

/// The same in one line, without an indent.
inline std::string visible_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return visible(qllk::Bytes(reinterpret_cast<const qllk::Byte*>(text.data()), text.size()), "");
}

class Display {
 public:
  /// Shows nothing from now on: of several processes one speaks.
  void mute() { muted_ = true; }

  /// A line that stays. Names of files may have bytes that do harm to a terminal, or line ends: `visible_line` is what
  /// gets there.
  void line(const std::string& text) {
    clear();
    put(visible_line(text) + "\n");
  }

  /// Lines that stay, indented, of bytes of any kind.
  void text(qllk::Bytes bytes) {
    clear();
    put(visible(bytes, "    ") + "\n");
  }

  /// A new task begins.
  void begin() {
    last_ = Clock::now();
    last_share_ = 0;
  }

  /// Where it stands: `share` of it is done; text() is asked for only when it is shown. On a terminal that is ten times
  /// a second; elsewhere every five seconds, but never for less than a twentieth of the whole, and once a minute in any
  /// case.
  template <class Text>
  void progress(double share, Text&& text) {
    const auto now = Clock::now();
    const double since = std::chrono::duration<double>(now - last_).count();
    if (terminal_ ? since < 0.1 : !(since >= 60 || (since >= 5 && share - last_share_ >= 0.05))) return;
    last_ = now;
    last_share_ = share;
    show(share, text());
  }

  /// The same, now.
  void show(double share, const std::string& text) {
    if (terminal_)
      draw(share, text);
    else
      put(percent(share) + " " + text + "\n");
  }

  /// Removes the bar.
  void clear() {
    if (drawn_) put("\r\x1b[K");
    drawn_ = false;
  }

  ~Display() { clear(); }

 private:
  using Clock = std::chrono::steady_clock;

  void draw(double share, const std::string& text) {
    winsize window{};
    const int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0 ? window.ws_col : 80;
    const auto room = static_cast<std::size_t>(columns - 1);
    std::string out = percent(share);
    const std::size_t wanted = out.size() + text.size() + 4;
    if (room >= wanted + 8) {
      const std::size_t width = std::min<std::size_t>(room - wanted, 40);
      const auto done = static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(width));
      out += "[" + std::string(done, '#') + std::string(width - done, '.') + "] ";
    }
    out += text;
    if (out.size() > room) out.resize(room);  // the text is ASCII
    put("\r" + out + "\x1b[K");
    drawn_ = true;
  }

  void put(const std::string& text) const {
    if (!muted_) write_stderr(text);
  }

  static std::string percent(double share) {
    char text[16];
    std::snprintf(text, sizeof text, "%3.0f %% ", 100 * std::clamp(share, 0.0, 1.0));
    return text;
  }

  /// A terminal that can draw: TERM tells of those that cannot.
  static bool draws() {
    const char* const term = std::getenv("TERM");
    return isatty(STDERR_FILENO) != 0 && term != nullptr && *term != 0 && std::string_view(term) != "dumb";
  }

  bool terminal_ = draws();
  bool drawn_ = false, muted_ = false;
  Clock::time_point last_ = Clock::now();
  double last_share_ = 0;
};

}  // namespace tool
