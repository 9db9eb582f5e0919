#!/usr/bin/env python3
"""Turns a checkpoint of the original PyTorch code into a QLLK model file of the classic model.

    convert_checkpoint.py CHECKPOINT.pt MODEL.safetensors

CHECKPOINT.pt is what torch.save wrote: the state_dict of the network, or a dictionary that holds one under "model",
"state_dict" or "model_state_dict". Only tensors are read. A file that asks for anything else, such as code to run, is
an error. Numbers are converted to float32.

Needs numpy; PyTorch is not needed.
"""
import collections
import io
import json
import math
import pickle
import re
import sys
import zipfile

import numpy

import safetensors_file

STORAGES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16",
            "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "ByteStorage": "u1", "CharStorage": "i1",
            "BoolStorage": "?"}


class Refused(ValueError):
    """The file cannot be used; the message says why."""


def rebuild_tensor(storage, offset, size, stride, *_):
    """An array of that size on the numbers of a storage."""
    numbers = [offset, *size, *stride]
    if not isinstance(storage, numpy.ndarray) or not all(type(n) is int and n >= 0 for n in numbers):
        raise Refused("has a tensor of an impossible shape")
    if len(size) != len(stride) or len(size) > 8:
        raise Refused("has a tensor with other strides than extents")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride))
    if 0 not in size and (last >= storage.size or math.prod(size) > storage.size):
        raise Refused("has a tensor that reaches past its numbers")
    if 0 in size:
        return numpy.empty(size, storage.dtype)
    steps = [step * storage.itemsize for step in stride]
    return numpy.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


def rebuild_parameter(tensor, *_):
    return tensor


class Unpickler(pickle.Unpickler):
    """Knows tensors and nothing else: no name of the pickle is ever imported."""

    NAMES = {("collections", "OrderedDict"): collections.OrderedDict,
             ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
             ("torch._utils", "_rebuild_parameter"): rebuild_parameter}

    def __init__(self, archive, folder):
        super().__init__(io.BytesIO(archive.read(folder + "/data.pkl")))
        self.archive, self.folder = archive, folder

    def find_class(self, module, name):
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) not in self.NAMES:
            raise Refused(f"asks for {module}.{name}, which is no tensor: save model.state_dict() alone")
        return self.NAMES[module, name]

    def persistent_load(self, key):
        try:
            kind, dtype, name, _, count = key
            info = self.archive.getinfo(f"{self.folder}/data/{name}")
        except (TypeError, ValueError, KeyError):
            raise Refused("lacks the numbers of a tensor") from None
        if kind != "storage" or dtype not in STORAGES.values() or info.compress_type != zipfile.ZIP_STORED:
            raise Refused("has a tensor whose numbers are stored in another way than torch.save does")
        raw = self.archive.read(info)
        if dtype == "bfloat16":
            numbers = (numpy.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        else:
            numbers = numpy.frombuffer(raw, dtype)
        if numbers.size != count:
            raise Refused("has a tensor with another number of values than it says")
        return numbers


def read_tensors(path):
    """The tensors of a .pt file by name. Runs no code of the file. Raises Refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            folders = [name[:-len("/data.pkl")] for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(folders) != 1:
                raise Refused("is not a checkpoint of torch.save")
            if archive.getinfo(folders[0] + "/data.pkl").file_size > 100_000_000:
                raise Refused("has an index of more than 100 MB")
            root = Unpickler(archive, folders[0]).load()
    except zipfile.BadZipFile:
        raise Refused("is not a checkpoint of torch.save (of PyTorch 1.6 or later)") from None
    except Refused:
        raise
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can end in any of them
        raise Refused(f"is damaged: {type(error).__name__} {error}") from None
    return state_dict(root)


def state_dict(root):
    for key in ("model_state_dict", "state_dict", "model"):
        if isinstance(root, dict) and isinstance(root.get(key), dict):
            root = root[key]
    if not isinstance(root, dict):
        raise Refused("holds no state_dict")
    tensors = {}
    for name, value in root.items():
        if not isinstance(name, str) or not isinstance(value, numpy.ndarray):
            raise Refused(f"has {name!r} that is no tensor: save model.state_dict() alone")
        tensors[re.sub(r"^(module\.|_orig_mod\.)+", "", name)] = value
    return tensors


def expected_shapes(dim, layers, patch):
    """The tensors of the original network, version 1.0."""
    shapes = {"byte_embedding.weight": (256, dim), "hash_proj": (dim, dim),
              "decoder_head.weight": (256 * patch, dim), "decoder_head.bias": (256 * patch,)}
    for i in range(layers):
        for part in ("0.q_proj", "0.k_proj", "0.v_proj", "0.gate"):
            shapes[f"layers.{i}.{part}.weight"], shapes[f"layers.{i}.{part}.bias"] = (dim, dim), (dim,)
        for norm in (1, 5):
            shapes[f"layers.{i}.{norm}.weight"], shapes[f"layers.{i}.{norm}.bias"] = (dim,), (dim,)
        shapes[f"layers.{i}.2.weight"], shapes[f"layers.{i}.2.bias"] = (2 * dim, dim), (2 * dim,)
        shapes[f"layers.{i}.4.weight"], shapes[f"layers.{i}.4.bias"] = (dim, 2 * dim), (dim,)
    return shapes


def configuration(tensors):
    """Dim, layers and patch that the shapes tell. Raises Refused if these are not the classic network's tensors."""
    try:
        dim = tensors["byte_embedding.weight"].shape[1]
        patch = tensors["decoder_head.bias"].shape[0] // 256
    except (KeyError, IndexError):
        raise Refused("is not a checkpoint of the original network: it has "
                      + (", ".join(sorted(tensors)[:4]) or "no tensors")) from None
    layers = 0
    while f"layers.{layers}.0.q_proj.weight" in tensors:
        layers += 1
    expected = expected_shapes(dim, layers, patch)
    for name in sorted(expected.keys() ^ tensors.keys()):
        raise Refused(f"{'lacks' if name in expected else 'has an unknown'} tensor '{name}'")
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise Refused(f"has '{name}' of shape {list(tensors[name].shape)}, expected {list(shape)}")
        if not numpy.isfinite(tensors[name]).all():
            raise Refused(f"has a value in tensor '{name}' that is not finite")
    return {"dim": dim, "layers": layers, "patch": patch}


def convert(checkpoint, model):
    """Writes the model file. Raises Refused or OSError; then there is no new file."""
    tensors = read_tensors(checkpoint)
    config = configuration(tensors)
    metadata = {"format": "qllk", "version": "1", "arch": "classic", "config": json.dumps(config)}
    safetensors_file.write(model, tensors, metadata)
    return config, sum(tensor.size for tensor in tensors.values())


def main(arguments):
    if len(arguments) != 2 or arguments[0].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        return 0 if arguments in (["--help"], ["-h"]) else 2
    try:
        config, count = convert(*arguments)
    except Refused as error:
        print(f"convert_checkpoint: '{arguments[0]}' {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"convert_checkpoint: {error}", file=sys.stderr)
        return 1
    print(f"{arguments[1]}: classic model, {count:,} parameters, {json.dumps(config)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
