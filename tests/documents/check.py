"""check.py SOURCE BUILD CTEST EMULATOR COMPILER…: what the guides say of this project is so. COMPILER is the command
that compiles a program of it.

Links and anchors lead somewhere. Tools, options, presets, targets, tests, files and public names exist. Options in the
tables of tools are those of --help. Values of --set are accepted. Programs compile. Every message is in its guide.
"""
import ast
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from commands import Commands, statements
from markdown import Document
from messages import Messages

SOURCE_NAMES = r"[\w./-]+/[\w.-]+\.(hpp|cpp|sh|py|cmake|md|awk|svg)"


class Check:
    def __init__(self, root, commands):
        self.root, self.commands = root, commands
        self.failures, self.counts = [], {}
        names = [p for p in sorted(root.rglob("*.md")) if not {"build", ".git"} & set(p.relative_to(root).parts)]
        self.documents = {p: Document(p) for p in names}
        self.identifiers = set()
        for p in root.glob("include/**/*.hpp"):
            self.identifiers |= set(re.findall(r"\w+", p.read_text()))
        sources = [p.read_text() for p in root.glob("tests/**/*.[ch]pp")]
        self.cases = {f"{m[1]}.{m[2]}" for text in sources
                      for m in re.finditer(r"TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\)", text)}
        self.cases |= {f"{m[1]}.{m[2]}" for text in sources
                       for m in re.finditer(r"TYPED_TEST(?:_P)?\(\s*(\w+),\s*(\w+)\)", text)}
        others = [*root.glob("tests/**/*.sh"), *root.glob("examples/**/*.[ch]pp")]
        self.scripts = "\n".join(p.read_text() for p in others)
        self.tests_sources = "\n".join(p.read_text() for p in root.glob("tests/**/*.[ch]pp"))
        self.python = "\n".join(p.read_text() for p in root.glob("tests/**/*.py"))

    def fail(self, path, line, what):
        self.failures.append(f"{path.relative_to(self.root)}:{line}: {what}")

    def count(self, what, number=1):
        self.counts[what] = self.counts.get(what, 0) + number

    def links(self):
        anchors = {path: set(document.anchors()) for path, document in self.documents.items()}
        for path, document in self.documents.items():
            for line, target in document.links():
                if re.match(r"\w+:", target):
                    continue
                self.count("links")
                name, _, anchor = target.partition("#")
                file = (path.parent / name).resolve() if name else path
                if not file.exists():
                    self.fail(path, line, f"the link '{target}' leads to no file")
                elif anchor and anchor not in anchors.get(file, ()):
                    self.fail(path, line, f"the link '{target}' leads to no heading")

    def shell(self):
        for path, document in self.documents.items():
            for line, language, text in document.blocks:
                if language != "sh":
                    continue
                done = subprocess.run(["bash", "-n"], input=text.encode(), stderr=subprocess.PIPE)
                if done.returncode:
                    self.fail(path, line, f"bash cannot read this block: {done.stderr.decode().strip()}")
                for words in statements(text):
                    self.command(path, line, words)
            for line, text in document.code_spans():
                if re.match(r"(python3 |mpirun .*|sudo )?[\w./-]*(qllk-|cmake |ctest |\.sh|\.py)", text) and \
                        "…" not in text.split(" ")[0]:
                    for words in statements(text):
                        self.command(path, line, words)

    def command(self, path, line, words):
        self.count("commands")
        for problem in self.commands.problems(words):
            self.fail(path, line, f"{problem}: {' '.join(words)}")

    def options(self):
        """A span that is an option is one of some tool; the tables of a tool have its options, all of them."""
        others = {"--preset", "--workflow", "--build", "--target", "--component", "--prefix", "--no-install-recommends",
                  "--bind-to"}
        known = others.union(*self.commands.options.values())
        suffixes = (".sh", ".py", ".cpp", ".hpp")
        scripts = "\n".join(p.read_text() for p in self.root.glob("bench/**/*") if p.suffix in suffixes)
        for path, document in self.documents.items():
            if path.name == "CHANGELOG.md":
                continue
            for line, text in document.code_spans():
                option = re.match(r"--[a-z][a-z0-9-]*(?=[ =]|$)", text)
                if option and option[0] not in known and f'"{option[0]}"' not in scripts:
                    self.fail(path, line, f"no tool has the option '{option[0]}'")
        guide = self.documents[self.root / "examples/README.md"]
        for tool, options in self.commands.options.items():
            section = guide.section(tool)
            rows = [(n, row) for n, row in section if row.startswith("| `-")]
            told = {}
            for number, row in rows:
                for span in re.findall(r"`(--?[a-z][a-z0-9-]*)[^`]*`", row.split(" | ")[0]):
                    told[span] = number
            for option in told.keys() - options:
                self.fail(guide.path, told[option], f"{tool} has no option '{option}'")
            if not any(row.startswith("| option") for _, row in section):  # few of them, which stand in the text
                text = "\n".join(line for _, line in section)
                told = {option for option in options if re.search(rf"`[^`]*{option}(?![\w-])[^`]*`", text)}
            self.count("options", len(told))
            for option in options - set(told) - {"-h", "--help", "--version"} if section else ():
                self.fail(guide.path, section[0][0], f"the section of {tool} lacks '{option}'")
            if not section and (self.root / "examples/tools" / f"{tool[5:].replace('-', '_')}.cpp").exists():
                self.fail(guide.path, 1, f"{tool} has no section")

    def settings(self):
        """Every --set KEY=VALUE of qllk-train and qllk-experiment."""
        pairs = {}
        for path, document in self.documents.items():
            if path.name == "CHANGELOG.md":
                continue
            texts = [(n, t) for n, language, t in document.blocks if language == "sh"] + list(document.code_spans())
            for line, text in texts:
                for words in statements(text) if "--set" in text else []:
                    for option, value in zip(words, words[1:]):
                        if option == "--set" and re.fullmatch(r"[\w.]+=(?![A-Z]+$)[^=]*", value):
                            pairs.setdefault(value, (path, line))
        program = str(self.commands.build / "bin/qllk-train")
        for pair, (path, line) in pairs.items():
            self.count("settings")
            done = subprocess.run(
                [*self.commands.emulator, program, "--data", str(self.root / "tests" / "documents" / "check.py"),
                 "--data", str(self.root / "include"), "--steps", "1",
                 "--print-config", "--set", pair], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            if done.returncode:
                self.fail(path, line, f"--set {pair}: {done.stderr.decode().strip()}")

    def names(self):
        """Presets, targets, tests, files and public names in the text."""
        for path, document in self.documents.items():
            old = path.name == "CHANGELOG.md"
            text = "\n".join(text for _, text in document.lines)
            for m in re.finditer(r"\b(preset|workflow|target|test)s?\s((?:`[^`]+`(?:,\s|\sand\s|\sor\s)?)+)", text):
                line = document.lines[text.count("\n", 0, m.start())][0]
                for name in re.findall(r"`([\w-]+)`", m[2]):
                    self.named(path, line, m[1], name)
            for line, text in document.code_spans():
                for name in re.findall(r"(?:\b|-D)(QLLK_\w+)", text):
                    read = re.search(rf"\b{name}\b", self.commands.cmake + self.scripts + self.tests_sources)
                    if name not in self.identifiers and not read:
                        self.fail(path, line, f"nothing reads '{name}'")
                if re.fullmatch(SOURCE_NAMES, text) and not old:
                    self.file(path, line, text)
                elif re.fullmatch(r"[A-Z]\w+\.(…|[A-Z]\w+)|…[A-Z]\w+", text):
                    self.case(path, line, text)
                elif m := re.fullmatch(r"((?:\w+(?:<[^`]*>)?::)+)(\w+)(<.*>)?(\(.*\))?", text):
                    if not m[1].startswith("std::") and m[2] not in self.identifiers and not old and \
                            text not in self.commands.cmake:
                        self.fail(path, line, f"no header has '{text}'")
                    self.count("names")

    def named(self, path, line, kind, name):
        self.count("names")
        exists = {
            "preset": lambda: any(name in names for names in self.commands.presets.values()),
            "workflow": lambda: name in self.commands.presets["workflow"],
            "target": lambda: self.commands.target_exists(name),
            "test": lambda: self.commands.test_exists(name),
        }
        if not exists[kind]():
            self.fail(path, line, f"there is no {kind} '{name}'")

    def file(self, path, line, name):
        self.count("files")
        if re.search(r"\b(NAME|FOLDER)(\b|_)", name) or re.search(r"\d+\.\d+\.\d+", name):
            return  # a pattern, or a file that packages are made of
        folders = [path.parent, self.root, *(self.root / f for f in ("include", "include/qllk", "tests", "examples"))]
        if not any((folder / name).exists() for folder in folders):
            self.fail(path, line, f"there is no file '{name}'")

    def case(self, path, line, name):
        """A test of GoogleTest; … is any text."""
        self.count("tests")
        pattern = re.compile(re.escape(name).replace("…", ".*"))
        if not any(pattern.fullmatch(case) for case in self.cases):
            self.fail(path, line, f"there is no test '{name}'")

    def tests(self):
        """What tests/README.md names in the last column of its tables."""
        guide = self.documents[self.root / "tests/README.md"]
        for line, row in guide.lines:
            if not row.startswith("| ") or row.startswith(("| property", "| contract")):
                continue
            for name in re.findall(r"`([a-z]\w*(?:_(?:\w|…)+)+|[A-Z][a-z]+)`", row.rsplit(" | ", 1)[-1]):
                self.count("tests")
                python = re.search(r"\b(def|class) " + name + r"\b", self.python)
                if not python and not self.commands.test_exists(name) and not self.commands.target_exists(name):
                    self.fail(guide.path, line, f"there is no test '{name}'")

    def programs(self, compiler):
        """Complete programs compile alone, parts of programs in a function, with what fragments.hpp declares."""
        parts = []
        for path, document in self.documents.items():
            for line, language, text in document.blocks:
                if language == "python":
                    try:
                        ast.parse(text)
                    except SyntaxError as error:
                        self.fail(path, line, f"Python cannot read this block: {error}")
                if language == "json":
                    json.loads(text)
                if language == "cpp" and "int main(" in text:
                    self.compile(path, line, text, compiler)
                elif language == "cpp":
                    parts.append((path, line, text))
        includes, functions = ['#include "fragments.hpp"\n'], []
        for path, line, text in parts:
            includes += re.findall(r"^#include .*\n", text, re.M)
            body = re.sub(r"^#include .*\n", "", text, flags=re.M)
            condition = "__has_include(<mpi.h>)" if "Mpi" in body else "1"
            functions.append(f'#if {condition}\nvoid part_{len(functions)}() {{\n#line {line + 1} "{path}"\n{body}}}\n'
                             "#endif\n")
        self.compile(None, 0, "".join(includes + functions), compiler)

    def compile(self, path, line, text, compiler):
        self.count("programs")
        with tempfile.NamedTemporaryFile("w", suffix=".cpp") as file:
            file.write(text)
            file.flush()
            done = subprocess.run([*compiler, "-fsyntax-only", "-w", f"-I{Path(__file__).parent}", file.name],
                                  stderr=subprocess.PIPE)
        if done.returncode:
            place = path or Path(__file__).with_name("fragments.hpp")
            self.fail(place, line, "does not compile: " + done.stderr.decode()[:2000])

    def messages(self):
        guide = self.documents[self.root / "examples/tools/README.md"]
        messages = Messages(self.root, guide)
        self.count("messages", len(messages.rows))
        for path, line, what in messages.problems():
            self.fail(path, line, what)

    def version(self):
        """Names of packages have the version of config.hpp."""
        config = (self.root / "include/qllk/config.hpp").read_text()
        version = ".".join(re.findall(r"#define QLLK_VERSION_\w+ (\d+)", config))
        for path, document in self.documents.items():
            for line, text in document.lines + [(line, text) for line, _, text in document.blocks]:
                for found in re.findall(r"qllk(?:-dev)?[-_](\d+\.\d+\.\d+)", text):
                    if found != version:
                        self.fail(path, line, f"the version is {version}, not {found}")

    def first_page(self):
        lines = len((self.root / "README.md").read_text().splitlines())
        if lines > 140:
            self.fail(self.root / "README.md", lines, f"has {lines} lines, expected 140 at most")


def main():
    root, build, ctest, emulator, *compiler = sys.argv[1:]
    root = Path(root).resolve()
    check = Check(root, Commands(root, Path(build), emulator.split(), ctest))
    for step in (check.links, check.shell, check.options, check.settings, check.names, check.tests, check.messages,
                 check.version, check.first_page, lambda: check.programs(compiler)):
        step()
    for failure in check.failures:
        print(failure, file=sys.stderr)
    counts = ", ".join(f"{number} {what}" for what, number in check.counts.items())
    print(f"{len(check.documents)} guides: {counts}; {len(check.failures)} failures")
    return 1 if check.failures or len(check.documents) < 10 else 0


if __name__ == "__main__":
    sys.exit(main())
