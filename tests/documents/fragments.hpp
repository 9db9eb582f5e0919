// What the parts of programs in the guides take as given.
#pragma once

#include <gtest/gtest.h>

#include <iostream>

#include "qllk/distributed/data_parallel.hpp"
#include "qllk/language_model.hpp"
#include "qllk/nn/linear.hpp"
#include "qllk/qllk.hpp"
#include "qllk/testing/conformance.hpp"
#include "qllk/testing/gradient_check.hpp"
#include "qllk/train/checkpoint.hpp"
#if __has_include(<mpi.h>)
#include "qllk/distributed/mpi.hpp"
#endif

using Model = qllk::QLLKTransformer<float>;

extern const qllk::nn::Linear<double> layer;
extern const qllk::nn::Linear<double>::Params params;
extern const qllk::Mat<double> x;
extern const qllk::Index outputs;

extern const Model model;
extern const qllk::train::TrainerSettings settings;
extern const qllk::data::Corpus corpus;
extern const int threads;
extern const qllk::train::Budget budget;
