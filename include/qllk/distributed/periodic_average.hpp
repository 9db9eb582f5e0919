// Training apart, and averaging now and then: for networks that are too slow for the gradients of every step.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qllk/core/types.hpp"
#include "qllk/distributed/data_parallel.hpp"
#include "qllk/distributed/team.hpp"
#include "qllk/distributed/wire.hpp"
#include "qllk/train/exchange.hpp"

namespace qllk::distributed {

/// How often, and what is done with the mean.
struct Averaging {
  std::int64_t steps = 50;  // of each process between two averages
  double rate = 1;          // of the outer step; with no momentum, 1 takes the mean as it is (local SGD)
  double momentum = 0;      // of the outer step, of Nesterov's kind; DiLoCo has rate 0.7 and momentum 0.9

  /// Throws std::invalid_argument when a setting makes no sense.
  void check() const {
    const auto refuse = [](const char* name, const std::string& value, const char* expected) {
      throw InvalidArgument(std::string(name) + " is " + value + ", expected " + expected);
    };
    if (steps < 1) refuse("steps between averages", std::to_string(steps), ">= 1");
    if (!(rate > 0 && rate <= 2)) refuse("outer rate", std::to_string(rate), "> 0 and <= 2");
    if (!(momentum >= 0 && momentum < 1)) refuse("outer momentum", std::to_string(momentum), ">= 0 and < 1");
  }
};

/// The exchange of a Trainer that takes whole batches of its own, others than the other processes, and meets them
/// every H steps:
///
///   Δ = mean over processes of (θ₀ - θ)          θ₀: dense parameters after the last meeting
///   u = momentum · u + Δ
///   θ = θ₀ - rate · (Δ + momentum · u)           without momentum θ₀ - rate · Δ
///
/// A row of a table becomes the mean of those of the processes that have touched it since, and so do its moments. Its
/// count becomes the largest of theirs.
///
/// Moments of dense parameters stay with their process; a checkpoint has those of process 0. Runs end at a meeting.
///
/// Cost     at a meeting a process sends 2 (N-1)/N D values, and each row that it touched N-1 times; between them
///          nothing. Memory: 5 D values more, and a byte for each row of a table
/// Errors   std::invalid_argument when a setting makes no sense; else those of Team
/// Source   McMahan et al. 2017 (federated averaging), Stich 2019 (local SGD), Douillard et al. 2023 (DiLoCo,
///          Algorithm 1)
template <Real Scalar>
class PeriodicAverage final : public train::Exchange<Scalar> {
 public:
  using typename train::Exchange<Scalar>::Learned;
  using typename train::Exchange<Scalar>::Batches;
  using typename train::Exchange<Scalar>::Sums;

  /// `team` must outlive it.
  PeriodicAverage(Team& team, const Averaging& settings, Wire wire = Wire::full)
      : team_(team), settings_(settings), wire_(wire), sum_(team, wire) {
    settings_.check();
    sum_.share(team.size());
  }

  ShardRange share(Index shards) override { return {0, shards}; }
  Batches batches() const override {
    return {static_cast<std::uint64_t>(team_.size()), static_cast<std::uint64_t>(team_.rank())};
  }

  /// Those of this process alone. Notes the rows that will be touched.
  void sum(const Sums& sums) override {
    for (std::size_t p = 0; p < sums.ends.size(); ++p) sums.compute(p);
    std::ranges::copy(sums.partials.front(), sums.total.begin());
    for (std::size_t t = 0; t < std::min(sums.tables.size(), touched_.size()); ++t)
      for (const auto* list : sums.tables[t])
        for (const auto& entry : list->entries()) {
          if (std::exchange(is_touched_[t][entry.row], kTouched) != kTouched) touched_[t].push_back(entry.row);
        }
  }
  std::vector<double> gather(std::span<const double> losses) override { return {losses.begin(), losses.end()}; }

  /// At a meeting what process 0 passes; between two of them no run ends.
  double leaders(double value) override {
    constexpr double kAlmostAll = 1 - 1e-9;
    return since_ == 0 ? from_leader(team_, value) : std::min(value, kAlmostAll);
  }

  void attach(Learned learned) override {
    learned_ = std::move(learned);
    start_.clear();
    for (const auto& leaf : learned_.dense) start_.insert(start_.end(), leaf.begin(), leaf.end());
    momentum_.assign(settings_.momentum > 0 ? start_.size() : 0, Scalar(0));
    moved_.resize(1);
    moved_[0].resize(start_.size());
    mean_.resize(start_.size());
    touched_.assign(learned_.tables.size(), {});
    is_touched_.clear();
    for (const auto& table : learned_.tables) is_touched_.emplace_back(static_cast<std::size_t>(table.rows));
    since_ = 0;
  }

  void after_update() override {
    if (++since_ < settings_.steps) return;
    since_ = 0;
    average_dense();
    for (std::size_t t = 0; t < learned_.tables.size(); ++t) average_table(t);
  }

  /// What this process has sent so far.
  Traffic traffic() const { return {sum_.traffic().dense, sparse_bytes_}; }

 private:
  static constexpr std::uint8_t kTouched = 1;
  using Table = typename train::Exchange<Scalar>::Table;

  void average_dense() {
    std::size_t at = 0;
    for (const auto& leaf : learned_.dense)
      for (const Scalar value : leaf) moved_[0][at] = start_[at] - value, ++at;
    const std::size_t end = mean_.size();
    sum_.sum({.tables = {}, .partials = moved_, .ends = {&end, 1}, .compute = [](std::size_t) {}, .total = mean_});
    const auto share = Scalar(1) / static_cast<Scalar>(team_.size());
    const auto rate = static_cast<Scalar>(settings_.rate), momentum = static_cast<Scalar>(settings_.momentum);
    for (at = 0; at < start_.size(); ++at) {
      Scalar step = mean_[at] * share;
      if (!momentum_.empty()) {
        momentum_[at] = momentum * momentum_[at] + step;
        step += momentum * momentum_[at];
      }
      start_[at] -= rate * step;
    }
    at = 0;
    for (const auto& leaf : learned_.dense) {
      std::copy_n(start_.begin() + static_cast<std::ptrdiff_t>(at), leaf.size(), leaf.begin());
      at += leaf.size();
    }
  }

  static std::size_t dim_of(const Table& table) { return table.values.size() / static_cast<std::size_t>(table.rows); }
  static std::size_t moments_of(const Table& table) {
    return table.moments.size() / static_cast<std::size_t>(table.rows);
  }
  static std::span<Scalar> row_of(std::span<Scalar> values, std::size_t dim, std::uint32_t row) {
    return values.subspan(row * dim, dim);
  }

  /// Row numbers, then moments, then values: of all touched rows.
  std::size_t bytes_of(const Table& table, std::size_t rows) const {
    return rows *
           (sizeof(std::uint32_t) + moments_of(table) * sizeof(Scalar) + wire_bytes<Scalar>(wire_, dim_of(table)));
  }

  void pack(const Table& table, const std::vector<std::uint32_t>& rows, std::vector<std::byte>& out) const {
    out.resize(bytes_of(table, rows.size()));
    std::byte* at = out.data();
    for (const std::uint32_t row : rows) {
      std::memcpy(at, &row, sizeof row), at += sizeof row;
      const auto moments = row_of(table.moments, moments_of(table), row);
      std::memcpy(at, moments.data(), moments.size_bytes()), at += moments.size_bytes();
      const auto values = row_of(table.values, dim_of(table), row);
      encode(wire_, std::span<const Scalar>(values), std::span<Scalar>(), at);
      at += wire_bytes<Scalar>(wire_, values.size());
    }
  }

  void average_table(std::size_t t) {
    const Table& table = learned_.tables[t];
    auto& rows = touched_[t];
    std::ranges::sort(rows);
    const std::uint64_t mine = rows.size();
    const auto counts = all_gather(team_, std::span<const std::uint64_t>(&mine, 1));
    packed_.resize(counts.size());
    pack(table, rows, packed_[static_cast<std::size_t>(team_.rank())]);
    std::vector<Team::Outgoing> out;
    std::vector<Team::Incoming> in;
    for (int other = 0; other < team_.size(); ++other) {
      if (other == team_.rank()) continue;
      const auto o = static_cast<std::size_t>(other);
      packed_[o].resize(bytes_of(table, static_cast<std::size_t>(counts[o])));
      out.push_back({other, packed_[static_cast<std::size_t>(team_.rank())]});
      in.push_back({other, packed_[o]});
      sparse_bytes_ += out.back().bytes.size();
    }
    team_.exchange(out, in);
    merge(table);
    for (const std::uint32_t row : rows) is_touched_[t][row] = 0;
    rows.clear();
  }

  /// Of the sorted rows of all processes, each row's mean, added in the order of the processes.
  void merge(const Table& table) const {
    const std::size_t dim = dim_of(table), moments = moments_of(table), size = bytes_of(table, 1);
    std::vector<std::size_t> at(packed_.size(), 0);
    std::vector<Scalar> values(dim), sum(dim), moment(moments), moment_sum(moments);
    const auto row_at = [&](std::size_t rank) {
      std::uint32_t row = 0xFFFFFFFF;
      if (at[rank] < packed_[rank].size()) std::memcpy(&row, packed_[rank].data() + at[rank], sizeof row);
      return row;
    };
    for (;;) {
      std::uint32_t row = 0xFFFFFFFF;
      for (std::size_t rank = 0; rank < packed_.size(); ++rank) row = std::min(row, row_at(rank));
      if (row == 0xFFFFFFFF) return;
      std::ranges::fill(sum, Scalar(0));
      std::ranges::fill(moment_sum, Scalar(0));
      Scalar processes = 0, count = 0;
      for (std::size_t rank = 0; rank < packed_.size(); ++rank) {
        if (row_at(rank) != row) continue;
        const std::byte* const from = packed_[rank].data() + at[rank] + sizeof row;
        std::memcpy(moment.data(), from, moments * sizeof(Scalar));
        decode(wire_, from + moments * sizeof(Scalar), std::span(values));
        for (std::size_t i = 0; i < dim; ++i) sum[i] += values[i];
        for (std::size_t i = 0; i < moments; ++i) moment_sum[i] += moment[i];
        count = std::max(count, moment.back());
        processes += 1;
        at[rank] += size;
      }
      const auto to = row_of(table.values, dim, row), to_moments = row_of(table.moments, moments, row);
      for (std::size_t i = 0; i < dim; ++i) to[i] = sum[i] / processes;
      for (std::size_t i = 0; i < moments; ++i) to_moments[i] = moment_sum[i] / processes;
      to_moments.back() = count;  // of RowUpdate: (v, c)
    }
  }

  Team& team_;
  Averaging settings_;
  Wire wire_;
  DataParallel<Scalar> sum_;
  Learned learned_;
  std::int64_t since_ = 0;  // steps since the last meeting
  std::vector<Scalar> start_, momentum_, mean_;
  std::vector<std::vector<Scalar>> moved_;             // one: how far the dense parameters went
  std::vector<std::vector<std::uint32_t>> touched_;    // rows of each table since the last meeting
  std::vector<std::vector<std::uint8_t>> is_touched_;  // likewise, of each row
  std::vector<std::vector<std::byte>> packed_;
  std::uint64_t sparse_bytes_ = 0;
};

}  // namespace qllk::distributed
