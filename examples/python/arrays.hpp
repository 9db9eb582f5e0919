// numpy arrays of what a model computes and holds.
#pragma once

#include <pybind11/numpy.h>

#include <algorithm>
#include <vector>

#include "qllk/core/parameters.hpp"
#include "qllk/core/threads.hpp"
#include "qllk/core/types.hpp"
#include "qllk/io/tensor_form.hpp"

namespace qllk::python {

namespace py = pybind11;
using Array = py::array_t<float>;

/// The values of a tensor where they lie, read-only, in the shape that a file gives it. They keep `owner` alive.
template <class Leaf>
Array view(const Leaf& leaf, const py::handle& owner) {
  const io::TensorForm form = io::tensor_form(leaf);
  constexpr auto kSize = static_cast<py::ssize_t>(sizeof(float));
  const std::vector<py::ssize_t> shape(form.shape.begin(), form.shape.end());
  std::vector<py::ssize_t> strides{kSize};
  if (shape.size() == 2 && shape[0] == form.rows)
    strides = {kSize, kSize * form.rows};  // columns next to each other
  else if (shape.size() == 2)
    strides = {kSize * shape.back(), kSize};
  Array array(shape, strides, leaf.data(), owner);
  array.attr("setflags")(py::arg("write") = false);
  return array;
}

/// All learned tensors by their names in a file.
template <class Params>
py::dict views(const Params& params, const py::handle& owner) {
  py::dict all;
  for_each_parameter(
      [&](const Path& path, const auto& leaf) {
        if (leaf.size() > 0) all[py::str(path.str())] = view(leaf, owner);
      },
      params);
  return all;
}

/// What `give(cache, logits)` has of each chunk, [width, columns], as the rows of one array. The stream starts with the
/// text. Memory besides the array: a chunk's activations. `pause` is called between chunks, and may throw.
template <class Model, class Give, class Pause>
Array rows_of(const Model& model, const typename Model::Params& params, Bytes text, Index rows, Index width,
              Give&& give, Pause&& pause) {
  constexpr std::size_t kChunk = 2048;  // positions
  Array array({static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(width)});
  float* out = array.mutable_data();
  const py::gil_scoped_release release;
  auto state = model.initial_state(1);
  typename Model::Cache cache;
  Mat<float> logits;
  for (; !text.empty(); text = text.subspan(std::min(kChunk, text.size()))) {
    pause();
    const FlushDenormals flush;
    model.forward(params, text.first(std::min(kChunk, text.size())), state, cache, logits);
    const auto& values = give(cache, logits);
    out = std::copy_n(values.data(), values.size(), out);
  }
  return array;
}

}  // namespace qllk::python
