// The optimiser's updates: of dense parameters, and of the rows of a hashed table that occurred.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/linalg/sparse_table.hpp"
#include "qllk/optim/adam.hpp"
#include "qllk/optim/row_update.hpp"
#include "roofline/roofline.hpp"

namespace {

using namespace qllk;

const FlushDenormals flush;

/// Reads p, g, m and v, writes p, m and v.
void AdamDense(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  std::vector<float> p(size, 0.1F), g(size, 0.01F), m(size), v(size);
  const optim::AdamUpdate<float> update(optim::AdamW{}, 10, 1e-6);
  for (auto _ : state) {
    update.apply(p, g, m, v, true);
    benchmark::ClobberMemory();
  }
  bench::report_bytes(state, static_cast<double>(size), 7 * sizeof(float), 4 * size * sizeof(float));
}
BENCHMARK(AdamDense)->Arg(1 << 12)->Arg(1 << 16)->Arg(1 << 22);

/// 8,192 positions with 5 rows each, of a table of 5 · 2^16 rows: a position's gradient is read for each of its rows,
/// and each row that occurs is read and written once.
void AdamRows(benchmark::State& state) {
  constexpr Index kDim = 128, kPositions = 8192, kRowsEach = 5, kRows = kRowsEach << 16;
  linalg::HashTable<float> table, moments;
  table.setZero(kDim, kRows);
  moments.setZero(optim::RowUpdate<float>::kMoments, kRows);
  linalg::SparseGrads<float> grads(kDim, kRows);
  const Index first = grads.append(Mat<float>::Random(kDim, kPositions) * 0.01F);
  Random source(1);
  std::vector<std::uint32_t> rows;
  for (Index t = 0; t < kPositions; ++t)
    for (Index i = 0; i < kRowsEach; ++i) {
      const double skewed = source.uniform() * source.uniform();  // some come often, most seldom
      rows.push_back(static_cast<std::uint32_t>(skewed * static_cast<double>(kRows)));
      grads.add(rows.back(), first + t, (t & 1) != 0);
    }
  std::sort(rows.begin(), rows.end());
  const auto occurrences = static_cast<double>(rows.size());
  const auto distinct = static_cast<double>(std::unique(rows.begin(), rows.end()) - rows.begin());
  const linalg::SparseGrads<float>* const all[] = {&grads};
  const optim::RowUpdate<float> update(optim::RowWise{}, 1e-6);
  for (auto _ : state) {
    grads.sort_by_bucket(optim::RowUpdate<float>::kShift);
    for (Index b = 0; b < update.buckets(kRows); ++b) update.apply(table, all, moments, b);
    benchmark::ClobberMemory();
  }
  const double column = kDim * sizeof(float);
  bench::report_bytes(state, occurrences, column * (1 + 2 * distinct / occurrences),
                      static_cast<std::size_t>(column * (distinct + kPositions)));
}
BENCHMARK(AdamRows);

}  // namespace
