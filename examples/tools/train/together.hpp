// What the processes of one run must have in common.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "qllk/core/build.hpp"
#include "qllk/distributed/data_parallel.hpp"
#include "qllk/distributed/periodic_average.hpp"
#include "qllk/distributed/team.hpp"
#include "qllk/distributed/wire.hpp"
#include "qllk/files/checksum.hpp"
#include "qllk/files/input_file.hpp"
#include "qllk/io/json_members.hpp"
#include "qllk/train/exchange.hpp"
#include "train/options.hpp"

namespace train_tool {

using namespace qllk;

/// Of the program that runs: its bytes, or where these cannot be read what it was compiled by.
inline std::uint64_t program_checksum() {
  files::Checksum checksum;
  const std::string name = build_name();
  checksum.update(Bytes(reinterpret_cast<const Byte*>(name.data()), name.size()));
  try {
    checksum.update(files::InputFile("/proc/self/exe").contents().bytes);
  } catch (const std::runtime_error&) {
  }
  return checksum.value();
}

/// Throws a Disagreement in all processes unless they are of one program, and can all read the text.
inline void expect_one_program(distributed::Team& team, const Options& options) {
  distributed::expect_same(team, program_checksum(), "qllk-train-mpi",
                           "install the same file on all machines, or weights would differ in their last bits");
  const bool stream = std::ranges::find(options.data, "-") != options.data.end() || options.val == "-";
  if (stream && team.size() > 1)
    throw distributed::Disagreement("standard input ('-') reaches one process only: give all of them a file");
  if (options.carry)
    throw distributed::Disagreement("--carry is for one process: states are not exchanged; leave it out");
}

/// How the processes of a run come together.
struct Together {
  distributed::Wire wire = distributed::Wire::full;
  std::optional<distributed::Averaging> averaging;

  /// By the options, and where these do not tell by the notes of the checkpoint to continue.
  static Together of(const Options& options, const io::Json& notes) {
    Together together;
    if (notes.contains("together")) {
      const io::Json& was = notes.at("together");
      io::from_json(was.at("exchange"), together.wire, "exchange");
      if (was.contains("local_steps"))
        together.averaging = {was.at("local_steps").get<std::int64_t>(), was.at("outer_rate").get<double>(),
                              was.at("outer_momentum").get<double>()};
    }
    if (options.exchange) io::from_json(io::Json(*options.exchange), together.wire, "--exchange");
    if (options.local_steps && !together.averaging) together.averaging.emplace();
    if ((options.outer_rate || options.outer_momentum) && !together.averaging)
      throw std::invalid_argument("--outer-rate and --outer-momentum need --local-steps");
    if (options.local_steps) together.averaging->steps = *options.local_steps;
    if (options.outer_rate) together.averaging->rate = *options.outer_rate;
    if (options.outer_momentum) together.averaging->momentum = *options.outer_momentum;
    return together;
  }

  io::Json to_json() const {
    io::Json json{{"exchange", io::to_json(wire)}};
    if (averaging) {
      json["local_steps"] = averaging->steps;
      json["outer_rate"] = averaging->rate;
      json["outer_momentum"] = averaging->momentum;
    }
    return json;
  }

  std::string description() const {
    std::string text = wire == distributed::Wire::half ? "in 16 bits" : "in full";
    if (!averaging) return "gradients " + text + " in every step";
    return "weights " + text + " every " + std::to_string(averaging->steps) + " steps";
  }
};

/// The exchange of a run, and what it has sent.
template <Real Scalar>
class RunExchange {
 public:
  RunExchange() = default;
  RunExchange(const Together& together, distributed::Team& team) {
    if (together.averaging)
      make<distributed::PeriodicAverage<Scalar>>(team, *together.averaging, together.wire);
    else
      make<distributed::DataParallel<Scalar>>(team, together.wire);
  }

  /// None for one process.
  train::Exchange<Scalar>* get() const { return exchange_.get(); }
  distributed::Traffic traffic() const { return traffic_ ? traffic_() : distributed::Traffic{}; }

 private:
  template <class Exchange, class... Arguments>
  void make(Arguments&&... arguments) {
    auto exchange = std::make_unique<Exchange>(arguments...);
    traffic_ = [made = exchange.get()] { return made->traffic(); };
    exchange_ = std::move(exchange);
  }

  std::unique_ptr<train::Exchange<Scalar>> exchange_;
  std::function<distributed::Traffic()> traffic_;
};

/// The JSON that process 0 passes.
inline io::Json from_leader(distributed::Team& team, const io::Json& json) {
  return io::Json::parse(distributed::from_leader(team, json.dump()));
}

}  // namespace train_tool
