// Blocks one after the other.
#pragma once

#include <cstddef>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/core/turns.hpp"
#include "qllk/core/types.hpp"
#include "qllk/nn/dropout.hpp"

namespace qllk::nn {

/// `count` blocks of one shape, each on the output of the one before and each a stage of its own (core/turns.hpp):
///
///   x_{i+1} = Block_i(x_i)
///
/// Shapes   x: [dim, n]
/// Cost     that of the blocks; keeps count + 1 matrices x. No block: what goes in comes out
template <Real Scalar, class Block>
class Stack {
 public:
  template <class Matrix>
  using Tensors = std::vector<typename Block::template Tensors<Matrix>>;
  using Params = Tensors<Mat<Scalar>>;
  using State = std::vector<typename Block::State>;

  struct Cache {
    std::vector<typename Block::Cache> blocks;
    std::vector<Mat<Scalar>> x;  // backward puts gradients in their places

    Mat<Scalar>& in() { return x.front(); }
    Mat<Scalar>& out() { return x.back(); }
  };

  Stack(typename Block::Config config, Index dim, Index count) : block_(config), dim_(dim), count_(count) {}

  Index count() const { return count_; }

  [[gnu::cold]] Params zeros() const { return Params(static_cast<std::size_t>(count_), block_.zeros()); }
  [[gnu::cold]] Params init(Random& random) const {
    Params p;
    for (Index i = 0; i < count_; ++i) p.push_back(block_.init(random));
    return p;
  }
  void reset(State& state, Index sequences) const {
    state.resize(static_cast<std::size_t>(count_));
    for (auto& each : state) block_.reset(each, sequences);
  }
  /// Makes room for n columns. What is in the cache is lost unless there were as many.
  void resize(Cache& c, Index n) const {
    c.blocks.resize(static_cast<std::size_t>(count_));
    c.x.resize(static_cast<std::size_t>(count_) + 1);
    for (auto& x : c.x) x.resize(dim_, n);
  }

  /// From c.in() to c.out(), at stages `stage` and on; advances the state. Without columns stages pass, and nothing else
  /// happens.
  template <class P>
  [[gnu::noinline]] void forward(const P& p, State& state, Noise& noise, Cache& c, Index stage, const Turn& turn,
                                 bool any = true) const {
    for (std::size_t i = 0; i < p.size(); ++i)
      turn(stage + static_cast<Index>(i), [&] {
        if (any) block_.forward(p[i], c.x[i], state[i], noise, c.blocks[i], c.x[i + 1]);
      });
  }

  /// Turns the gradient in c.out() into that in c.in(); adds to g; dstate as blocks do. Once for each forward.
  template <class G>
  [[gnu::noinline]] void backward(const Params& p, Cache& c, State& dstate, G& g, Index stage, const Turn& turn,
                                  bool any = true) const {
    for (std::size_t i = p.size(); i-- > 0;)
      turn(stage + static_cast<Index>(i), [&] {
        if (any) block_.backward(p[i], c.x[i], c.blocks[i], c.x[i + 1], dstate[i], g[i], c.x[i]);
      });
  }

 private:
  Block block_;
  Index dim_, count_;
};

}  // namespace qllk::nn
