// The least that a user's program does: a module, its parameters, forward, backward.
#include <qllk/core/parameters.hpp>
#include <qllk/core/random.hpp>
#include <qllk/core/threads.hpp>
#include <qllk/nn/linear.hpp>

int main() {
  const qllk::nn::Linear<float> linear({.in = 3, .out = 2});
  qllk::Random random(1);
  const auto params = linear.init(random);
  auto grads = linear.zeros();
  qllk::nn::Linear<float>::Cache cache;
  const qllk::Mat<float> x = qllk::Mat<float>::Ones(3, 5);
  qllk::Mat<float> y(2, 5), dx(3, 5);
  linear.forward(params, x, cache, y);
  qllk::ThreadPool(2).run(1, [&](qllk::Index) { linear.backward(params, x, cache, y, grads, dx); });
  return qllk::parameter_count(params) == 8 && grads.bias.norm() > 0 ? 0 : 1;
}
