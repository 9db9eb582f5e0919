// The frame of a command-line tool: one clear line for an error. Only what parses includes it: CLI11 takes long to compile.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <string>

namespace tool {

/// For options of whole numbers from 0 on: CLI11 takes "-1" for 2^64 - 1.
inline std::string not_negative(const std::string& text) {
  return text.starts_with('-') ? "is " + text + ", expected 0 or more" : "";
}

/// The program: parses the command line, then calls body(), which returns the exit status.
/// A wrong command line ends with status 2, any other error with 1; either is one line on standard error.
template <class Body>
int run(CLI::App& app, int argc, char** argv, Body&& body) {
  const auto complain = [&](std::string text) {
    std::replace(text.begin(), text.end(), '\n', ' ');
    std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(), text.c_str());
  };
  try {
    app.parse(argc, argv);
    return body();
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    complain(std::string(error.what()) + " (" + app.get_name() + " --help tells more)");
    return 2;
  } catch (const std::bad_alloc&) {
    complain("out of memory");
  } catch (const std::exception& error) {
    complain(error.what());
  }
  return 1;
}

}  // namespace tool
