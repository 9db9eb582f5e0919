// qllk-compress and qllk-decompress, as a user runs them.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "qllk/core/random.hpp"
#include "qllk/io/model_file.hpp"
#include "qllk/model/classic.hpp"
#include "support/temporary_folder.hpp"

namespace {

using qllk::test::read_text;
using qllk::test::write_text;

/// A folder with two models, a.model and b.model, and a text.
class CompressTools : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(QLLK_TEST_BIN "/qllk-decompress")) GTEST_SKIP() << "the tools are not built";
    using Model = qllk::QLLKClassic<float>;
    const Model model({.dim = 16, .layers = 1, .patch = 4});
    for (const char* const name : {"a.model", "b.model"}) {
      qllk::Random random(static_cast<unsigned char>(name[0]));
      qllk::io::save_model(folder_ / name, model, model.init(random));
    }
    std::string text;
    for (int i = 0; i < 500; ++i) text += std::to_string(i * i) + (i % 7 == 0 ? "\n" : " ");
    write_text(folder_ / "text", text);
    write_text(folder_ / "out", "");
    write_text(folder_ / "err", "");
  }

  /// The exit status of `tool arguments`, run in the folder. Its output is in the files `out` and `err` there.
  int run(const std::string& tool, const std::string& arguments) {
    const std::string command = "cd '" + folder_.path() + "' && " QLLK_TEST_EMULATOR " '" QLLK_TEST_BIN "/" + tool +
                                "' " + arguments + " >out 2>err";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string file(const std::string& name) { return read_text(folder_ / name); }

  /// Checks that the tool fails with one line that has `part` in it, and writes nothing.
  void expect_failure(const std::string& tool, const std::string& arguments, const std::string& part) {
    const auto entries = folder_.entries();
    EXPECT_EQ(run(tool, arguments), 1) << arguments;
    const std::string error = file("err");
    EXPECT_TRUE(error.starts_with(tool + ": ") && error.find(part) != std::string::npos) << error;
    EXPECT_EQ(error.find('\n'), error.size() - 1) << error;
    EXPECT_EQ(file("out"), "");
    EXPECT_EQ(folder_.entries(), entries);
  }

  qllk::test::TemporaryFolder folder_;
};

TEST_F(CompressTools, GiveTheFileBackAndTellItsSizes) {
  ASSERT_EQ(run("qllk-compress", "--model a.model text small"), 0) << file("err");
  const auto result = nlohmann::json::parse(file("out"));
  EXPECT_EQ(result["bytes_in"], file("text").size());
  EXPECT_EQ(result["bytes_out"], file("small").size());
  const double ratio = static_cast<double>(file("small").size()) / static_cast<double>(file("text").size());
  EXPECT_TRUE(std::abs(result["bits_per_byte"].get<double>() - 8 * ratio) <= 1e-9) << result;
  ASSERT_EQ(run("qllk-decompress", "--model a.model small back"), 0) << file("err");
  EXPECT_EQ(file("back"), file("text"));
  const auto undone = nlohmann::json::parse(file("out"));
  EXPECT_EQ(undone["bytes_in"], result["bytes_out"]);
  EXPECT_EQ(undone["bytes_out"], result["bytes_in"]);
  EXPECT_EQ(undone["bits_per_byte"], result["bits_per_byte"]);
}

TEST_F(CompressTools, TakeAnEmptyFile) {
  write_text(folder_ / "empty", "");
  ASSERT_EQ(run("qllk-compress", "--model a.model empty small"), 0) << file("err");
  ASSERT_EQ(run("qllk-decompress", "--model a.model small back"), 0) << file("err");
  EXPECT_EQ(file("back"), "");
}

TEST_F(CompressTools, SayInOneLineWhatIsWrong) {
  ASSERT_EQ(run("qllk-compress", "--model a.model text small"), 0) << file("err");
  const std::string small = file("small");
  write_text(folder_ / "cut", small.substr(0, small.size() / 2));
  std::string altered = small;
  altered[100] = static_cast<char>(altered[100] ^ 1);
  write_text(folder_ / "altered", altered);
  expect_failure("qllk-decompress", "--model a.model cut back", "'cut' is cut short or altered");
  expect_failure("qllk-decompress", "--model a.model altered back", "'altered' is cut short or altered");
  expect_failure("qllk-decompress", "--model a.model text back", "'text' is not a file that qllk-compress made");
  expect_failure("qllk-decompress", "--model b.model small back", "'small' was made with another model");
  expect_failure("qllk-decompress", "--model text small back", "'text'");
  expect_failure("qllk-compress", "--model a.model missing back", "'missing'");
  expect_failure("qllk-compress", "--model missing text back", "'missing'");
  expect_failure("qllk-compress", "--model a.model text missing/back", "'missing/back'");
}

TEST_F(CompressTools, NeverReplaceWhatTheyRead) {
  const std::string text = file("text"), model = file("a.model");
  std::filesystem::create_symlink(folder_ / "text", folder_ / "link");
  for (const char* const out : {"text", "./text", "link", "a.model"})
    expect_failure("qllk-compress", std::string("--model a.model text ") + out, "is the same file as");
  EXPECT_EQ(file("text"), text);
  EXPECT_TRUE(file("a.model") == model);
}

}  // namespace
