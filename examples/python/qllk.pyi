"""Byte-level language models in linear time, trained and run on a CPU.

A text is bytes or str (as UTF-8), a path (pathlib.Path: a file or a folder), or a list of paths. Where a text must be
in memory it is bytes or str.

Errors: ValueError for an option outside its range or a text too short, RuntimeError for files, TypeError for a text of
another type. Ctrl-C ends training, scoring, generating, logits and embeddings with KeyboardInterrupt. All of them let
other Python threads run.
"""
import os
from collections.abc import Callable, Sequence
from typing import Any, Union

import numpy
import numpy.typing

__version__: str

Data = Union[str, bytes, bytearray, memoryview]
Text = Union[Data, os.PathLike[str], Sequence[os.PathLike[str]]]
Array = numpy.typing.NDArray[numpy.float32]

class TrainingProgress:
    """How far training is."""

    @property
    def done(self) -> float:
        """Share of the budget, 0 to 1."""
    @property
    def bits_per_byte(self) -> float:
        """Of the last batch, before its update."""
    @property
    def bytes(self) -> int:
        """Trained on."""
    @property
    def seconds(self) -> float: ...

class Score:
    """The sum of -log p(byte | all bytes before it) over every byte of a text."""

    @property
    def bytes(self) -> int: ...
    @property
    def nats(self) -> float: ...
    @property
    def nats_per_byte(self) -> float: ...
    @property
    def bits_per_byte(self) -> float: ...

class LanguageModel:
    """A trained model, whatever its architecture. It never changes."""

    @staticmethod
    def train(
        text: Text,
        *,
        seconds: float = 0,
        steps: int = 0,
        seed: int = 1,
        threads: int = 0,
        arch: str = "default",
        on_progress: Callable[[TrainingProgress], bool | None] | None = None,
    ) -> LanguageModel:
        """Trains a new model on all of the text, for 90 seconds where no budget is given.

        The same steps, text and seed give the weights of qllk-train, for any number of threads (0: all processors).
        on_progress is called after every update; False ends the training there.
        """
    @staticmethod
    def load(path: str | os.PathLike[str]) -> LanguageModel:
        """Reads a file that save or qllk-train has made."""
    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a model file, whole or not at all."""
    def score(
        self,
        text: Text,
        *,
        threads: int = 0,
        int8: bool = False,
        adapt: float = 0,
        on_progress: Callable[[Score], bool | None] | None = None,
    ) -> Score:
        """Scores every byte of a text, each predicted from all before it. on_progress gets the score so far.

        adapt: rate at which hashed rows learn from the text on the way; 0.02 is usual.
        """
    def generate(
        self,
        prompt: Data,
        bytes: int,
        *,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1,
        repeat: int = 16,
        seed: int = 1,
        int8: bool = False,
    ) -> bytes:
        """The next bytes after a prompt. Repetitions of more than `repeat` bytes become unlikely; 0: none does."""
    def logits(self, text: Data) -> Array:
        """[bytes, 256]: row t predicts byte t + 1 from bytes 0 to t."""
    def embeddings(self, text: Data) -> Array:
        """What the last layer sees: [bytes, dim_local] of the default model, [patches, dim] of the classic one."""
    def compress(self, text: Data, *, adapt: float = 0) -> bytes:
        """Fewer bytes, from which decompress makes these again: with the same weights, on the same build.

        adapt: as in score.
        """
    def decompress(self, file: Data) -> bytes: ...
    @property
    def parameters(self) -> dict[str, Array]:
        """The learned tensors by their names in a file: read-only views of the model's own memory."""
    @property
    def arch(self) -> str:
        """"default" or "classic"."""
    @property
    def config(self) -> dict[str, Any]: ...
