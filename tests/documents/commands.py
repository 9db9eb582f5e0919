"""Command lines in guides: tools, options, presets and targets are those that exist."""
import json
import re
import shlex
import subprocess


def statements(text):
    """Command lines of a shell block as lists of words; operators end one. Quoted text may span lines."""
    pending = ""
    for line in text.splitlines() + [""]:
        pending += re.sub(r"(^|\s)#.*$", "", line) + "\n" if not pending else line + "\n"
        if pending.endswith("\\\n"):
            pending = pending[:-2] + " "
            continue
        lexer = shlex.shlex(pending, posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, ""
        try:
            words = list(lexer)
        except ValueError:  # a quote is still open
            continue
        pending = ""
        command = []
        for word in words + [";"]:
            if word and all(c in "();<>|&" for c in word):
                if command:
                    yield command
                command = []
            else:
                command.append(word)
    if pending.strip():
        yield ["open", "quote", pending]


class Commands:
    def __init__(self, root, build, emulator, ctest):
        self.root, self.build, self.emulator = root, build, emulator
        presets = json.loads((root / "CMakePresets.json").read_text())
        self.presets = {
            kind: {p["name"] for p in presets.get(f"{kind}Presets", []) if not p.get("hidden")}
            for kind in ("configure", "build", "test", "package", "workflow")
        }
        self.cmake = "\n".join(
            p.read_text() for p in [*root.glob("*/**/CMakeLists.txt"), *root.glob("cmake/*"), root / "CMakeLists.txt"]
            if p.is_file() and "build" not in p.relative_to(root).parts)
        self.programs = self.named_programs()
        headers = "\n".join(p.read_text() for p in root.glob("include/**/*.hpp"))
        self.formats = set(re.findall(r'"(qllk-\w+)"', headers))
        self.tests = self.run([ctest, "--test-dir", str(build), "-N"], emulated=False)
        self.tests = set(re.findall(r"Test +#\d+: (\S+)", self.tests))
        self.options = {}
        for name in sorted(n for n in self.programs if n.startswith("qllk-") and n != "qllk-train-mpi"):
            program = build / "bin" / name
            if program.is_file():
                self.options[name] = self.help_options(self.run([str(program), "--help"]))
        if len(self.options.get("qllk-train", ())) < 10:
            raise SystemExit("qllk-train --help shows fewer than 10 options")

    def run(self, command, emulated=True):
        done = subprocess.run((self.emulator if emulated else []) + command, stdout=subprocess.PIPE, check=True)
        return done.stdout.decode()

    @staticmethod
    def help_options(text):
        found = set()
        for line in re.findall(r"^  (-\S+)", text, re.M):
            found.update(line.split(","))
        return found

    def named_programs(self):
        """Of tools, examples and benchmarks, by the names that CMake gives them."""
        root = self.root
        names = {"qllk-" + p.stem.replace("_", "-") for p in (root / "examples/tools").glob("*.cpp")}
        names |= {p.stem for p in (root / "examples").glob("*.cpp")}
        for p in root.glob("bench/**/*_bench.cpp"):
            names.add("bench_" + "_".join(p.relative_to(root / "bench").with_suffix("").parts)[: -len("_bench")])
        names |= set(re.findall(r"qllk_(?:bench_)?program\(\s*([\w-]+)", self.cmake))
        return names

    def target_exists(self, name):
        return (name in self.programs or self.is_test_program(name) or
                re.search(rf"add_(custom_target|library|executable|module)\(\s*{re.escape(name)}[\s)]", self.cmake))

    def is_test_program(self, name):
        """nn_linear_test is nn/linear_test.cpp."""
        return name.endswith("_test") and any(
            "_".join(p.relative_to(self.root / "tests").with_suffix("").parts) == name
            for p in self.root.glob("tests/**/*_test.*"))

    def test_exists(self, name):
        """A test of this build, or one that CMake would make elsewhere, as where MPI is installed. `…` is any text, N a
        number."""
        pattern = re.compile(re.escape(name).replace("…", ".*").replace("_N", r"_\d+"))
        if any(pattern.fullmatch(test) for test in self.tests):
            return True
        words = set(re.findall(r"[\w-]+", self.cmake))
        parts = name.removesuffix("_N").split("_")
        return "_".join(parts) in words or self.is_test_program(name) or any(
            "_".join(parts[i:]) in words and re.search(r"\b" + "_".join(parts[:i]) + r"_\$\{", self.cmake)
            for i in range(1, len(parts)))

    def problems(self, words):
        """Of one command line."""
        before = ("sudo", "nice", "env", "time", "do", "then")
        while words and (re.fullmatch(r"\w+=.*", words[0]) or words[0] in before):
            words = words[1:]
        for at, word in enumerate(words):
            name = word.rsplit("/", 1)[-1]
            if name in self.formats:
                continue
            if name.startswith("qllk-") and "." not in name and at == self.command_at(words):
                yield from self.tool_problems(name, words[at + 1:])
            elif name in ("cmake", "ctest") and at == 0:
                yield from self.cmake_problems(name, words[1:])
            elif re.match(r"(\./)?build/\w+/(bin|tests)/", word) and name not in self.programs and \
                    not self.is_test_program(name) and not self.test_exists(name):
                yield f"there is no program '{name}'"
            elif re.match(r"(\./)?(bench|examples|tests|include|cmake|\.ci|\.github)/\S", word):
                if not (self.root / word).exists():
                    yield f"there is no '{word}'"
                elif at <= 1 and word.endswith((".sh", ".py")):
                    tool = self.command_at(words)  # that the script starts, with options of its own
                    yield from self.script_problems(word, words[at + 1:tool or None])

    @staticmethod
    def command_at(words):
        """Where the tool stands: first, or behind a launcher and its options."""
        launched = words[0] in ("mpirun", "mpiexec", "srun", "gdb") or \
            any(word.endswith("/namespaces.sh") for word in words)
        for at, word in enumerate(words):
            if (at == 0 or launched) and word.rsplit("/", 1)[-1].startswith("qllk-"):
                return at
        return 0

    def tool_problems(self, name, arguments):
        if name not in self.programs:
            yield f"there is no tool '{name}'"
            return
        for argument in arguments:
            option = argument.split("=", 1)[0]
            if re.fullmatch(r"--[a-z][a-z0-9-]*|-[a-z]", option) and name in self.options and \
                    option not in self.options[name]:
                yield f"{name} has no option '{option}'"

    def script_problems(self, path, arguments):
        text = (self.root / path).read_text()
        for argument in arguments:
            option = argument.split("=", 1)[0]
            passed_on = "qllk-experiment" in text and option in self.options.get("qllk-experiment", ())
            known = passed_on or option == "--help" or re.search(re.escape(option) + r"(?![\w-])", text)
            if re.fullmatch(r"--[a-z][a-z0-9-]*", option) and not known:
                yield f"{path} has no option '{option}'"

    def cmake_problems(self, program, arguments):
        kind = "configure"
        if program == "ctest":
            kind = "test"
        elif "--build" in arguments:
            kind = "build"
        elif "--workflow" in arguments:
            kind = "workflow"
        for option, value in zip(arguments, arguments[1:] + [""]):
            if option == "--preset" and value != "NAME" and value not in self.presets[kind]:
                yield f"there is no {kind} preset '{value}'"
            if option in ("--target", "-t") and not self.target_exists(value):
                yield f"there is no target '{value}'"
            if option == "--component" and not re.search(r"COMPONENT\w*\s+(\w+ )*" + value + r"\b", self.cmake) and \
                    not re.search(r"COMPONENT_NAME " + value, self.cmake):
                yield f"there is no component '{value}'"
        for variable in re.findall(r"-D(QLLK_\w+)", " ".join(arguments)):
            if not re.search(rf"\b{variable}\b", self.cmake):
                yield f"CMake has no variable '{variable}'"
