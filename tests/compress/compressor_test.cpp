#include "qllk/compress/compressor.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "qllk/core/random.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/files/atomic_file.hpp"
#include "qllk/files/input_file.hpp"
#include "qllk/model/classic.hpp"
#include "qllk/train/evaluate.hpp"
#include "qllk/train/trainer.hpp"
#include "support/models.hpp"
#include "support/temporary_folder.hpp"

namespace {

using namespace qllk::compress;
using qllk::Byte;
using qllk::Bytes;
using qllk::Index;
using qllk::QLLKClassic;
using qllk::Random;
using qllk::test::message_of;
using Classic = QLLKClassic<float>;
using Buffer = std::vector<Byte>;

constexpr Classic::Config kTiny{.dim = 8, .layers = 1, .patch = 4};

template <class Model>
typename Model::Params weights(const Model& model, std::uint64_t seed) {
  Random random(seed);
  return model.init(random);
}

Buffer random_bytes(std::size_t size, std::uint64_t seed) {
  Random random(seed);
  Buffer bytes(size);
  for (Byte& byte : bytes) byte = static_cast<Byte>(random.bits());
  return bytes;
}

/// Words in a random order: text that a model learns something of in a few steps.
Buffer words(std::size_t size, std::uint64_t seed) {
  const std::vector<std::string> list{"the ", "latent ", "kernel ", "of ",    "bytes ",
                                      "and ", "sums.\n", "is ",     "linear "};
  Random random(seed);
  Buffer text;
  while (text.size() < size) {
    const std::string& word = list[static_cast<std::size_t>(random.below(list.size()))];
    text.insert(text.end(), word.begin(), word.end());
  }
  text.resize(size);
  return text;
}

/// Makes the checksum at the end right again, so that what lies behind it is reached.
void seal(Buffer& file) {
  Checksum sum;
  sum.update(Bytes(file).first(file.size() - 8));
  for (std::size_t i = 0; i < 8; ++i) file[file.size() - 8 + i] = static_cast<Byte>(sum.value() >> (8 * i));
}

struct Refused {
  bool threw = false;
  std::string message;
};
template <class Model>
Refused refusal(const Model& model, const typename Model::Params& params, Bytes file) {
  try {
    decompress(model, params, file);
  } catch (const std::runtime_error& error) {
    return {true, error.what()};
  }
  return {};
}
#define EXPECT_REFUSED(refused, part) \
  EXPECT_TRUE((refused).threw && (refused).message.find(part) != std::string::npos) << (refused).message

TEST(Compressor, ReturnsEveryKindOfBytes) {
  const Classic model({.dim = 16, .layers = 2, .patch = 8});
  const auto params = weights(model, 1);
  Buffer all;
  for (unsigned i = 0; i < 512; ++i) all.push_back(static_cast<Byte>(i));
  for (const Buffer& original : {Buffer{}, Buffer{0}, Buffer{'q'}, Buffer{255, 255}, all, random_bytes(1000, 2),
                                 Buffer(3000, 0), Buffer(3000, 255), words(2000, 3)}) {
    const Buffer file = compress(model, params, original);
    EXPECT_EQ(decompress(model, params, file), original);
  }
}

TEST(Compressor, WorksInDoubleToo) {
  const QLLKClassic<double> model({.dim = 8, .layers = 1, .patch = 3});
  const auto params = weights(model, 1);
  const Buffer original = words(700, 5);
  EXPECT_EQ(decompress(model, params, compress(model, params, original)), original);
}

TEST(Compressor, NeedsFortyNineBytesForNothing) {
  const Classic model(kTiny);
  const Buffer file = compress(model, weights(model, 1), {});
  EXPECT_EQ(file.size(), 49u);
}

TEST(Compressor, MakesTheSizeThatTheScoreSays) {
  const Buffer text = words(60000, 1);
  const qllk::data::Corpus corpus = qllk::data::Corpus::from_memory(text);
  qllk::train::TrainerSettings settings;
  settings.batch = 8;
  settings.context = 128;
  settings.optimizer.learning_rate = 1e-2;
  qllk::train::Trainer<Classic> trainer(Classic({.dim = 32, .layers = 1, .patch = 4}), settings, corpus, 1);
  const Classic model({.dim = 32, .layers = 1, .patch = 4});
  for (int round = 0; round < 2; ++round) {  // untrained, then trained
    const Buffer fresh = words(20000, 2);
    const auto score = qllk::train::evaluate(model, trainer.params(), qllk::data::Corpus::from_memory(fresh));
    const Buffer file = compress(model, trainer.params(), fresh);
    const double expected = score.bits_per_byte() / 8 * static_cast<double>(fresh.size());
    const double size = static_cast<double>(file.size());
    EXPECT_TRUE(std::abs(size - 49 - expected) <= 1e-4 * expected + 2) << size << " bytes, scored " << expected;
    EXPECT_EQ(decompress(model, trainer.params(), file), fresh);
    EXPECT_TRUE(round == 0 || score.bits_per_byte() < 4.5) << score.bits_per_byte();
    for (int step = 0; round == 0 && step < 150; ++step) trainer.step(0.5);
  }
}

TEST(Compressor, CostsNextToNothingWhereTheModelIsSure) {
  // logits that hardly depend on anything but the head's bias, which says 'a': 50 nats ahead of all others
  const Classic model(kTiny);
  auto params = model.zeros();
  for (Index slot = 0; slot < kTiny.patch; ++slot) params.decoder_head.bias[slot * qllk::kByteValues + 'a'] = 50;
  const Buffer original(40000, 'a');
  const Buffer file = compress(model, params, original);
  EXPECT_LE(file.size(), 49u + 1u);
  EXPECT_EQ(decompress(model, params, file), original);
}

TEST(Compressor, NoticesEveryByteThatIsAlteredAndEveryCut) {
  const Classic model(kTiny);
  const auto params = weights(model, 1);
  const Buffer original = words(60, 1);
  Buffer file = compress(model, params, original);
  for (std::size_t at = 0; at < file.size(); ++at)
    for (unsigned change = 1; change < 256; ++change) {
      file[at] = static_cast<Byte>(file[at] ^ change);
      ASSERT_TRUE(refusal(model, params, file).threw) << "byte " << at << " xor " << change;
      file[at] = static_cast<Byte>(file[at] ^ change);
    }
  for (std::size_t size = 0; size < file.size(); ++size)
    ASSERT_TRUE(refusal(model, params, Bytes(file).first(size)).threw) << size << " bytes";
  for (unsigned extra = 0; extra < 256; ++extra) {
    Buffer longer = file;
    longer.push_back(static_cast<Byte>(extra));
    ASSERT_TRUE(refusal(model, params, longer).threw) << "and " << extra;
  }
  EXPECT_EQ(decompress(model, params, file), original);
}

TEST(Compressor, NoticesWhatIsAlteredBehindARightChecksum) {
  const Classic model(kTiny);
  const auto params = weights(model, 1);
  const Buffer original = words(60, 1);
  const Buffer file = compress(model, params, original);
  for (std::size_t at = 0; at + 8 < file.size(); ++at)
    for (const unsigned change : {1u, 0x10u, 0x80u, 0xFFu}) {
      Buffer altered = file;
      altered[at] = static_cast<Byte>(altered[at] ^ change);
      seal(altered);
      // the last byte of the code may be any of several: then the original comes back
      EXPECT_TRUE(refusal(model, params, altered).threw || decompress(model, params, altered) == original)
          << "byte " << at;
    }
  for (std::size_t size = 1; size < file.size() - 48; ++size) {
    Buffer cut = file;
    cut.erase(cut.begin() + 24, cut.begin() + 24 + static_cast<std::ptrdiff_t>(size));
    seal(cut);
    EXPECT_TRUE(refusal(model, params, cut).threw) << size;
  }
}

TEST(Compressor, SaysWhatIsWrongWithAFile) {
  const Classic model(kTiny);
  const auto params = weights(model, 1);
  const Buffer file = compress(model, params, words(100, 1));
  EXPECT_REFUSED(refusal(model, params, {}), "is not a file that qllk-compress made");
  EXPECT_REFUSED(refusal(model, params, words(1000, 1)), "is not a file that qllk-compress made");
  EXPECT_REFUSED(refusal(model, params, Bytes(file).first(20)), "is cut short: it has 20 bytes");
  EXPECT_REFUSED(refusal(model, params, Bytes(file).first(file.size() - 1)), "is cut short or altered");
  Buffer other = file;
  other[7] = 9;
  EXPECT_REFUSED(refusal(model, params, other), "has version 9 of the format, expected 1");
  MemorySink sink;
  const auto named = [&] {
    decompress(
        model, params, Bytes(other), sink, [](auto, auto) {}, "'a.qz'");
  };
  EXPECT_EQ(message_of<std::runtime_error>(named).substr(0, 18), "'a.qz' has version");
  EXPECT_TRUE(sink.bytes.empty());
}

/// Version 2 has a rate of adapting, here of a model that has nothing to adapt, and rates that are none.
TEST(Compressor, RefusesToAdaptWhatCannot) {
  const Classic model(kTiny);
  const auto params = weights(model, 1);
  for (const double rate : {0.04, -1.0, std::numeric_limits<double>::quiet_NaN()}) {
    Buffer file = compress(model, params, words(100, 1));
    file[7] = 2;
    const auto* bytes = reinterpret_cast<const Byte*>(&rate);
    file.insert(file.begin() + 24, bytes, bytes + 8);
    seal(file);
    EXPECT_REFUSED(refusal(model, params, file), "was made with a model that adapts");
  }
}

TEST(Compressor, RefusesAnotherModel) {
  const Classic model(kTiny);
  const auto params = weights(model, 1);
  const Buffer file = compress(model, params, words(100, 1));
  EXPECT_REFUSED(refusal(model, weights(model, 2), file), "was made with another model");
  const Classic larger({.dim = 8, .layers = 2, .patch = 4});
  EXPECT_REFUSED(refusal(larger, weights(larger, 1), file), "was made with another model");
  auto nearly = params;
  float& weight = nearly.layers[0].mlp.up.weight(3, 3);
  weight = std::nextafter(weight, 1.0f);
  EXPECT_REFUSED(refusal(model, nearly, file), "was made with another model");
}

/// The same weights, but from a given byte on other logits, by as little as possible: a machine that rounds otherwise.
class Disturbed : public Classic {
 public:
  explicit Disturbed(Index from) : Classic(kTiny), from_(from) {}
  State initial_state(Index sequences) const {
    calls_ = 0;
    return Classic::initial_state(sequences);
  }
  void forward(const Params& p, Bytes bytes, State& state, Cache& c, qllk::Mat<float>& logits) const {
    Classic::forward(p, bytes, state, c, logits);
    if (calls_++ >= from_)
      for (Index i = 0; i < 128; ++i) logits(i, 0) = std::nextafter(logits(i, 0), 100.0f);
  }

 private:
  Index from_;
  mutable Index calls_ = 0;
};

TEST(Compressor, RefusesArithmeticThatRoundsOtherwise) {
  const Classic model(kTiny);
  const auto params = weights(model, 1);
  const Buffer file = compress(model, params, words(100, 1));
  EXPECT_REFUSED(refusal(Disturbed(0), params, file), "computes other probabilities");
  EXPECT_REFUSED(refusal(Disturbed(400), params, file), "computes other probabilities");
}

TEST(Compressor, IsNeverSilentlyWrongWhereArithmeticDiffersLater) {
  const Classic model(kTiny);
  const auto params = weights(model, 1);
  const Buffer original = random_bytes(12000, 3);
  const Buffer file = compress(model, params, original);
  EXPECT_EQ(decompress(Disturbed(1 << 20), params, file), original);
  int refused = 0;
  for (const Index from : {2000, 9000, 11990}) {
    const Refused result = refusal(Disturbed(from), params, file);
    if (result.threw) {
      EXPECT_REFUSED(result, "does not decompress to what was compressed");
      ++refused;
    } else {
      EXPECT_EQ(decompress(Disturbed(from), params, file), original);
    }
  }
  EXPECT_GE(refused, 1);
}

TEST(Compressor, RefusesLogitsThatAreNotFinite) {
  const Classic model(kTiny);
  auto params = weights(model, 1);
  params.decoder_head.bias[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(compress(model, params, words(100, 1)), std::runtime_error);
  params.decoder_head.bias[5] = std::numeric_limits<float>::infinity();
  EXPECT_THROW(compress(model, params, words(100, 1)), std::runtime_error);
}

TEST(Compressor, StreamsFilesOfManyBlocks) {
  const Classic model(kTiny);
  const auto params = weights(model, 1);
  const qllk::test::TemporaryFolder folder;
  // the two around a border of the blocks that are read and written
  for (const std::size_t size : {std::size_t{1} << 16, (std::size_t{1} << 16) + 1}) {
    const Buffer original = random_bytes(size, 9);
    qllk::test::write_text(folder / "original", std::string(original.begin(), original.end()));
    std::uint64_t calls = 0, last = 0;
    const auto count = [&](std::uint64_t done, std::uint64_t all = 0) {
      EXPECT_GT(done, last);
      EXPECT_TRUE(all == 0 || all == size);
      last = done;
      ++calls;
    };
    {
      qllk::files::InputFile source(folder / "original");
      qllk::files::AtomicFile sink(folder / "small");
      const Sizes sizes = compress(model, params, source, sink, count);
      sink.commit();
      EXPECT_EQ(sizes.original, size);
      EXPECT_EQ(sizes.compressed, qllk::test::read_text(folder / "small").size());
      EXPECT_TRUE(sizes.bits_per_byte() > 7.9 && sizes.bits_per_byte() < 12);
    }
    EXPECT_EQ(calls, size / 64);
    calls = last = 0;
    const auto file = qllk::files::InputFile(folder / "small").contents();
    qllk::files::AtomicFile sink(folder / "back");
    const Sizes sizes = decompress(model, params, file.bytes, sink, count);
    sink.commit();
    EXPECT_EQ(sizes.original, size);
    EXPECT_EQ(calls, size / 64);
    EXPECT_TRUE(qllk::test::read_text(folder / "back") == qllk::test::read_text(folder / "original"));
  }
}

TEST(Compressor, LeavesNoFileBehindWhenItFails) {
  const Classic model(kTiny);
  const auto params = weights(model, 1);
  const Buffer file = compress(model, params, random_bytes(70000, 3));
  const qllk::test::TemporaryFolder folder;
  const auto fail = [&] {
    qllk::files::AtomicFile sink(folder / "back");
    decompress(Disturbed(2000), params, Bytes(file), sink);
    sink.commit();
  };
  EXPECT_THROW(fail(), std::runtime_error);
  struct Stop {};
  const auto stop = [&] {
    qllk::files::AtomicFile sink(folder / "back");
    decompress(model, params, Bytes(file), sink, [](std::uint64_t done, std::uint64_t) {
      if (done > 66000) throw Stop();
    });
    sink.commit();
  };
  EXPECT_THROW(stop(), Stop);
  EXPECT_EQ(folder.entries(), 0);
}

}  // namespace
