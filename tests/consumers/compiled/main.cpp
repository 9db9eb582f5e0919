// A program that links the compiled library.
#include "qllk/language_model.hpp"

int main() {
  const std::string text(2000, 'x');
  const auto corpus = qllk::Corpus::from_memory({text.begin(), text.end()});
  const auto model = qllk::LanguageModel::train(corpus, {.steps = 1, .arch = "classic"});
  return model.decompress(model.compress("xyz")) == "xyz" ? 0 : 1;
}
