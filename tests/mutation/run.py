#!/usr/bin/env python3
"""Applies each fault of mutants.py to a copy of its header, compiles the test concerned, and requires that it fails.

run.py [--list] [NAME…]   NAME: part of a fault's name; all faults without one

Needs g++ (or $CXX), Eigen, GoogleTest and nlohmann_json, as the tests do. $CXXFLAGS replaces -O1. Without its fault
every test must pass first. A text that does not occur exactly once, and a fault that does not compile, are errors.
Exits 1 where a fault is not caught or cannot be tried.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from mutants import MUTANTS

ROOT = pathlib.Path(__file__).resolve().parents[2]
PRECOMPILED = "#include <gtest/gtest.h>\n#include <Eigen/Core>\n#include <nlohmann/json.hpp>\n"
SECONDS = 300  # a test that takes longer hangs


class Compiler:
    def __init__(self, folder):
        self.folder = folder
        self.command = [os.environ.get("CXX", "g++"), "-std=c++20", *os.environ.get("CXXFLAGS", "-O1").split(), "-w",
                        "-UNDEBUG", "-fno-math-errno", "-isystem", "/usr/include/eigen3",
                        f'-DQLLK_TEST_DATA="{ROOT}/tests/golden"', f'-DQLLK_TEST_BIN="{folder}"',
                        '-DQLLK_TEST_EMULATOR=""', "-DQLLK_TEST_MODELS=template"]  # as support/models.cpp, which is not linked
        header = folder / "precompiled.hpp"
        header.write_text(PRECOMPILED)
        subprocess.run([*self.command, "-x", "c++-header", header, "-o", f"{header}.gch"], check=True)

    def compile(self, test, program, overlay=None):
        """Returns what the compiler complains of."""
        source, options = (test[0], test[1].split()) if isinstance(test, tuple) else (test, [])
        includes = [f"-I{path}" for path in (overlay, ROOT / "include", ROOT / "tests") if path]
        command = [*self.command, *options, "-include", self.folder / "precompiled.hpp", *includes,
                   ROOT / "tests" / source, "-o", program, "-lgtest", "-lgtest_main", "-pthread"]
        result = subprocess.run(command, capture_output=True, text=True)
        return result.stderr if result.returncode else ""


def run(program, chosen):
    """passes, fails, or why it is neither."""
    try:
        result = subprocess.run([program, f"--gtest_filter={chosen}"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return "fails"
    if "Running 0 tests" in result.stdout:
        return f"no test is called {chosen}"
    return "passes" if result.returncode == 0 else "fails"


def altered(header, text, replacement):
    contents = (ROOT / "include/qllk" / header).read_text()
    if contents.count(text) != 1:
        raise ValueError(f"its text occurs {contents.count(text)} times")
    return contents.replace(text, replacement)


def verdict(compiler, folder, mutant, passed):
    _, header, text, replacement, test, chosen = mutant
    try:
        contents = altered(header, text, replacement)
    except ValueError as error:
        return str(error)
    program = folder / "test"
    if (test, chosen) not in passed:
        if test != passed.get("compiled"):
            if compiler.compile(test, folder / "unaltered"):
                return "its test does not compile"
            passed["compiled"] = test
        result = run(folder / "unaltered", chosen)
        if result != "passes":
            return f"without the fault its test {result}"
        passed[test, chosen] = True
    overlay = folder / "overlay"
    copy = overlay / "qllk" / header
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(contents)
    errors = compiler.compile(test, program, overlay)
    copy.unlink()
    if errors:
        return "does not compile: " + next((line for line in errors.splitlines() if "error" in line), errors)[:200]
    result = run(program, chosen)
    return {"fails": "caught", "passes": "NOT CAUGHT"}.get(result, result)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the faults, and whether their text is there")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    chosen = [m for m in MUTANTS if not arguments.names or any(name in m[0] for name in arguments.names)]
    chosen.sort(key=lambda m: str(m[4]))  # a test is compiled once without a fault
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        compiler = None if arguments.list else Compiler(folder)
        passed = {}
        for mutant in chosen:
            start = time.monotonic()
            if arguments.list:
                try:
                    altered(*mutant[1:4])
                    result = "is there"
                except ValueError as error:
                    result = str(error)
            else:
                result = verdict(compiler, folder, mutant, passed)
            wrong += result not in ("caught", "is there")
            test = mutant[4] if isinstance(mutant[4], str) else f"{mutant[4][0]} ({mutant[4][2]})"
            print(f"{mutant[0]:<52} {test:<40} {result:<12} {time.monotonic() - start:5.0f} s", flush=True)
    print(f"{len(chosen)} faults, {len(chosen) - wrong} {'there' if arguments.list else 'caught'}")
    return 1 if wrong or not chosen else 0


sys.exit(main())
