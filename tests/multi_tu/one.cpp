// A whole program: this is also what the compile_cost test compiles.
#include "qllk/qllk.hpp"

#include <cmath>

qllk::Index parameters_of_two();

int main() {
  const qllk::QLLKTransformer<float> model({});
  auto corpus = qllk::data::Corpus::from_memory(std::vector<qllk::Byte>(100, 'a'));
  qllk::train::Trainer trainer(model, {.batch = 2, .context = 32}, std::move(corpus), 2);
  const qllk::train::StepReport report = trainer.step(0);

  const qllk::nn::Linear<float> linear({.in = 3, .out = 2});
  return std::isfinite(report.bits_per_byte) && qllk::parameter_count(linear.zeros()) == parameters_of_two() ? 0 : 1;
}
