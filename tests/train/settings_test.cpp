#include "qllk/train/settings.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>
#include <string>

namespace qllk::train {
namespace {

TEST(TrainerSettings, WhatMakesSenseIsKept) {
  TrainerSettings s;
  s.order_dropout = 1;
  s.average.every = 0;
  s.schedule = {.warmup = 0, .floor = 1};
  s.optimizer.weight_decay = 0;
  EXPECT_EQ(&checked(s), &s);
}

TEST(TrainerSettings, WhatMakesNoSenseIsAnErrorThatNamesIt) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const auto refused = [](const std::string& name, auto member, auto... values) {
    const auto refuse = [&](auto value) {
      TrainerSettings s;
      member(s) = value;
      try {
        checked(s);
        ADD_FAILURE() << name << " of " << value << " is taken";
      } catch (const std::invalid_argument& error) {
        EXPECT_EQ(std::string(error.what()).find(name + " is " + std::to_string(value)), 0u) << error.what();
      }
    };
    (refuse(values), ...);
  };
  refused(
      "batch", [](auto& s) -> auto& { return s.batch; }, Index{0}, Index{-1}, Index{1} << 62);
  refused(
      "chunk", [](auto& s) -> auto& { return s.chunk; }, Index{-1});
  refused(
      "borders", [](auto& s) -> auto& { return s.borders; }, Index{-1});
  refused(
      "context", [](auto& s) -> auto& { return s.context; }, Index{0}, Index{-5});
  refused(
      "shards", [](auto& s) -> auto& { return s.shards; }, Index{0});
  refused(
      "piece", [](auto& s) -> auto& { return s.piece; }, Index{0});
  refused(
      "clip", [](auto& s) -> auto& { return s.clip; }, 0.0, kNan);
  refused(
      "learning rate", [](auto& s) -> auto& { return s.optimizer.learning_rate; }, 0.0, -1.0, kNan);
  refused(
      "beta1", [](auto& s) -> auto& { return s.optimizer.beta1; }, -0.1, 1.0, kNan);
  refused(
      "beta2", [](auto& s) -> auto& { return s.optimizer.beta2; }, -0.1, 1.0, kNan);
  refused(
      "epsilon", [](auto& s) -> auto& { return s.optimizer.epsilon; }, 0.0, kNan);
  refused(
      "weight decay", [](auto& s) -> auto& { return s.optimizer.weight_decay; }, -1.0, kNan);
  refused(
      "rate of rows", [](auto& s) -> auto& { return s.rows.rate; }, -1.0, kNan);
  refused(
      "beta2 of rows", [](auto& s) -> auto& { return s.rows.beta2; }, 1.0, kNan);
  refused(
      "epsilon of rows", [](auto& s) -> auto& { return s.rows.epsilon; }, 0.0, kNan);
  refused(
      "warmup", [](auto& s) -> auto& { return s.schedule.warmup; }, std::int64_t{-1});
  refused(
      "floor", [](auto& s) -> auto& { return s.schedule.floor; }, -0.1, 1.1, kNan);
  refused(
      "average every", [](auto& s) -> auto& { return s.average.every; }, std::int64_t{-1});
  refused(
      "degree of the average", [](auto& s) -> auto& { return s.average.degree; }, -0.5, kNan);
  refused(
      "dropout", [](auto& s) -> auto& { return s.dropout; }, -0.1, 1.0, kNan);
  refused(
      "order_dropout", [](auto& s) -> auto& { return s.order_dropout; }, -0.1, 1.1, kNan);
}

}  // namespace
}  // namespace qllk::train
