// Blocks one after the other.
#pragma once

#include <cstddef>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/core/turns.hpp"
#include "qllk/core/types.hpp"
#include "qllk/nn/dropout.hpp"

namespace qllk::nn {

/// Blocks of one width, each on the output of the one before and each a stage of its own (core/turns.hpp):
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

  /// Blocks of that width, one for each configuration.
  Stack(const std::vector<typename Block::Config>& blocks, Index dim) : dim_(dim) {
    for (const auto& config : blocks) blocks_.emplace_back(config);
  }

  /// How many blocks there are.
  Index count() const { return std::ssize(blocks_); }
  /// Of one position forward.
  double flop() const {
    double sum = 0;
    for (const Block& block : blocks_) sum += block.flop();
    return sum;
  }

  QLLK_COLD Params zeros() const {
    Params p;
    for (const Block& block : blocks_) p.push_back(block.zeros());
    return p;
  }
  QLLK_COLD Params init(Random& random) const {
    Params p;
    for (const Block& block : blocks_) p.push_back(block.init(random));
    return p;
  }
  void reset(State& state, Index sequences) const {
    state.resize(blocks_.size());
    for (std::size_t i = 0; i < blocks_.size(); ++i) blocks_[i].reset(state[i], sequences);
  }
  /// Makes room for n columns. What is in the cache is lost unless there were as many.
  void resize(Cache& c, Index n) const {
    c.blocks.resize(blocks_.size());
    c.x.resize(blocks_.size() + 1);
    for (auto& x : c.x) x.resize(dim_, n);
  }

  /// From c.in() to c.out(), at stages `stage` and on; advances the state. Without columns stages pass, and nothing
  /// else happens.
  template <class P>
  QLLK_NOINLINE void forward(const P& p, State& state, Noise& noise, Cache& c, Index stage, const Turn& turn,
                             bool any = true) const {
    for (std::size_t i = 0; i < p.size(); ++i)
      turn(stage + static_cast<Index>(i), [&] {
        if (any) blocks_[i].forward(p[i], c.x[i], state[i], noise, c.blocks[i], c.x[i + 1]);
      });
  }

  /// As forward, but leaves c.out() alone: of the last block only the state is advanced.
  template <class P>
  QLLK_NOINLINE void advance(const P& p, State& state, Noise& noise, Cache& c, Index stage, const Turn& turn) const {
    for (std::size_t i = 0; i < p.size(); ++i)
      turn(stage + static_cast<Index>(i), [&] {
        if (i + 1 < p.size())
          blocks_[i].forward(p[i], c.x[i], state[i], noise, c.blocks[i], c.x[i + 1]);
        else
          blocks_[i].advance(p[i], c.x[i], state[i], c.blocks[i]);
      });
  }

  /// Turns the gradient in c.out() into that in c.in(); adds to g; dstate as blocks do. Once for each forward.
  template <class G>
  QLLK_NOINLINE void backward(const Params& p, Cache& c, State& dstate, G& g, Index stage, const Turn& turn,
                              bool any = true) const {
    for (std::size_t i = p.size(); i-- > 0;)
      turn(stage + static_cast<Index>(i), [&] {
        if (any) blocks_[i].backward(p[i], c.x[i], c.blocks[i], c.x[i + 1], dstate[i], g[i], c.x[i]);
      });
  }

 private:
  std::vector<Block> blocks_;
  Index dim_;
};

}  // namespace qllk::nn
