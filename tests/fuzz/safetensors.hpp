// Files of tensors.
#pragma once

#include <Eigen/Core>
#include <string>
#include <vector>

#include "fuzz/input.hpp"
#include "qllk/core/types.hpp"
#include "qllk/io/safetensors.hpp"

namespace qllk::fuzz {

struct Safetensors {
  struct Params {
    Mat<float> weight = Mat<float>::Zero(3, 2);
    Vec<float> bias = Vec<float>::Zero(3);
    Table<double> table = Table<double>::Zero(2, 4);

    template <class Visit, class... T>
    static void fields(Visit&& visit, T&... t) {
      visit("weight", t.weight...);
      visit("bias", t.bias...);
      visit("table", t.table...);
    }
  };

  static std::vector<std::string> seeds() {
    const test::TemporaryFolder folder;
    const Params params;
    const std::vector<std::uint64_t> step{17};
    io::SafetensorsWriter writer;
    writer.set_metadata("format", "qllk");
    io::save_parameters(writer, "model", params);
    writer.add_values("step", std::span(step));
    writer.write(folder / "f");
    std::vector<std::string> seeds{test::read_text(folder / "f")};
    for (
        const char* header :
        {R"({"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},"__metadata__":{"format":"pt"}})",
         R"({ "n": {"shape":[],"data_offsets":[0,8],"dtype":"I64"}, "e":{"dtype":"BF16","shape":[0,7],"data_offsets":[8,8]}} )",
         R"({"model.bias":{"dtype":"F64","shape":[3],"data_offsets":[0,24]}})", "{}"})
      seeds.push_back(file_of(header, std::string(header[2] == 'a'   ? 12
                                                  : header[2] == ' ' ? 8
                                                  : header[2] == 'm' ? 24
                                                                     : 0,
                                                  '?')));
    return seeds;
  }

  static std::string file_of(const std::string& header, const std::string& data) {
    const std::uint64_t length = header.size();
    return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
  }

  static void run(Bytes input) {
    static InputPath path;
    try {
      const io::SafetensorsReader reader(path.write(input));
      for (const auto& [name, entry] : reader.entries()) {
        expect(entry.begin >= 8 && entry.begin <= input.size() && entry.size <= input.size() - entry.begin,
               "a tensor lies outside of its file");
        read(reader, name, entry);
      }
      if (reader.has_checksum()) reader.verify();
      Params params;
      io::load_parameters(reader, "model", params);
    } catch (const RuntimeError& error) {
      expect(std::string(error.what()).starts_with("'/proc/self/fd/"), "an error does not name the file");
    }
  }

 private:
  static void read(const io::SafetensorsReader& reader, const std::string& name,
                   const io::SafetensorsReader::Entry& e) {
    const auto values = [&]<class T>(T) {
      std::vector<T> numbers(static_cast<std::size_t>(e.shape.size() == 1 ? e.shape[0] : 0));
      if (e.shape.size() == 1 && e.dtype == io::dtype_of<T>()) reader.read_values(name, std::span(numbers));
    };
    values(std::uint8_t{}), values(std::int32_t{}), values(std::uint64_t{}), values(float{}), values(double{});
    if (e.shape.size() != 2 || e.size > 4096 || e.shape[0] > 4096 || e.shape[1] > 4096 ||
        !io::visit_real(e.dtype, [](auto) {}))
      return;
    Mat<float> matrix(static_cast<Index>(e.shape[0]), static_cast<Index>(e.shape[1]));
    reader.read_into(name, matrix);
  }
};

}  // namespace qllk::fuzz
