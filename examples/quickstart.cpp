// Trains a model on a text for ten seconds, lets it write, and keeps it.
#include <iostream>

#include "qllk/language_model.hpp"

int main(int argc, char** argv) {
  const auto text = qllk::Corpus::open(argc > 1 ? argv[1] : "book.txt");
  const auto model = qllk::LanguageModel::train(text, {.seconds = 10});
  std::cout << model.generate("The ", 200) << '\n';
  model.save("book.safetensors");
}
