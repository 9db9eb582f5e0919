// The Python module qllk: LanguageModel, with texts as bytes, str or paths, and arrays of numpy. qllk.pyi documents it.
#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "arrays.hpp"
#include "qllk/data/compressed.hpp"
#include "qllk/io/architectures.hpp"
#include "qllk/language_model.hpp"
#include "qllk/language_model_impl.hpp"

namespace qllk::python {
namespace {

using namespace py::literals;

/// The bytes of a str, in UTF-8, or of anything with the buffer protocol.
std::vector<Byte> bytes_of(const py::handle& text) {
  if (py::isinstance<py::str>(text)) {
    const auto utf8 = text.cast<std::string>();
    return {utf8.begin(), utf8.end()};
  }
  if (PyObject_CheckBuffer(text.ptr()) == 0)
    throw py::type_error("the text is of type " + std::string(py::str(py::type::of(text).attr("__name__"))) +
                         ", expected str or bytes");
  Py_buffer buffer;
  if (PyObject_GetBuffer(text.ptr(), &buffer, PyBUF_SIMPLE) != 0) throw py::error_already_set();
  const auto* data = static_cast<const Byte*>(buffer.buf);
  std::vector<Byte> bytes(data, data + buffer.len);
  PyBuffer_Release(&buffer);
  return bytes;
}

std::string_view view_of(const std::vector<Byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A text itself, a path to one, or a list of paths.
Corpus corpus_of(const py::handle& text) {
  if (py::isinstance<py::list>(text) || py::isinstance<py::tuple>(text)) {
    std::vector<std::string> paths;
    for (const py::handle& path : text) paths.push_back(path.cast<std::filesystem::path>().string());
    return Corpus::open_all(paths);
  }
  if (py::hasattr(text, "__fspath__")) return Corpus::open(text.cast<std::filesystem::path>().string());
  return Corpus::from_memory(bytes_of(text));
}

/// Lets Python handle its signals: Ctrl-C becomes KeyboardInterrupt here.
void check_signals() {
  const py::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

/// Calls a Python function with a report, if there is one; what it returns but False means to go on.
template <class Report>
std::function<bool(const Report&)> reporting(const py::object& callback) {
  return [&callback](const Report& report) {
    const py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    return callback.is_none() || !callback(report).is(py::bool_(false));
  };
}

LanguageModel train(const py::object& text, double seconds, std::int64_t steps, std::uint64_t seed, int threads,
                    const std::string& arch, const py::object& on_progress) {
  const Corpus corpus = corpus_of(text);
  TrainingOptions options{.seconds = seconds, .steps = steps, .seed = seed, .threads = threads, .arch = arch};
  options.on_progress = reporting<TrainingProgress>(on_progress);
  const py::gil_scoped_release release;
  return LanguageModel::train(corpus, options);
}

Score score(const LanguageModel& model, const py::object& text, int threads, bool int8, double adapt,
            const py::object& on_progress) {
  const Corpus corpus = corpus_of(text);
  ScoringOptions options{.threads = threads, .int8 = int8, .adapt = adapt};
  options.on_progress = reporting<Score>(on_progress);
  const py::gil_scoped_release release;
  return model.score(corpus, options);
}

py::bytes generate(const LanguageModel& model, const py::object& prompt, std::uint64_t bytes,
                   const GenerationOptions& options) {
  const std::vector<Byte> before = bytes_of(prompt);
  std::string text;
  {
    const py::gil_scoped_release release;
    model.generate(view_of(before), bytes, options, [&](Byte byte) {
      text += static_cast<char>(byte);
      check_signals();
    });
  }
  return text;
}

/// Calls f(model, params) for the architecture that it is.
template <class F>
auto visit(const LanguageModel& model, F&& f) {
  return std::visit([&](const auto& stored) { return f(stored.model, stored.params); }, model.stored().any);
}

template <class Model>
inline constexpr bool is_classic_v = std::is_same_v<Model, QLLKClassic<float>>;

Array logits(const LanguageModel& model, const py::object& text) {
  const std::vector<Byte> bytes = bytes_of(text);
  return visit(model, [&](const auto& chosen, const auto& params) {
    return rows_of(
        chosen, params, bytes, std::ssize(bytes), kByteValues,
        [](const auto&, auto& values) -> auto& { return values; }, check_signals);
  });
}

Array embeddings(const LanguageModel& model, const py::object& text) {
  const std::vector<Byte> bytes = bytes_of(text);
  return visit(model, [&](const auto& chosen, const auto& params) {
    if constexpr (is_classic_v<std::remove_cvref_t<decltype(chosen)>>) {
      const Index patch = chosen.config().patch;
      const Mat<float> none;
      return rows_of(
          chosen, params, bytes, (std::ssize(bytes) + patch - 1) / patch, chosen.config().dim,
          [&](const auto& cache, auto&) -> const auto& {
            return cache.plan.patches() > 0 ? cache.hidden.back() : none;
          },
          check_signals);
    } else {
      return rows_of(
          chosen, params, bytes, std::ssize(bytes), chosen.config().dim_local,
          [](const auto& cache, auto&) -> const auto& { return cache.normal; }, check_signals);
    }
  });
}

py::dict parameters(const py::object& self) {
  return visit(self.cast<const LanguageModel&>(), [&](const auto&, const auto& params) { return views(params, self); });
}

std::string architecture(const LanguageModel& model) {
  return visit(model, [](const auto& chosen, const auto&) {
    return std::string(io::Architecture<std::remove_cvref_t<decltype(chosen)>>::name);
  });
}

py::object config(const LanguageModel& model) {
  const std::string json =
      visit(model, [](const auto& chosen, const auto&) { return io::to_json(chosen.config()).dump(); });
  return py::module_::import("json").attr("loads")(json);
}

py::bytes compress(const LanguageModel& model, const py::object& text, double adapt) {
  const std::vector<Byte> bytes = bytes_of(text);
  std::vector<Byte> file;
  {
    const py::gil_scoped_release release;
    file = model.compress(view_of(bytes), adapt);
  }
  return py::bytes(reinterpret_cast<const char*>(file.data()), file.size());
}

py::bytes decompress(const LanguageModel& model, const py::object& file) {
  const std::vector<Byte> bytes = bytes_of(file);
  std::string text;
  {
    const py::gil_scoped_release release;
    text = model.decompress(bytes);
  }
  return text;
}

void bind_reports(py::module_& m) {
  py::class_<TrainingProgress>(m, "TrainingProgress")
      .def_readonly("done", &TrainingProgress::done)
      .def_readonly("bits_per_byte", &TrainingProgress::bits_per_byte)
      .def_readonly("bytes", &TrainingProgress::bytes)
      .def_readonly("seconds", &TrainingProgress::seconds);
  py::class_<Score>(m, "Score")
      .def_readonly("bytes", &Score::bytes)
      .def_readonly("nats", &Score::nats)
      .def_property_readonly("nats_per_byte", &Score::nats_per_byte)
      .def_property_readonly("bits_per_byte", &Score::bits_per_byte)
      .def("__repr__", [](const Score& score) {
        return "Score(bytes=" + std::to_string(score.bytes) +
               ", bits_per_byte=" + std::string(py::str(py::float_(score.bits_per_byte()))) + ")";
      });
}

void bind_model(py::module_& m) {
  py::class_<LanguageModel>(m, "LanguageModel")
      .def_static("train", &train, "text"_a, py::kw_only(), "seconds"_a = 0.0, "steps"_a = 0, "seed"_a = 1,
                  "threads"_a = 0, "arch"_a = "default", "on_progress"_a = py::none())
      .def_static("load", &LanguageModel::load, "path"_a, py::call_guard<py::gil_scoped_release>())
      .def("save", &LanguageModel::save, "path"_a, py::call_guard<py::gil_scoped_release>())
      .def("score", &score, "text"_a, py::kw_only(), "threads"_a = 0, "int8"_a = false, "adapt"_a = 0.0,
           "on_progress"_a = py::none())
      .def(
          "generate",
          [](const LanguageModel& model, const py::object& prompt, std::uint64_t bytes, double temperature, Index top_k,
             double top_p, Index repeat, std::uint64_t seed, bool int8) {
            return generate(model, prompt, bytes,
                            {.temperature = temperature,
                             .top_k = top_k,
                             .top_p = top_p,
                             .repeat = repeat,
                             .seed = seed,
                             .int8 = int8});
          },
          "prompt"_a, "bytes"_a, py::kw_only(), "temperature"_a = 0.8, "top_k"_a = 0, "top_p"_a = 1.0, "repeat"_a = 16,
          "seed"_a = 1, "int8"_a = false)
      .def("logits", &logits, "text"_a)
      .def("embeddings", &embeddings, "text"_a)
      .def("compress", &compress, "text"_a, py::kw_only(), "adapt"_a = 0.0)
      .def("decompress", &decompress, "file"_a)
      .def_property_readonly("parameters", &parameters)
      .def_property_readonly("arch", &architecture)
      .def_property_readonly("config", &config);
}

}  // namespace

PYBIND11_MODULE(qllk, m) {
  m.doc() = "Byte-level language models in linear time, trained and run on a CPU";
  m.attr("__version__") = std::to_string(QLLK_VERSION_MAJOR) + "." + std::to_string(QLLK_VERSION_MINOR) + "." +
                          std::to_string(QLLK_VERSION_PATCH);
  data::read_compressed_files();
  bind_reports(m);
  bind_model(m);
}

}  // namespace qllk::python
