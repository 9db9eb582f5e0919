// Our matrix products beside oneDNN's, in float and bfloat16, on the shapes of our models. One thread, each in turn,
// the best of several rounds. Prints a Markdown table.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <unordered_map>
#include <utility>

#include <dnnl.hpp>

#include "qllk/core/types.hpp"
#include "qllk/linalg/weight_gemm.hpp"

namespace {

using namespace qllk;
using linalg::Precision, linalg::UsePrecision;

/// C [rows, cols] = A [rows, depth] · B [depth, cols]
struct Shape {
  Index rows, cols, depth;
};

/// oneDNN's product of plain matrices that are in this type already; C is float. Row-major there is column-major here,
/// so that its factors change places.
class OneDnn {
 public:
  OneDnn(const Shape& s, dnnl::memory::data_type type) : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    using Description = dnnl::memory::desc;
    constexpr auto kRows = dnnl::memory::format_tag::ab;
    const auto plain = dnnl::memory::data_type::f32;
    const auto matrix = [&](Index m, Index n, auto of) { return Description({m, n}, of, kRows); };
    const auto b = matrix(s.cols, s.depth, type), a = matrix(s.depth, s.rows, type), c = matrix(s.cols, s.rows, plain);
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(b, a, c), engine_);
    product_ = dnnl::matmul(description);
    const auto filled = [&](Index m, Index n, const Description& to) {
      const Mat<float> values = Mat<float>::Random(m, n);
      dnnl::memory from(matrix(n, m, plain), engine_, const_cast<float*>(values.data())), out(to, engine_);
      dnnl::reorder(from, out).execute(stream_, from, out);
      stream_.wait();
      return out;
    };
    arguments_ = {{DNNL_ARG_SRC, filled(s.depth, s.cols, b)},
                  {DNNL_ARG_WEIGHTS, filled(s.rows, s.depth, a)},
                  {DNNL_ARG_DST, dnnl::memory(c, engine_)}};
  }

  void operator()() {
    product_.execute(stream_, arguments_);
    stream_.wait();
  }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::matmul product_;
  std::unordered_map<int, dnnl::memory> arguments_;
};

/// Ours, of float matrices, rounding and packing included.
class Ours {
 public:
  Ours(const Shape& s, Precision precision)
      : a_(Mat<float>::Random(s.rows, s.depth)),
        b_(Mat<float>::Random(s.depth, s.cols)),
        c_(s.rows, s.cols),
        precision_(precision) {}

  void operator()() {
    const UsePrecision use(precision_);
    linalg::weight_gemm(a_, b_, c_);
  }

 private:
  Mat<float> a_, b_, c_;
  Precision precision_;
};

double seconds(int times, auto& product) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < times; ++i) product();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / times;
}

/// GFLOP/s of several products, by rounds in turn.
template <class... Product>
std::array<double, sizeof...(Product)> rates(const Shape& s, Product&&... product) {
  constexpr int kRounds = 9;
  const double flop = 2.0 * static_cast<double>(s.rows) * static_cast<double>(s.cols) * static_cast<double>(s.depth);
  const int times = std::max(1, static_cast<int>(2e9 / flop));
  std::array<double, sizeof...(Product)> best{};
  for (int round = 0; round < kRounds; ++round) {
    std::size_t i = 0;
    ((best[i] = std::max(best[i], flop / seconds(times, product) / 1e9), ++i), ...);
  }
  return best;
}

}  // namespace

int main() {
  setenv("OMP_NUM_THREADS", "1", 1);  // before oneDNN's first product
  using Type = dnnl::memory::data_type;
  std::printf("| rows × cols × depth | float, oneDNN | ours | ratio | bfloat16, oneDNN | ours | ratio |\n");
  std::printf("|---|---|---|---|---|---|---|\n");
  for (const Shape s : {Shape{256, 128, 256},
                        {128, 1024, 128},
                        {256, 1024, 128},
                        {128, 1024, 256},
                        {512, 128, 256},
                        {256, 128, 512},
                        {1024, 256, 256},
                        {4096, 256, 1024}}) {
    const auto of =
        rates(s, OneDnn(s, Type::f32), Ours(s, Precision::full), OneDnn(s, Type::bf16), Ours(s, Precision::bfloat16));
    std::printf("| %td × %td × %td | %.0f GFLOP/s | %.0f | %.2f | %.0f GFLOP/s | %.0f | %.2f |\n", s.rows, s.cols,
                s.depth, of[0], of[1], of[1] / of[0], of[2], of[3], of[3] / of[2]);
  }
}
