// For a compiler whose sizes have 32 bits, which warns where one is too small: see CMakeLists.txt. Never run.
#include "qllk/distributed/data_parallel.hpp"
#include "qllk/language_model.hpp"
#include "qllk/testing/gradient_check.hpp"

template class qllk::distributed::DataParallel<float>;

int main() {
  const auto model = qllk::LanguageModel::train(qllk::Corpus::open("text"), {.seconds = 1});
  model.save("model.safetensors");
  return model.generate("A", 2).size() == 2 ? 0 : 1;
}
