"""The guide of messages: each row is in the sources, and each message in the sources has a row."""
import re
from pathlib import Path


def without_comments(text):
    return re.sub(r"//[^\n]*", "", text)


def literals(source):
    """String literals of C++, neighbours joined."""
    for run in re.finditer(r'"(?:[^"\\\n]|\\.)*"(?:\s*"(?:[^"\\\n]|\\.)*")*', source):
        yield re.sub(r'"\s*"', "", run[0])[1:-1].replace('\\"', '"').replace("\\n", "\n")


def argument(source, at):
    """The message that a call with its ( at `at` is given: literals, and … for what stands between them."""
    depth, text, gap = 0, "", False
    token = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\]|\\.)\'|\s+|.', re.S)
    for found in token.finditer(source, at):
        word = found[0]
        if word[0] == '"':
            text += ("…" if gap else "") + word[1:-1].replace('\\"', '"')
            gap = False
        elif word in "({[":
            depth += 1
        elif word in ")}]":
            depth -= 1
            if depth == 0:
                return text + ("…" if gap else "")
        elif not word.isspace():
            gap = True
    raise ValueError("a call without an end")


def pattern(row):
    """What the row says as a regular expression; … is any text."""
    return re.compile("".join(".*" if part == "…" else re.escape(part) for part in re.split("(…)", row)), re.S)


def said_by(texts, part, cuts=3):
    """Whether a literal has the part, or a few of them one after the other make it."""
    if any(part in text for text in texts):
        return True
    return cuts > 0 and any(
        any(text.endswith(part[:at]) for text in texts) and starts(texts, part[at:], cuts - 1)
        for at in range(1, len(part)))


def starts(texts, part, cuts):
    if any(text.startswith(part) for text in texts):
        return True
    return cuts > 0 and any(part[:at] in texts and starts(texts, part[at:], cuts - 1) for at in range(1, len(part)))


class Messages:
    """Rows of the guide, against sources."""

    CALLS = re.compile(r"\bthrow\s+[\w:]*(?i:error|argument|out_?of_?range|diverged|disagreement)\s*\(|"
                       r"\b(?:[\w.]+\.)?(?:fail|refuse|warn|throw_errno|line)\(")
    FOLDERS = ("examples/tools", "include/qllk")
    # What a program of one's own can meet, and no tool: positions, ranges and the order of calls.
    OF_PROGRAMS = ("include/qllk/testing", "include/qllk/nn", "include/qllk/mixers", "include/qllk/optim",
                   "include/qllk/model", "include/qllk/core", "include/qllk/linalg", "include/qllk/distributed",
                   "include/qllk/language_model", "include/qllk/generate", "include/qllk/io/safetensors.hpp",
                   "include/qllk/io/safetensors_writer_impl.hpp", "include/qllk/data/batches.hpp")
    LOGIC = re.compile(r"\bthrow\s+[\w:]*(?i:logic_?error|out_?of_?range)")
    OF_A_CLASS = re.compile(r"[A-Z]\w+: ")

    def __init__(self, root: Path, guide):
        self.root, self.guide = root, guide
        self.rows = [(n, m[2].strip() if len(m[1]) > 1 else m[2]) for n, line in guide.lines
                     if (m := re.match(r"\| (`+)(.+?)\1 \|", line))]
        self.sources = {p: without_comments(p.read_text()) for folder in self.FOLDERS
                        for p in sorted((root / folder).rglob("*.[ch]pp"))}

    def problems(self):
        if len(self.rows) < 100:
            yield self.guide.path, 1, f"the guide has {len(self.rows)} messages, expected 100 at least"
        yield from self.rows_without_source()
        yield from self.sources_without_row()

    def rows_without_source(self):
        texts = [text for source in self.sources.values() for text in literals(source)]
        for number, row in self.rows:
            if any(part in row for part in self.of_the_parser()):
                continue
            for part in row.split("…"):
                rest = re.sub(r"^warning: ", "", part)
                if len(rest.strip(" '")) > 3 and not said_by(texts, rest):
                    yield self.guide.path, number, f"no source says '{part}'"

    @staticmethod
    def of_the_parser():
        return ("is required", "excludes", "requires",
                "required … missing", "not in {")

    def sources_without_row(self):
        known = [pattern(row) for _, row in self.rows]
        for path, source in self.sources.items():
            relative = path.relative_to(self.root).as_posix()
            if relative.startswith(self.OF_PROGRAMS):
                continue
            for call in self.CALLS.finditer(source):
                if self.LOGIC.match(call[0]):
                    continue
                said = argument(source, call.end() - 1)
                tells = call[0].endswith("line(") and not said.startswith(("warning: ", "note: "))
                if tells or not said.strip("… "):
                    continue
                fragment = max(said.split("…"), key=len).strip()
                if len(fragment) < 8 or self.OF_A_CLASS.match(said) or any(fragment in row for _, row in self.rows):
                    continue
                if not any(row.fullmatch(said) or row.fullmatch(f"'…' {said}") for row in known):
                    line = source.count("\n", 0, call.start()) + 1
                    yield path, line, f"the guide of messages lacks '{said}'"
