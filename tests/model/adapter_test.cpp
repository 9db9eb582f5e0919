#include "qllk/model/adapter.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "qllk/compress/compressor.hpp"
#include "qllk/core/random.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/linalg/sparse_table.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/model/transformer.hpp"
#include "qllk/train/evaluate.hpp"
#include "qllk/train/trainer.hpp"
#include "support/models.hpp"

namespace qllk {
namespace {

using Model = QLLKTransformer<float>;

std::vector<Byte> words(std::size_t size, std::uint64_t seed, const std::vector<std::string>& list) {
  Random random(seed);
  std::string text;
  while (text.size() < size) text += list[random.below(list.size())];
  return {text.begin(), text.begin() + static_cast<std::ptrdiff_t>(size)};
}

const std::vector<std::string> kKnown{"the ", "latent ", "kernel ", "of ", "bytes ", "and ", "sums.\n", "is "};
const std::vector<std::string> kOther{"der ", "Kern ", "von ", "Bytes ", "und ", "Summen.\n", "ist ", "nicht "};

struct Trained {
  Model model{Model::Config{.dim_local = 16, .dim = 32, .patch = 4, .layers = 1, .decoder = 1, .bits = 12}};
  Model::Params params;

  Trained() {
    train::TrainerSettings s;
    s.batch = 4;
    s.context = 128;
    s.optimizer.learning_rate = 4e-3;
    train::Trainer<Model> trainer(model, s, data::Corpus::from_memory(words(20000, 1, kKnown)), 2);
    trainer.run({.steps = 60}, [](const train::StepReport&) { return true; });
    params = trainer.params();
  }
};

const Trained& trained() {
  static const Trained all;
  return all;
}

double adapted(const data::Corpus& text, double rate) {
  Adapter<Model> adapter(trained().model, trained().params, rate);
  return train::evaluate_adapting(adapter, text, [](const train::Score&) { return true; }).bits_per_byte();
}

/// Words that it was not trained on cost less and less; the first chunk costs what it costs without.
TEST(Adapter, LearnsFromWhatItReads) {
  const auto text = words(12000, 2, kOther);
  const auto corpus = data::Corpus::from_memory(text);
  const double plain = train::evaluate(trained().model, trained().params, corpus).bits_per_byte();
  const double learned = adapted(corpus, kUsualAdaptRate);
  EXPECT_TRUE(learned < plain - 0.1) << plain << " to " << learned;
  const auto first = corpus.slice(0, 256);
  const double start = train::evaluate(trained().model, trained().params, first).bits_per_byte();
  EXPECT_TRUE(std::abs(adapted(first, kUsualAdaptRate) - start) <= 1e-5) << start;
}

/// Nothing is gained where nothing can be known: bytes are predicted before they are learned from.
TEST(Adapter, PaysForRandomBytes) {
  Random random(3);
  std::vector<Byte> noise(20000);
  for (Byte& byte : noise) byte = static_cast<Byte>(random.bits());
  const double bits = adapted(data::Corpus::from_memory(noise), kUsualAdaptRate);
  EXPECT_TRUE(bits >= 8.0 - 0.02) << bits;
}

/// Only rows of tables change, and of these only those that occurred and were trained.
TEST(Adapter, ChangesRowsThatOccurredAndNothingElse) {
  Adapter<Model> adapter(trained().model, trained().params, kUsualAdaptRate);
  for (const Byte byte : words(600, 4, kOther)) adapter.read(byte);  // two chunks, and the begin of a third
  for_each_parameter(
      [](const Path& path, const auto& before, const auto& after) {
        using Leaf = std::remove_cvref_t<decltype(before)>;
        Index changed = 0;
        for (Index j = 0; j < before.cols(); ++j) {
          if (before.col(j) == after.col(j)) continue;
          ++changed;
          EXPECT_FALSE(before.col(j).isZero(0)) << path.str() << ": row " << j << " was never trained";
        }
        const bool learns = linalg::is_hash_table_v<Leaf> && before.size() > 0;
        EXPECT_TRUE(learns ? changed > 50 && changed <= 512 * 16 : changed == 0)
            << path.str() << ": " << changed << " columns";
      },
      trained().params, adapter.params());
}

/// Byte by byte or in chunks, with the same bytes the same is learned, to the bit.
TEST(Adapter, LearnsTheSameHoweverItIsRead) {
  const auto text = words(1500, 5, kOther);
  Adapter<Model> one(trained().model, trained().params, kUsualAdaptRate), other = one;
  for (const Byte byte : text) one.read(byte);
  std::vector<Byte> all(text.size() + 1, kStartByte);
  for (std::size_t i = 0; i < text.size(); ++i) all[i + 1] = text[i];
  for (std::size_t at = 0; at + 256 <= text.size(); at += 256)
    other.learn(Bytes(all).subspan(at, 256), Bytes(all).subspan(at + 1, 256));
  for_each_parameter(
      [](const Path& path, const auto& a, const auto& b) {
        ASSERT_EQ(a.size(), b.size());
        if (a.size() == 0) return;
        EXPECT_EQ(std::memcmp(a.data(), b.data(), sizeof(a.data()[0]) * static_cast<std::size_t>(a.size())), 0)
            << path.str();
      },
      one.params(), other.params());
}

TEST(Adapter, CompressesBetterAndComesBack) {
  const auto text = words(6000, 6, kOther);
  const auto& [model, params] = trained();
  const auto plain = compress::compress(model, params, text),
             adapting = compress::compress(model, params, text, kUsualAdaptRate);
  EXPECT_EQ(compress::decompress(model, params, plain), text);
  EXPECT_EQ(compress::decompress(model, params, adapting), text);
  EXPECT_TRUE(adapting.size() + 50 < plain.size()) << plain.size() << " to " << adapting.size();
  const double bits = adapted(data::Corpus::from_memory(text), kUsualAdaptRate) / 8 * static_cast<double>(text.size());
  EXPECT_TRUE(std::abs(static_cast<double>(adapting.size()) - 57 - bits) <= 0.005 * bits + 4)
      << adapting.size() << ", scored " << bits;
  EXPECT_THROW(compress::decompress(model, params, Bytes(adapting).first(40)), std::runtime_error);
}

TEST(Adapter, RefusesWhatCannotBe) {
  for (const double rate : {0.0, -1.0, 2.0, std::nan("")})
    EXPECT_THROW(Adapter<Model>(trained().model, trained().params, rate), std::invalid_argument) << rate;
  const QLLKClassic<float> classic({.dim = 8, .layers = 1, .patch = 4});
  Random random(1);
  EXPECT_THROW(Adapter<QLLKClassic<float>>(classic, classic.init(random), kUsualAdaptRate), std::invalid_argument);
}

}  // namespace
}  // namespace qllk
