// A whole program of one include: it trains for a step.
#include "qllk/qllk.hpp"

#include <cmath>

int main() {
  const qllk::QLLKTransformer<float> model({});
  auto corpus = qllk::data::Corpus::from_memory(std::vector<qllk::Byte>(100, 'a'));
  qllk::train::Trainer trainer(model, {.batch = 2, .context = 32}, std::move(corpus), 2);
  return std::isfinite(trainer.step(0).bits_per_byte) ? 0 : 1;
}
