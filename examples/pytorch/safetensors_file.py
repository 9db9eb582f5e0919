"""Reads and writes safetensors files with numpy: the format of QLLK's model files.

    8 bytes   header length, little-endian
    header    JSON: {"name": {"dtype": "F32", "shape": [out, in], "data_offsets": [begin, end]}, "__metadata__": {...}}
    data      each tensor row-major and little-endian
"""
import json
import os
import struct
import tempfile

import numpy

DTYPES = {"U8": "u1", "I32": "<i4", "U32": "<u4", "I64": "<i8", "U64": "<u8", "F16": "<f2", "F32": "<f4", "F64": "<f8"}


def read(path):
    """Returns (tensors, metadata): arrays by name, and the file's strings. Tensors of BF16 come as float32.

    Raises ValueError that names the file if it is not a safetensors file.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        (size,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8:8 + size])
        metadata = header.pop("__metadata__", {})
        tensors = {name: tensor(data, 8 + size, **entry) for name, entry in header.items()}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"'{path}' is not a safetensors file: {error}") from None
    return tensors, metadata


def tensor(data, start, dtype, shape, data_offsets):
    begin, end = data_offsets
    raw = data[start + begin:start + end]
    if dtype == "BF16":  # the upper half of a float32
        return (numpy.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    return numpy.frombuffer(raw, DTYPES[dtype]).reshape(shape)


def write(path, tensors, metadata):
    """Writes float32 tensors by name, with the checksum that QLLK's readers compare: a whole file or none.

    Cost: 0.6 µs a number, for the checksum.
    """
    header, data, end = {"__metadata__": {**metadata, "checksum": "0" * 16}}, [], 0
    for name in sorted(tensors):
        raw = numpy.ascontiguousarray(tensors[name], "<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [end, end + len(raw)]}
        end += len(raw)
        data.append(raw)
    text = json.dumps(header, separators=(",", ":"), sort_keys=True)
    text += " " * (-len(text.encode()) % 8)
    content = b"".join([struct.pack("<Q", len(text.encode())), text.encode(), *data])
    content = content.replace(b'"checksum":"' + b"0" * 16, b'"checksum":"%016x' % checksum(content), 1)
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(path)))
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def mix64(x):
    """One round of splitmix64 (Steele, Lea and Flood 2014, figure 16), of an int below 2^64 or of numpy.uint64."""
    mask = 0xFFFFFFFFFFFFFFFF
    if isinstance(x, numpy.ndarray):
        word = numpy.uint64
        x = x + word(0x9E3779B97F4A7C15)
        x = (x ^ (x >> word(30))) * word(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> word(27))) * word(0x94D049BB133111EB)
        return x ^ (x >> word(31))
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def checksum(content):
    """The checksum of include/qllk/files/checksum.hpp."""
    value, whole = 0, len(content) // 8 * 8
    for word in memoryview(content[:whole]).cast("Q"):
        value = mix64(value ^ word)
    return mix64(mix64(value ^ int.from_bytes(content[whole:], "little")) ^ len(content))
