#include "everything.hpp"

qllk::Index parameters_of_two();

int main() {
  const qllk::nn::Linear<float> linear({.in = 3, .out = 2});
  return qllk::parameter_count(linear.zeros()) == parameters_of_two() ? 0 : 1;
}
