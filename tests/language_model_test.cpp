#include "qllk/language_model.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iomanip>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/models.hpp"
#include "support/temporary_folder.hpp"

namespace qllk {
namespace {

std::string text_of(std::size_t size) {
  std::string text;
  for (int i = 0; text.size() < size; ++i)
    text += "Line " + std::to_string(i) + " of a text that is " + std::to_string(i * 7 % 10) + " parts noise.\n";
  return text;
}
Corpus corpus_of(const std::string& text) { return Corpus::from_memory({text.begin(), text.end()}); }

TEST(LanguageModel, TrainsScoresWritesAndPacks) {
  const std::string text = text_of(20000);
  double done = 0;
  const auto model = LanguageModel::train(corpus_of(text), {.steps = 40, .on_progress = [&](const auto& progress) {
                                                              EXPECT_GT(progress.done, done);
                                                              done = progress.done;
                                                              return true;
                                                            }});
  EXPECT_EQ(done, 1);
  const Score score = model.score(corpus_of(text_of(5000)));
  EXPECT_EQ(score.bytes, corpus_of(text_of(5000)).size());
  EXPECT_TRUE(score.bits_per_byte() < 2) << score.bits_per_byte();
  const std::string written = model.generate("Line 7", 50, {.seed = 3});
  EXPECT_EQ(written.size(), 50U);
  EXPECT_EQ(written, model.generate("Line 7", 50, {.seed = 3}));
  const std::string part = text_of(2000);
  const auto packed = model.compress(part);
  EXPECT_LT(packed.size(), part.size() / 2);
  EXPECT_EQ(model.decompress(packed), part);

  const test::TemporaryFolder folder;
  model.save(folder / "model.safetensors");
  const auto again = LanguageModel::load(folder / "model.safetensors");
  EXPECT_EQ(again.score(corpus_of(part)).nats, model.score(corpus_of(part)).nats);
}

TEST(LanguageModel, IsTheToolsModelBitForBit) {
  const test::TemporaryFolder folder;
  const std::string text = text_of(5000);
  test::write_text(folder / "text", text);
  test::write_text(folder / "other", text_of(600));
  std::ostringstream command;
  command << QLLK_TEST_EMULATOR << " " << QLLK_TEST_BIN << "/qllk-train --arch classic --data "
          << std::quoted(folder / "text") << " --val " << std::quoted(folder / "other") << " --steps 3 --seed 5 --out "
          << std::quoted(folder / "run") << " > /dev/null 2>&1";
  if (std::system("test -x '" QLLK_TEST_BIN "/qllk-train'") != 0) GTEST_SKIP() << "the tools are not built";
  ASSERT_EQ(std::system(command.str().c_str()), 0) << command.str();
  LanguageModel::train(corpus_of(text), {.steps = 3, .seed = 5, .threads = 1, .arch = "classic"})
      .save(folder / "mine.safetensors");
  EXPECT_TRUE(test::read_text(folder / "mine.safetensors") == test::read_text(folder / "run/model.safetensors"));
}

TEST(LanguageModel, StopsWhenItIsTold) {
  int calls = 0;
  LanguageModel::train(corpus_of(text_of(5000)),
                       {.steps = 1000, .arch = "classic", .on_progress = [&](const auto&) { return ++calls < 3; }});
  EXPECT_EQ(calls, 3);
}

TEST(LanguageModel, BadOptionsAreErrors) {
  const auto text = corpus_of(text_of(5000));
  EXPECT_THROW(LanguageModel::train(text, {.steps = -1}), std::invalid_argument);
  EXPECT_THROW(LanguageModel::train(text, {.seconds = -1}), std::invalid_argument);
  EXPECT_THROW(LanguageModel::train(text, {.steps = 1, .arch = "clossic"}), std::invalid_argument);
  EXPECT_THROW(LanguageModel::train(corpus_of("short"), {.steps = 1, .arch = "classic"}), std::invalid_argument);
  EXPECT_THROW(LanguageModel::load("/nowhere/model.safetensors"), std::runtime_error);
}

}  // namespace
}  // namespace qllk
