// The frame of a command-line tool: one clear line for an error. Only what parses includes it: CLI11 takes long to
// compile.
#pragma once

#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstddef>
#include <exception>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "build_info.hpp"
#include "display.hpp"
#include "interrupt.hpp"
#include "number.hpp"
#include "qllk/data/compressed.hpp"
#include "tool.hpp"
#include "variant.hpp"

namespace tool {

/// An option that takes a number; `value` is a T or a std::optional<T>.
template <class T, class Value>
CLI::Option* add_number(CLI::App& app, const std::string& name, Value& value, const Range<T>& range,
                        const std::string& description) {
  const auto assign = [&value, name, range](const std::string& text) {
    try {
      value = parse_number(name, text, range);
    } catch (const std::invalid_argument& error) {
      throw CLI::ValidationError(error.what());
    }
  };
  return app.add_option_function<std::string>(name, assign, description)->type_name("N");
}

/// An option that takes numbers, and may be given several times.
template <class T>
CLI::Option* add_numbers(CLI::App& app, const std::string& name, std::vector<T>& values, const Range<T>& range,
                         const std::string& description) {
  const auto assign = [&values, name, range](const std::vector<std::string>& texts) {
    try {
      for (const std::string& text : texts) values.push_back(parse_number(name, text, range));
    } catch (const std::invalid_argument& error) {
      throw CLI::ValidationError(error.what());
    }
  };
  return app.add_option_function<std::vector<std::string>>(name, assign, description)->type_name("N");
}

/// An option that takes a size: bytes, or with k, M, G or T behind it thousands, millions, …
inline CLI::Option* add_bytes(CLI::App& app, const std::string& name, std::optional<double>& value,
                              const std::string& description) {
  const auto assign = [&value, name](const std::string& text) {
    constexpr std::string_view kUnits = "kMGT";
    const std::size_t unit =
        text.empty() ? std::string_view::npos : kUnits.find(text.back() == 'K' ? 'k' : text.back());
    const bool has_unit = unit != std::string_view::npos;
    double size = 1;
    for (std::size_t i = 0; has_unit && i <= unit; ++i) size *= 1000;
    try {
      value =
          size * parse_number(name, has_unit ? text.substr(0, text.size() - 1) : text, Range<double>{0, 1e15, true});
    } catch (const std::invalid_argument&) {
      throw CLI::ValidationError(name + " is '" + text + "', expected a number of bytes > 0, as 512M");
    }
  };
  return app.add_option_function<std::string>(name, assign, description)->type_name("N");
}

/// --set KEY=VALUE, any number of times, behind what is in `set` already, for set_member.
inline CLI::Option* add_overrides(CLI::App& app, std::vector<std::string>& set, const std::string& what) {
  const auto append = [&set](const std::vector<std::string>& all) { set.insert(set.end(), all.begin(), all.end()); };
  return app
      .add_option_function<std::vector<std::string>>(
          "--set", append, what + ", as mixer.decay=none or clip=2. May be given several times")
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
}

/// Of --threads.
inline constexpr Range<int> kThreads{1, 1024};

/// "0.2.0 (AVX-512, 12.2.0)"
inline std::string version() {
  return std::to_string(QLLK_VERSION_MAJOR) + "." + std::to_string(QLLK_VERSION_MINOR) + "." +
         std::to_string(QLLK_VERSION_PATCH) + " (" + instruction_set() + ", compiler " + __VERSION__ + ")";
}

/// The option whose name is at most two typing mistakes away; empty if there is none. A mistake is a character too
/// many, too few or another one (Levenshtein 1966).
inline std::string nearest_option(const CLI::App& app, const std::string& given) {
  std::string nearest;
  std::size_t least = 3;
  const std::string name = given.substr(0, given.find('='));
  if (!name.starts_with("--")) return nearest;
  for (const CLI::Option* const option : app.get_options()) {
    const std::string known = option->get_name();
    std::vector<std::size_t> row(known.size() + 1);
    for (std::size_t j = 0; j <= known.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= name.size(); ++i) {
      std::size_t diagonal = std::exchange(row[0], i);
      for (std::size_t j = 1; j <= known.size(); ++j) {
        const std::size_t same = diagonal + (name[i - 1] == known[j - 1] ? 0 : 1);
        diagonal = std::exchange(row[j], std::min({same, row[j] + 1, row[j - 1] + 1}));
      }
    }
    if (row.back() < least) least = row.back(), nearest = known;
  }
  return nearest;
}

/// What to say of a word that the command line should not have.
inline std::string of_unknown(const CLI::App& app, const std::string& word) {
  const std::string text = "'" + word + "' is not known", meant = nearest_option(app, word);
  if (!meant.empty()) return text + "; did you mean " + meant + "?";
  if (word.starts_with("-") || app.get_option_no_throw("--data") == nullptr) return text;
  return text + "; texts are given by --data";
}

/// The program: parses the command line, then calls body(), which returns the exit status.
/// A wrong command line ends with status 2, any other error with 1; either is one line on standard error, unless
/// another process `tells` of it.
template <class Body>
int run(CLI::App& app, int argc, char** argv, Body&& body, bool tells = true) {
  become_best_variant(argv);
  open_standard_streams();
  allow_open_files();
  qllk::data::read_compressed_files();
  signal(SIGXFSZ, SIG_IGN);                             // a file-size limit is an error of a write like others
  const auto complain = [&](const std::string& text) {  // nobody is left to tell of a failure
    if (tells) write_stderr(app.get_name() + ": " + visible_line(text) + "\n");
  };
  app.set_version_flag(
      "--version", [&] { return app.get_name() + " " + version(); }, "Print the version and exit");
  try {
    app.parse(argc, argv);
    return body();
  } catch (const CLI::ExtrasError&) {
    complain(of_unknown(app, app.remaining().front()) + " (" + app.get_name() + " --help tells more)");
    return 2;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return tells ? app.exit(error) : 0;  // --help, --version
    complain(std::string(error.what()) + " (" + app.get_name() + " --help tells more)");
    return 2;
  } catch (const Interrupted&) {
    complain("interrupted");
    return Interrupt::exit_status();
  } catch (const std::bad_alloc&) {
    complain("out of memory");
  } catch (const std::exception& error) {
    complain(error.what());
  }
  return 1;
}

}  // namespace tool
