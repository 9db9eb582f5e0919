#include "everything.hpp"

qllk::Index parameters_of_two() {
  const qllk::nn::Linear<float> linear({.in = 3, .out = 2});
  return qllk::parameter_count(linear.zeros());
}
