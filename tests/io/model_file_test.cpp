#include "qllk/io/model_file.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <variant>

#include "support/models.hpp"
#include "support/temporary_folder.hpp"

namespace qllk::io {
namespace {

using test::message_of, test::TemporaryFolder;
using Classic = QLLKClassic<float>;

template <class Tree>
void expect_same_bits(const Tree& a, const Tree& b) {
  for_each_parameter(
      [](const Path& path, const auto& x, const auto& y) {
        ASSERT_EQ(x.size(), y.size()) << path.str();
        const auto size = static_cast<std::size_t>(x.size()) * sizeof(*x.data());
        EXPECT_TRUE(size == 0 || std::memcmp(x.data(), y.data(), size) == 0) << path.str();
      },
      a, b);
}

template <class Model>
void expect_round_trip(const Model& model) {
  const TemporaryFolder folder;
  Random random(3);
  auto params = model.init(random);
  for_each_parameter([&](const Path&, auto& leaf) { fill_normal(leaf, 1, random); }, params);
  save_model(folder / "m", model, params);
  const auto stored = load_model_as<Model>(folder / "m");
  EXPECT_EQ(to_json(stored.model.config()), to_json(model.config()));
  expect_same_bits(stored.params, params);
}

TEST(ModelFile, GivesBackAClassicModel) { expect_round_trip(Classic({.dim = 24, .layers = 3, .patch = 5})); }

TEST(ModelFile, GivesBackADefaultModel) {
  QLLKTransformer<float>::Config config;
  config.dim_local = 16;
  config.dim = 24;
  config.patch = 3;
  config.encoder = 1;
  config.layers = 2;
  config.decoder = 1;
  config.orders = 3;
  config.bits = 6;
  expect_round_trip(QLLKTransformer<float>(config));
  config.orders = 1;  // a table without rows
  config.words = 0;
  config.match.lengths = {};
  config.recency = 0;
  expect_round_trip(QLLKTransformer<float>(config));
}

/// Before there were words, matches and recency, files did not say so.
TEST(ModelFile, FilesWithoutWordsMatchesAndRecencyLoad) {
  const TemporaryFolder folder;
  using Model = QLLKTransformer<float>;
  const Model model({.dim_local = 8,
                     .dim = 8,
                     .patch = 2,
                     .layers = 1,
                     .orders = 3,
                     .words = 0,
                     .bits = 5,
                     .match = {},
                     .recency = 0});
  Random random(1);
  const auto params = model.init(random);
  auto config = to_json(model.config());
  config.erase("words");
  config.erase("match");
  config.erase("recency");
  SafetensorsWriter writer;
  for (const auto& [key, value] : {std::pair{"format", "qllk"}, {"version", "1"}, {"arch", "default"}})
    writer.set_metadata(key, value);
  writer.set_metadata("config", config.dump());
  save_parameters(writer, "", params);
  writer.write(folder / "old.safetensors");
  const auto stored = load_model_as<Model>(folder / "old.safetensors");
  EXPECT_EQ(stored.model.config(), model.config());
  expect_same_bits(stored.params, params);
}

TEST(ModelFile, TakesTheOriginalCodesCheckpointsAsClassic) {
  const auto stored = load_model_as<Classic>(QLLK_TEST_DATA "/classic_checkpoint.safetensors");
  const SafetensorsReader reader(QLLK_TEST_DATA "/classic_checkpoint.safetensors");
  EXPECT_EQ(stored.model.config(), Architecture<Classic>::infer(reader, ""));
  EXPECT_TRUE(stored.params.decoder_head.weight.norm() > 0);
}

/// Rounds every parameter to Half, and writes the file of them that other programs make: without metadata of ours.
template <class Half>
void write_rounded(const std::string& path, const char* dtype, Classic::Params& params) {
  Json header;
  std::string data;
  for_each_parameter(
      [&](const Path& name, auto& leaf) {
        if (leaf.size() == 0) return;
        const TensorForm form = tensor_form(leaf);
        const Eigen::Map<Mat<float>> view(leaf.data(), form.rows, form.cols);
        const std::size_t begin = data.size();
        for (Index row = 0; row < form.rows; ++row)
          for (Index col = 0; col < form.cols; ++col) {
            const Half rounded(view(row, col));
            data.append(reinterpret_cast<const char*>(&rounded), sizeof rounded);
          }
        leaf = leaf.template cast<Half>().template cast<float>().eval();
        header[name.str()] = {{"dtype", dtype}, {"shape", form.shape}, {"data_offsets", {begin, data.size()}}};
      },
      params);
  const std::string text = header.dump();
  const std::uint64_t size = text.size();
  test::write_text(path, std::string(reinterpret_cast<const char*>(&size), sizeof size) + text + data);
}

TEST(ModelFile, OfNumbersOf16BitsLoads) {
  const TemporaryFolder folder;
  auto params = load_model_as<Classic>(QLLK_TEST_DATA "/classic_checkpoint.safetensors").params;
  write_rounded<Eigen::half>(folder / "f16", "F16", params);
  expect_same_bits(load_model_as<Classic>(folder / "f16").params, params);
  write_rounded<Eigen::bfloat16>(folder / "bf16", "BF16", params);
  expect_same_bits(load_model_as<Classic>(folder / "bf16").params, params);
}

class DamagedModelFile : public ::testing::Test {
 protected:
  DamagedModelFile() {
    Random random(1);
    save_model(file, model, model.init(random));
    text = test::read_text(file);
  }
  std::string error() const {
    return message_of<std::runtime_error>([&] { load_model(file); });
  }
  void expect_error(const std::string& words) const {
    const std::string message = error();
    EXPECT_NE(message.find("'" + file + "'"), std::string::npos) << message;
    EXPECT_NE(message.find(words), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
  void replace(const std::string& from, const std::string& to) {
    ASSERT_EQ(from.size(), to.size());
    const auto at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    test::write_text(file, std::string(text).replace(at, from.size(), to));
  }

  TemporaryFolder folder;
  std::string file = folder / "model.safetensors";
  Classic model{{.dim = 8, .layers = 1, .patch = 2}};
  std::string text;
};

TEST_F(DamagedModelFile, AnAlteredWeightIsAnError) {
  const std::size_t end = text.size();
  for (const std::size_t at : {end - 1, end - 400, end - 1001}) {
    std::string altered = text;
    altered[at] = static_cast<char>(altered[at] ^ 1);
    test::write_text(file, altered);
    expect_error("is damaged: its checksum is wrong");
  }
}

TEST_F(DamagedModelFile, CutAnywhereIsAnError) {
  for (std::size_t size = 0; size < text.size(); size += 1 + size / 3) {
    test::write_text(file, text.substr(0, size));
    expect_error("");
  }
}

TEST_F(DamagedModelFile, OtherVersionsNamesAndSizesAreErrors) {
  replace(R"("version":"1")", R"("version":"2")");
  expect_error("version '2'");
  replace(R"("arch":"classic")", R"("arch":"clossic")");
  expect_error("'clossic'");
  replace(R"(\"layers\":1)", R"(\"layers\":2)");
  expect_error("configuration");
  replace(R"(\"layers\":1)", R"(\"layerz\":1)");
  expect_error("layers");
  replace(R"(\"dim\":8)", R"(\"dim\":0)");
  expect_error("configuration");
  replace(R"("config":)", R"("kanfig":)");
  expect_error("config");
  replace(R"("byte_embedding.weight")", R"("byte_embedding.height")");
  expect_error("byte_embedding.weight");
}

TEST_F(DamagedModelFile, WeightsThatAreNotFiniteAreErrors) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    std::string poisoned = text;
    std::memcpy(poisoned.data() + poisoned.size() - sizeof bad, &bad, sizeof bad);
    test::write_text(file, poisoned);
    expect_error("not finite");
  }
}

TEST_F(DamagedModelFile, AnotherArchitectureThanWantedIsAnError) {
  const auto message = message_of<std::runtime_error>([&] { load_model_as<QLLKTransformer<float>>(file); });
  EXPECT_NE(message.find("expected 'default'"), std::string::npos) << message;
}

TEST_F(DamagedModelFile, OtherPeoplesTensorsAreErrors) {
  const Mat<float> weight = Mat<float>::Zero(2, 2);
  SafetensorsWriter writer;
  writer.add("lm_head.weight", weight);
  writer.set_metadata("format", "pt");
  writer.write(file);
  expect_error("not of a QLLK model");
}

}  // namespace
}  // namespace qllk::io
