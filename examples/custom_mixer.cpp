// A sequence mixer of one's own: written, checked by the library's suites, and trained in a model.
#include <cstdio>
#include <string>
#include <string_view>

#include "qllk/model/transformer.hpp"
#include "qllk/testing/conformance.hpp"
#include "qllk/testing/gradient_check.hpp"
#include "qllk/train/evaluate.hpp"
#include "qllk/train/trainer.hpp"

/// Exponential moving average with a learned rate for each channel.
///
///   s_t = a ⊙ s_{t-1} + (1 - a) ⊙ x_t,   y_t = s_t,   a = sigmoid(r)
template <qllk::Real S>
struct MovingAverage {
  using Scalar = S;
  static constexpr std::string_view name = "moving_average";
  struct Config {
    qllk::Index dim = 0;
    bool operator==(const Config&) const = default;
  };
  struct Params {
    qllk::Vec<S> rate;  // r [dim]
    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("rate", t.rate...);
    }
  };
  struct State {
    qllk::Mat<S> sum;  // s [dim, sequences]
    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("sum", t.sum...);
    }
  };
  struct Cache {
    qllk::Mat<S> start, y;  // s before the first position, and after each
  };

  Config config;
  explicit MovingAverage(Config c) : config(c) {}
  static Config recommended() { return {}; }
  double flop() const { return 3 * double(config.dim); }
  void reset(State& state, qllk::Index sequences) const { state.sum.setZero(config.dim, sequences); }
  Params zeros() const { return {qllk::Vec<S>::Zero(config.dim)}; }
  Params init(qllk::Random& random) const {
    Params p = zeros();
    qllk::fill_uniform(p.rate, 3, random);
    return p;
  }
  void forward(const Params& p, qllk::MatIn<S> x, State& state, Cache& c, qllk::MatOut<S> y) const {
    const qllk::Index sequences = state.sum.cols(), length = x.cols() / sequences;
    const auto a = p.rate.array().logistic().eval();
    c.start = state.sum;
    for (qllk::Index s = 0; s < sequences; ++s)
      for (qllk::Index t = s * length; t < (s + 1) * length; ++t) {
        state.sum.col(s).array() = a * state.sum.col(s).array() + (1 - a) * x.col(t).array();
        y.col(t) = state.sum.col(s);
      }
    c.y = y;
  }
  void backward(const Params& p, qllk::MatIn<S> x, Cache& c, qllk::MatIn<S> dy, State& dstate, Params& g,
                qllk::MatOut<S> dx) const {
    const qllk::Index sequences = dstate.sum.cols(), length = x.cols() / sequences;
    const auto a = p.rate.array().logistic().eval();
    for (qllk::Index s = 0; s < sequences; ++s)
      for (qllk::Index t = (s + 1) * length; t-- > s * length;) {
        const auto before = (t > s * length ? c.y.col(t - 1) : c.start.col(s)).array();
        const auto ds = (dstate.sum.col(s) + dy.col(t)).array().eval();
        g.rate.array() += ds * (before - x.col(t).array()) * a * (1 - a);
        dx.col(t) = ds * (1 - a);
        dstate.sum.col(s) = ds * a;
      }
  }
};

int main() {
  qllk::Random random(1);
  const MovingAverage<double> mixer{{.dim = 5}};
  const auto x = qllk::conformance::random_matrix<double>(5, 2 * 9, random);
  MovingAverage<double>::State state;
  mixer.reset(state, 2);
  const auto gradients = qllk::conformance::check_mixer_gradients(mixer, mixer.init(random), x, state);
  const auto conformance = qllk::conformance::check_mixer(mixer, mixer.init(random), x, 2, state);
  std::printf("gradients: %s\nconformance: %s\n", gradients.str().c_str(), conformance.str().c_str());
  if (!gradients.passed() || !conformance.passed(1e-10)) return 1;
  std::string text;
  for (int i = 0; i < 400; ++i) text += "Line " + std::to_string(i) + " of a text that is easy to learn.\n";
  const auto corpus = qllk::data::Corpus::from_memory({text.begin(), text.end()});
  using Model = qllk::QLLKTransformer<float, MovingAverage>;
  const Model model({.dim_local = 32, .dim = 32, .patch = 4, .layers = 1, .decoder = 1, .bits = 10});
  qllk::train::Trainer<Model> trainer(model, {.batch = 4, .context = 64, .optimizer = {.learning_rate = 4e-3}}, corpus,
                                      2);
  trainer.run({.steps = 60}, [](const qllk::train::StepReport&) { return true; });
  const double bits = qllk::train::evaluate(model, trainer.params(), corpus).bits_per_byte();
  std::printf("%.3f bits per byte after 60 steps\n", bits);
  return bits < 2 ? 0 : 1;
}
