// Trains a small model to know one sentence by heart: construct, forward, loss, backward, Adam step.
#include <cstdio>

#include "qllk/model/transformer.hpp"
#include "qllk/nn/loss.hpp"
#include "qllk/optim/adam.hpp"

int main() {
  using Model = qllk::QLLKTransformer<float>;
  const qllk::Byte text[] = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all.";
  const auto inputs = qllk::Bytes(text).first(sizeof text - 1), targets = qllk::Bytes(text).subspan(1);
  const Model model({.dim_local = 32, .dim = 64, .patch = 4, .layers = 2, .bits = 10});
  qllk::Random random(1);
  Model::Params params = model.init(random);
  Model::Grads grads = model.zero_grads();
  auto adam = qllk::optim::AdamState<Model::Params>::of(params);
  Model::Cache cache;
  qllk::Mat<float> logits;  // [256, positions]: a column for each byte to predict

  for (int step = 0; step <= 100; ++step) {
    Model::State state = model.initial_state(1), dstate = model.initial_state(1);
    model.forward(params, inputs, state, cache, logits);
    const double nats = qllk::nn::softmax_cross_entropy<float>(targets, logits, 1.0f);  // logits become their gradient
    if (step % 20 == 0)
      std::printf("step %3d: %.3f bits per byte\n", step, nats / double(targets.size()) * qllk::nn::kBitsPerNat);
    qllk::set_zero(grads);
    model.backward(params, inputs, cache, logits, dstate, grads);
    qllk::optim::step(qllk::optim::Adam{.learning_rate = 3e-3}, params, grads, adam);
  }
}
