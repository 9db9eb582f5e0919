"""The Python module: train, score, generate, arrays, callbacks, Ctrl-C, and threads."""
import gc
import gzip
import math
import os
import pathlib
import signal
import sys
import tempfile
import threading
import time
import unittest

import numpy

import qllk


def text_of(size):
    lines = "".join(f"Line {i} of a text that is {i * 7 % 10} parts noise.\n" for i in range(size // 30))
    return lines[:size].encode()


TEXT = text_of(20000)


class Model(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.path = pathlib.Path(cls.folder.name)
        cls.models = {arch: qllk.LanguageModel.train(TEXT, steps=30, arch=arch) for arch in ("default", "classic")}
        cls.model = cls.models["default"]

    def test_trains_scores_and_generates(self):
        score = self.model.score(TEXT[:5000])
        self.assertEqual(score.bytes, 5000)
        self.assertTrue(score.bits_per_byte < 2, score)
        self.assertAlmostEqual(score.nats, score.nats_per_byte * 5000)
        text = self.model.generate("Line 7", 50, seed=3)
        self.assertIsInstance(text, bytes)
        self.assertEqual(len(text), 50)
        self.assertEqual(text, self.model.generate(b"Line 7", 50, seed=3))
        self.assertNotEqual(text, self.model.generate(b"Line 7", 50, seed=4, temperature=2))

    def test_saves_loads_and_compresses(self):
        for arch, model in self.models.items():
            model.save(self.path / arch)
            again = qllk.LanguageModel.load(self.path / arch)
            self.assertEqual(again.arch, arch)
            self.assertEqual(again.config, model.config)
            self.assertEqual(again.score(TEXT[:2000]).nats, model.score(TEXT[:2000]).nats)
            packed = model.compress(TEXT[:2000])
            self.assertLess(len(packed), 2000)
            self.assertEqual(again.decompress(packed), TEXT[:2000])
        adapted = self.model.compress(TEXT[:2000], adapt=0.02)
        self.assertEqual(self.model.decompress(adapted), TEXT[:2000])
        self.assertNotEqual(self.model.score(TEXT[:2000], adapt=0.02).nats, self.model.score(TEXT[:2000]).nats)

    def test_texts_are_bytes_str_buffers_or_paths(self):
        (self.path / "text").write_bytes(TEXT[:3000])
        (self.path / "more").write_bytes(TEXT[3000:4000])
        nats = self.model.score(TEXT[:4000]).nats
        for text in (TEXT[:4000].decode(), bytearray(TEXT[:4000]), numpy.frombuffer(TEXT[:4000], numpy.uint8),
                     [self.path / "text", self.path / "more"]):
            self.assertEqual(self.model.score(text).nats, nats)
        self.assertEqual(self.model.score(self.path / "text").bytes, 3000)
        self.assertEqual(self.model.score("grün").bytes, 5)
        with gzip.open(self.path / "text.gz", "wb") as file:
            file.write(TEXT[:3000])
        try:
            found = self.model.score(self.path / "text.gz")
        except RuntimeError as error:
            self.skipTest(str(error))  # built without zlib
        self.assertEqual(found.nats, self.model.score(TEXT[:3000]).nats)

    def test_logits_are_those_of_the_score(self):
        for arch, model in self.models.items():
            logits = model.logits(TEXT[:5000])
            self.assertEqual((logits.shape, logits.dtype), ((5000, 256), numpy.float32))
            self.assertTrue(logits.flags.c_contiguous and logits.flags.writeable)
            wide = logits.astype(numpy.float64)
            following = numpy.frombuffer(TEXT[1:5000], numpy.uint8)
            nats = numpy.logaddexp.reduce(wide[:-1], 1) - wide[numpy.arange(4999), following]
            # The score begins with a start byte, so that these differ in what the first bytes see.
            self.assertLess(abs(nats.mean() - model.score(TEXT[:5000]).nats_per_byte), 0.05, arch)
            numpy.testing.assert_array_equal(logits[:1000], model.logits(TEXT[:1000]))
            self.assertEqual(model.logits(b"").shape, (0, 256))

    def test_embeddings_are_what_the_last_layer_sees(self):
        text = TEXT[:4500]
        p = self.models["classic"].parameters
        seen = self.models["classic"].embeddings(text)
        self.assertEqual(seen.shape, (563, 256))
        logits = (seen @ p["decoder_head.weight"].T + p["decoder_head.bias"]).reshape(-1, 256)[:4500]
        self.assertLess(numpy.abs(logits - self.models["classic"].logits(text)).max(), 1e-4)
        self.assertEqual(self.model.embeddings(text).shape, (4500, self.model.config["dim_local"]))
        self.assertGreater(self.model.embeddings(text).std(), 0.1)

    def test_parameters_are_views_that_keep_the_model_alive(self):
        model = qllk.LanguageModel.train(TEXT, steps=2)
        model.save(self.path / "views")
        weight = model.parameters["head.weight"]
        self.assertEqual(weight.shape, (256, model.config["dim_local"]))
        self.assertFalse(weight.flags.owndata or weight.flags.writeable)
        self.assertEqual(weight.ctypes.data, model.parameters["head.weight"].ctypes.data)
        expected = weight.copy()
        del model
        gc.collect()
        numpy.testing.assert_array_equal(weight, expected)
        again = qllk.LanguageModel.load(self.path / "views").parameters
        numpy.testing.assert_array_equal(again["head.weight"], expected)
        self.assertEqual(again["hashing.table"].shape[1], again["embedding.weight"].shape[1])
        self.assertTrue(all(view.size for view in again.values()))

    def test_progress_can_end_the_training(self):
        seen = []

        def on_progress(progress):
            seen.append((progress.done, progress.bytes, progress.bits_per_byte, progress.seconds))
            return len(seen) < 3

        qllk.LanguageModel.train(TEXT, steps=50, on_progress=on_progress)
        self.assertEqual(len(seen), 3)
        self.assertTrue(0 < seen[0][0] < seen[1][0] < seen[2][0] < 1)
        self.assertTrue(all(math.isfinite(value) for row in seen for value in row))
        scores = []
        self.model.score(TEXT, threads=1, on_progress=scores.append)
        self.assertEqual(scores[-1].bytes, len(TEXT))

    def test_errors_of_callbacks_pass_through(self):
        def fail(_):
            raise LookupError("mine")

        with self.assertRaisesRegex(LookupError, "mine"):
            qllk.LanguageModel.train(TEXT, steps=50, on_progress=fail)
        with self.assertRaisesRegex(LookupError, "mine"):
            self.model.score(TEXT, on_progress=fail)

    def test_bad_arguments_are_errors_that_name_them(self):
        with self.assertRaisesRegex(ValueError, "architecture is 'other'"):
            qllk.LanguageModel.train(TEXT, steps=1, arch="other")
        with self.assertRaisesRegex(ValueError, "-1"):
            qllk.LanguageModel.train(TEXT, steps=-1)
        with self.assertRaisesRegex(TypeError, "type int, expected str or bytes"):
            self.model.score(3)
        with self.assertRaisesRegex(RuntimeError, "No such file"):
            qllk.LanguageModel.load(self.path / "missing")
        with self.assertRaisesRegex(RuntimeError, "No such file"):
            self.model.score(self.path / "missing")
        with self.assertRaises(RuntimeError):
            self.model.decompress(b"damaged")
        with self.assertRaises(TypeError):
            qllk.LanguageModel()


class Signals(unittest.TestCase):
    def interrupted(self, run):
        """Seconds from SIGINT to KeyboardInterrupt."""
        sent = []

        def send():
            time.sleep(0.5)
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

        sender = threading.Thread(target=send)
        sender.start()
        with self.assertRaises(KeyboardInterrupt):
            run()
        seconds = time.monotonic() - sent[0]
        sender.join()
        return seconds

    def test_ctrl_c_ends_what_takes_long(self):
        model = qllk.LanguageModel.train(TEXT, steps=2)
        for run in (lambda: qllk.LanguageModel.train(TEXT, seconds=120), lambda: model.generate("", 100_000_000),
                    lambda: model.score(TEXT * 2000), lambda: model.logits(TEXT * 20)):
            seconds = self.interrupted(run)
            self.assertLess(seconds, 20)

    def test_other_threads_run_meanwhile(self):
        done, counts = threading.Event(), []

        def count():
            while not done.is_set():
                counts.append(time.monotonic())
                time.sleep(0.005)

        counter = threading.Thread(target=count)
        counter.start()
        start = time.monotonic()
        qllk.LanguageModel.train(TEXT, seconds=1.5, threads=1)
        end = time.monotonic()
        done.set()
        counter.join()
        self.assertGreater(len([t for t in counts if start < t < end]), 20)


class Hints(unittest.TestCase):
    def test_every_public_name_has_a_hint(self):
        import ast
        hints = pathlib.Path(qllk.__file__).parent / "qllk.pyi"
        tree = ast.parse(hints.read_text())
        classes = {node.name: {f.name for f in node.body if isinstance(f, ast.FunctionDef)}
                   for node in tree.body if isinstance(node, ast.ClassDef)}
        public = {name for name in dir(qllk) if not name.startswith("_")}
        self.assertEqual(public, set(classes))
        for name, members in classes.items():
            self.assertEqual({m for m in vars(getattr(qllk, name)) if not m.startswith("_")}, members, name)


if __name__ == "__main__":
    print(sys.version)
    unittest.main()
