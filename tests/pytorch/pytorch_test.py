"""Model files outside of QLLK: read with numpy alone, converted from PyTorch checkpoints, and run in PyTorch.

    pytorch_test.py DUMP_LOGITS...      the command of dump_logits.cpp

Exit status 77: skipped, as numpy or PyTorch is missing.
"""
import json
import math
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import tempfile
import unittest
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "examples" / "pytorch"))
sys.dont_write_bytecode = True

try:
    import numpy
except ImportError:
    print("skipped: numpy is not installed")
    sys.exit(77)
try:
    import torch
    torch.set_num_threads(1)
except ImportError:
    torch = None

import convert_checkpoint
import safetensors_file

DUMP = []
TEXT = (b"The quick brown fox jumps over the lazy dog. the QUICK brown Fox_2 jumped!\n" * 3 + bytes(range(256)) +
        (HERE.parent / "README.md").read_bytes()[:1500] + b"\0\0\0\0" * 20 + b"z" * 80 + "grün, ответ\n".encode() * 4)


def read_independently(path):
    """A reader of the documented format, of nothing but Python and numpy."""
    raw = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + length])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        assert entry["dtype"] == "F32"
        values = numpy.frombuffer(raw[8 + length + begin:8 + length + end], dtype="<f4")
        tensors[name] = values.reshape(entry["shape"])
    return tensors, metadata


def classic_logits(tensors, config, text):
    """The classic network in numpy, in double precision."""
    p = {name: value.astype(numpy.float64) for name, value in tensors.items()}
    patch = config["patch"]

    def affine(x, name):
        return x @ p[name + ".weight"].T + p[name + ".bias"]

    def norm(x, name):
        centred = x - x.mean(1, keepdims=True)
        normal = centred / numpy.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
        return normal * p[name + ".weight"] + p[name + ".bias"]

    data = numpy.frombuffer(bytes(patch - 1) + text, numpy.uint8)[:len(text)]
    h = p["byte_embedding.weight"][data].reshape(len(text) // patch, patch, -1).mean(1)
    h = h + numpy.tanh(h @ p["hash_proj"])
    erf = numpy.vectorize(math.erf)
    for i in range(config["layers"]):
        at = f"layers.{i}."
        memory = numpy.cumsum(affine(h, at + "0.k_proj") * affine(h, at + "0.v_proj"), 0)
        h = h + affine(h, at + "0.q_proj") * memory / (1 + numpy.exp(-affine(h, at + "0.gate")))
        wide = affine(norm(h, at + "1"), at + "2")
        h = norm(affine(wide * (0.5 + 0.5 * erf(wide / 2**0.5)), at + "4"), at + "5")
    return affine(h, "decoder_head").reshape(len(text), 256)


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def make(self, name):
        subprocess.run([*DUMP, "make", name, self.folder / name], check=True)
        return self.folder / name

    def logits(self, model, text):
        (self.folder / "text").write_bytes(text)
        subprocess.run([*DUMP, "logits", model, self.folder / "text", self.folder / "out"], check=True)
        return numpy.fromfile(self.folder / "out", "<f4").reshape(len(text), 256)

    def assert_close(self, found, expected, what, most=1e-5):
        error = float(numpy.abs(found - expected).max())
        print(f"{what}: {expected.shape[0]} positions, logits up to {numpy.abs(expected).max():.2f}, "
              f"largest difference {error:.1e}, allowed {most:.1e}", flush=True)
        self.assertTrue(numpy.abs(expected).max() > 1)
        self.assertLessEqual(error, most)

    def message(self, run):
        with self.assertRaises(ValueError) as caught:
            run()
        return str(caught.exception)


class Reader(Case):
    def test_numpy_alone_reads_a_model_and_computes_its_logits(self):
        tensors, metadata = read_independently(self.make("classic"))
        self.assertEqual((metadata["format"], metadata["arch"]), ("qllk", "classic"))
        text = TEXT[:800]
        found = classic_logits(tensors, json.loads(metadata["config"]), text)
        self.assert_close(found, self.logits(self.folder / "classic", text), "numpy, classic")

    def test_writes_what_the_library_writes(self):
        model = self.make("small_windows")
        tensors, metadata = safetensors_file.read(model)
        safetensors_file.write(self.folder / "again", tensors, {k: v for k, v in metadata.items() if k != "checksum"})
        again, its_metadata = safetensors_file.read(self.folder / "again")
        self.assertEqual(its_metadata.keys(), metadata.keys())
        for name, value in tensors.items():
            self.assertTrue(numpy.array_equal(value, again[name]), name)
        # The library compares the checksum, and finds damage.
        numpy.testing.assert_array_equal(self.logits(self.folder / "again", TEXT), self.logits(model, TEXT))
        damaged = bytearray((self.folder / "again").read_bytes())
        damaged[-1] ^= 1
        (self.folder / "again").write_bytes(damaged)
        with self.assertRaises(subprocess.CalledProcessError):
            subprocess.run([*DUMP, "logits", self.folder / "again", self.folder / "text", self.folder / "out"],
                           check=True, stderr=subprocess.DEVNULL)

    def test_reads_16_bit_tensors(self):
        numbers = numpy.array([1, -2.5, 6e-8, numpy.inf], numpy.float16)
        upper = numpy.array([0x3F80, 0xC020, 0x0001, 0x7F80], "<u2")
        header = json.dumps({"h": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]},
                             "b": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [8, 16]}}).encode()
        (self.folder / "f").write_bytes(struct.pack("<Q", len(header)) + header + numbers.tobytes() + upper.tobytes())
        tensors, _ = safetensors_file.read(self.folder / "f")
        self.assertEqual(tensors["h"].tolist(), numbers.tolist())
        self.assertEqual(tensors["b"].tolist(), [[1, -2.5], [2.0**-133, numpy.inf]])

    def test_foreign_files_are_errors(self):
        for content in (b"", b"1234567890", struct.pack("<Q", 4) + b"[[]]", struct.pack("<Q", 10**6) + b"{" * 10**6):
            (self.folder / "f").write_bytes(content)
            self.assertIn("is not a safetensors file", self.message(lambda: safetensors_file.read(self.folder / "f")))


class CodeInAPickle:
    def __reduce__(self):
        return os.mkdir, (str(CodeInAPickle.marker),)


@unittest.skipUnless(torch, "PyTorch is not installed")
class Converter(Case):
    def tensors(self):
        golden, _ = safetensors_file.read(HERE.parent / "golden" / "classic_checkpoint.safetensors")
        return {name: torch.from_numpy(value.copy()) for name, value in golden.items()}

    def refused(self, checkpoint):
        path = self.folder / "c.pt"
        torch.save(checkpoint, path)
        message = self.message(lambda: convert_checkpoint.convert(path, self.folder / "m"))
        self.assertFalse((self.folder / "m").exists())
        return message

    def test_a_checkpoint_becomes_a_model_with_its_logits(self):
        import qllk_torch
        tensors = self.tensors()
        config = {"dim": 16, "layers": 2, "patch": 4}
        network = qllk_torch.Classic(config)
        network.load_state_dict(tensors)
        with torch.no_grad():
            expected = network(torch.tensor([list(TEXT)]))[0].numpy()
        transposed = {**tensors, "hash_proj": tensors["hash_proj"].T.contiguous().T}  # other strides
        for checkpoint in (tensors, network.state_dict(), transposed,
                           {"epoch": 3, "model_state_dict": {"module." + k: v for k, v in tensors.items()}},
                           {"state_dict": {k: nn_parameter(v) for k, v in tensors.items()}, "loss": 1.5}):
            torch.save(checkpoint, self.folder / "c.pt")
            found, count = convert_checkpoint.convert(self.folder / "c.pt", self.folder / "m.safetensors")
            self.assertEqual((found, count), (config, sum(t.numel() for t in tensors.values())))
            logits = self.logits(self.folder / "m.safetensors", TEXT)
        self.assert_close(logits, expected, "converted checkpoint")

    def test_16_bit_and_double_checkpoints(self):
        tensors = self.tensors()
        for kind in (torch.float16, torch.bfloat16, torch.float64):
            torch.save({name: value.to(kind) for name, value in tensors.items()}, self.folder / "c.pt")
            convert_checkpoint.convert(self.folder / "c.pt", self.folder / "m")
            found, _ = safetensors_file.read(self.folder / "m")
            for name, value in tensors.items():
                self.assertTrue(torch.equal(torch.from_numpy(found[name].copy()), value.to(kind).float()), name)

    def test_no_code_of_a_checkpoint_runs(self):
        CodeInAPickle.marker = self.folder / "was_run"
        self.assertIn("asks for posix.mkdir, which is no tensor", self.refused({"model": CodeInAPickle()}))
        with zipfile.ZipFile(self.folder / "c.pt", "w") as archive:
            archive.writestr("c/data.pkl", pickle.dumps(CodeInAPickle()))
        self.assertIn("asks for", self.message(lambda: convert_checkpoint.read_tensors(self.folder / "c.pt")))
        (self.folder / "c.pt").write_bytes(pickle.dumps(CodeInAPickle()))
        self.assertIn("is not a checkpoint",
                      self.message(lambda: convert_checkpoint.read_tensors(self.folder / "c.pt")))
        self.assertFalse(CodeInAPickle.marker.exists())

    def test_other_checkpoints_are_errors(self):
        tensors = self.tensors()
        self.assertIn("lacks tensor 'hash_proj'", self.refused({k: v for k, v in tensors.items() if k != "hash_proj"}))
        self.assertIn("unknown tensor 'more'", self.refused({**tensors, "more": torch.zeros(2)}))
        self.assertIn("expected [16, 16]", self.refused({**tensors, "hash_proj": torch.zeros(3, 16)}))
        self.assertIn("not finite", self.refused({**tensors, "hash_proj": torch.full((16, 16), float("nan"))}))
        self.assertIn("not a checkpoint of the original network", self.refused({"lm_head": torch.zeros(2)}))
        self.assertIn("reaches past", self.refused({**tensors, "hash_proj": torch.zeros(1).expand(10**6, 10**6)}))
        self.assertIn("no tensor", self.refused({**tensors, "step": 3}))
        self.assertIn("holds no state_dict", self.refused([1]))

    def test_every_damaged_checkpoint_is_an_error_or_another_valid_one(self):
        path = self.folder / "c.pt"
        torch.save(self.tensors(), path)
        whole = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            (info,) = [i for i in archive.infolist() if i.filename.endswith("data.pkl")]
            start = whole.index(archive.read(info))
        errors = 0
        for at in [*range(start, start + info.file_size, 7), *range(0, len(whole), 4999)]:
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1:])
            try:
                convert_checkpoint.read_tensors(path)
            except convert_checkpoint.Refused:
                errors += 1
        print(f"{errors} damaged checkpoints refused", flush=True)
        self.assertGreater(errors, 100)


def nn_parameter(tensor):
    return torch.nn.Parameter(tensor)


@unittest.skipUnless(torch, "PyTorch is not installed")
class Modules(Case):
    def check(self, name):
        """The bound is 1e-5, or 4 times what PyTorch in 32 bits differs from PyTorch in 64 bits, where that is more."""
        import qllk_torch
        path = self.make(name)
        model = qllk_torch.load(path)
        data = torch.tensor([list(TEXT), list(TEXT[::-1])])
        with torch.no_grad():
            logits = model(data)
            most = max(1e-5, 4 * float((logits - model.double()(data)).abs().max()))
        self.assertEqual(list(logits.shape), [2, len(TEXT), 256])
        for found, text, what in ((logits[0], TEXT, ""), (logits[1], TEXT[::-1], ", reversed text")):
            self.assert_close(found.numpy(), self.logits(path, text), f"PyTorch, {name}{what}", most)

    def test_classic(self):
        self.check("classic")

    def test_default_with_small_windows(self):
        self.check("small_windows")

    def test_default_with_heads_and_exact_bigrams(self):
        self.check("heads")

    def test_default_with_normalised_memories(self):
        self.check("normalised")  # to normalise a memory that is nearly empty magnifies rounding

    def test_default_without_what_may_be_left_out(self):
        self.check("bare")

    def test_gradients_reach_every_parameter_and_a_saved_module_loads(self):
        import qllk_torch
        model = qllk_torch.load(self.make("small_windows"))
        data = torch.tensor([list(TEXT[:600])])
        torch.nn.functional.cross_entropy(model(data[:, :-1])[0], data[0, 1:]).backward()
        for name, parameter in model.named_parameters():
            self.assertGreater(float(parameter.grad.abs().max()), 0, name)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.01 * parameter.grad
            expected = model(data)[0].numpy()
        qllk_torch.save(self.folder / "tuned", model)
        self.assert_close(self.logits(self.folder / "tuned", TEXT[:600]), expected, "tuned in PyTorch")

    def test_other_files_are_errors(self):
        import qllk_torch
        tensors, metadata = safetensors_file.read(self.make("bare"))
        config = json.loads(metadata["config"])
        for changed, message in (({"format": "pt"}, "not a model file"), ({"arch": "other"}, "'other'"),
                                 ({"config": json.dumps({**config, "dim": 25})}, "cannot be used"),
                                 ({"config": "{}"}, "cannot be used"),
                                 ({"config": json.dumps({**config, "mixer": {"name": "mamba"}})}, "'mamba'")):
            safetensors_file.write(self.folder / "f", tensors, {**metadata, **changed})
            self.assertIn(message, self.message(lambda: qllk_torch.load(self.folder / "f")))


if __name__ == "__main__":
    DUMP = sys.argv[1:]
    result = unittest.main(argv=sys.argv[:1], verbosity=2, exit=False).result
    sys.exit(1 if not result.wasSuccessful() else 0 if torch else 77)
