// Forward and backward passes of the default model. Include model/transformer.hpp.
#pragma once

#include <utility>

#include "qllk/core/turns.hpp"
#include "qllk/core/types.hpp"
#include "qllk/linalg/scratch.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/nn/contexts/context.hpp"
#include "qllk/nn/dropout.hpp"
#include "qllk/nn/patching.hpp"

namespace qllk::inline QLLK_ISA {

// Not in the class, where they would be inline: a program with the compiled library has none of what they call to
// compile.

template <Real S, class Mixer, nn::StreamContext... More>
template <class P>
void BasicTransformer<S, Mixer, More...>::forward(const P& p, Bytes bytes, State& state, Cache& c, Mat<Scalar>& logits,
                                                  Turn turn) const {
  up_to_decoder(p, bytes, state, c, turn);
  decoder_.forward(p.decoder, state.decoder, c.noise, c.decoder, first_decoder(), turn);
  norm_.forward(p.norm, c.decoder.out(), c.norm, c.normal);
  logits.resize(kByteValues, std::ssize(bytes));
  head_.forward(p.head, c.normal, c.linear, logits);
  recency_.forward(p.recency, c.recency, logits);
  copy_.forward(p.copy, p.hashing.table, matches(c), stride(), c.copy, logits);
}

template <Real S, class Mixer, nn::StreamContext... More>
template <class P>
void BasicTransformer<S, Mixer, More...>::advance(const P& p, Bytes bytes, State& state, Cache& c, Turn turn) const {
  up_to_decoder(p, bytes, state, c, turn);
  decoder_.advance(p.decoder, state.decoder, c.noise, c.decoder, first_decoder(), turn);
}

template <Real S, class Mixer, nn::StreamContext... More>
template <class G>
void BasicTransformer<S, Mixer, More...>::backward(const Params& p, Bytes bytes, Cache& c, Mat<Scalar>& dlogits,
                                                   StateGrads& dstate, G& g, Turn turn) const {
  QLLK_ASSERT(dlogits.cols() == std::ssize(bytes));
  const Index patches = c.plan.patches() * dstate.sequences();
  copy_.backward(matches(c), stride(), c.copy, dlogits, g.copy);
  recency_.backward(c.recency, dlogits, g.recency);
  auto dnormal = linalg::scratch<BasicTransformer, Scalar>(config_.dim_local, dlogits.cols());
  head_.backward(p.head, c.normal, c.linear, dlogits, g.head, dnormal);
  norm_.backward(p.norm, c.decoder.out(), c.norm, dnormal, g.norm, c.decoder.out());
  decoder_.backward(p.decoder, c.decoder, dstate.decoder, g.decoder, first_decoder(), turn);

  turn(kUnpatching, [&] { nn::spread_backward<Scalar>(c.plan, c.decoder.in(), dstate.slots, c.dslots); });
  if (patches > 0) {
    auto dpatch = linalg::scratch<BasicTransformer, Scalar>(config_.dim, patches);
    unpatching_.backward(p.unpatching, c.patch_normal, c.linear, c.dslots, g.unpatching, dpatch);
    patch_norm_.backward(p.patch_norm, c.blocks.out(), c.patch_norm, dpatch, g.patch_norm, c.blocks.out());
  }
  blocks_.backward(p.blocks, c.blocks, dstate.blocks, g.blocks, first_block(), turn, patches > 0);
  std::swap(c.encoder.out(), c.decoder.in());  // both have the gradient of their sum; no list refers to it yet
  turn(kPatching,
       [&] { patching_.backward(p.patching, c.patching, c.blocks.in(), dstate.columns, g.patching, c.encoder.out()); });

  encoder_.backward(p.encoder, c.encoder, dstate.encoder, g.encoder, kBlocks, turn);
  nn::Dropout<Scalar>::backward(c.dropout, c.encoder.in());
  hashing_.backward(p.hashing, c.hashing, c.encoder.in(), g.hashing);
  embedding_.backward(p.embedding, bytes, c.embedding, c.encoder.in(), g.embedding);
}

}  // namespace qllk::inline QLLK_ISA
