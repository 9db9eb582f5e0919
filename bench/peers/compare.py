#!/usr/bin/env python3
"""QLLK's classic model beside the same network in PyTorch, on this machine, in turn: A B A B ...

    cmake --workflow --preset bench      builds our side
    python3 bench/peers/compare.py

PyTorch runs with all cores and OpenBLAS, and with a malloc that keeps the memory it has. Its settings
(OPENBLAS_CORETYPE, OMP_WAIT_POLICY) are tried first, the best ones take part in every round, and for each figure the
best of them counts. A figure is the median over rounds.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHAPES = ((16, 512), (4, 128), (1, 65536))
PASSES = ("train", "forward")
# glibc otherwise returns large blocks to the system, which hands them out again page by page; that slows training down
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**26),
}


def fail(message):
    sys.exit(f"compare.py: {message}")


def find_python():
    """A Python that has PyTorch: the one that runs this, or the system's."""
    for python in (sys.executable, "/usr/bin/python3"):
        if not Path(python).exists():
            continue
        if subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 0:
            return python
    fail("PyTorch is not installed; on Debian: sudo apt-get install -y python3-torch libopenblas0-openmp")


def core_types():
    """OpenBLAS kernels that this processor can run; None is OpenBLAS's own choice."""
    if platform.machine() in ("aarch64", "arm64"):
        return [None, "CORTEXA57"] + (["NEOVERSEN1"] if "asimddp" in Path("/proc/cpuinfo").read_text() else [])
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    types = [None]
    if "avx2" in flags and "fma" in flags:
        types += ["Haswell", "Zen"]
    if "avx512f" in flags and "avx512vl" in flags:
        types.append("SkylakeX")
    return types


def name_of(setting):
    core_type, wait = setting
    return f"OPENBLAS_CORETYPE={core_type or 'default'} OMP_WAIT_POLICY={wait or 'default'}"


def run_torch(python, setting, batch, context, seconds):
    env = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")}
    env.update(KEEP_MEMORY)
    for name, value in zip(("OPENBLAS_CORETYPE", "OMP_WAIT_POLICY"), setting):
        if value:
            env[name] = value
    command = [python, HERE / "torch_classic.py", f"--batch={batch}", f"--context={context}", f"--seconds={seconds}"]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"torch_classic.py failed with {name_of(setting)}:\n{done.stderr}")
    return json.loads(done.stdout)


def run_ours(program, batch, context, seconds):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        threads = os.cpu_count()
        shape = f"batch:{batch}/context:{context}/threads:{threads}"
        command = [program, f"--benchmark_filter=^(Train|Forward)Classic/{shape}/", f"--benchmark_min_time={seconds}",
                   f"--benchmark_out={out}", "--benchmark_out_format=json"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            fail(f"{program} failed:\n{done.stderr}")
        result = json.loads(out.read_text())
    figures = {"compiler": result["context"]["compiler"]}
    for run in result["benchmarks"]:
        if "error_message" in run:
            fail(f"{run['name']}: {run['error_message']}")
        which = "train" if run["name"].startswith("Train") else "forward"
        figures[which], figures[which + "_of_peak"] = run["items_per_second"], run["of_peak"]
    return figures


def best_settings(python, seconds):
    """The two best in training and the best in forward, at the largest of the usual shapes."""
    trials = {}
    for setting in [(core_type, wait) for core_type in core_types() for wait in (None, "passive")]:
        trial = trials[setting] = run_torch(python, setting, *SHAPES[0], seconds)
        if len(trials) == 1 and "openmp" not in (trial["blas"] or ""):  # before minutes are spent on it
            print(f"note: PyTorch's BLAS is {trial['blas'] or 'not known'}, and not OpenBLAS with OpenMP threads "
                  "(Debian: libopenblas0-openmp), its fastest", flush=True)
        print(f"  {name_of(setting):60} train {trial['train']:9,.0f}  forward {trial['forward']:9,.0f}", flush=True)
    ranked = sorted(trials, key=lambda s: -trials[s]["train"])
    return list(dict.fromkeys(ranked[:2] + [max(trials, key=lambda s: trials[s]["forward"])]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=HERE.parents[1] / "build/release/bin/bench_model_models")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement")
    parser.add_argument("--out", type=Path, help="also write all figures to this JSON file")
    args = parser.parse_args()
    python = find_python()
    if not args.program.exists():
        fail(f"{args.program} does not exist; build it: cmake --workflow --preset bench, or give another with --program")

    print("PyTorch's settings, bytes a second at 16 x 512:")
    settings = best_settings(python, args.seconds / 2)
    ours, torch = {shape: [] for shape in SHAPES}, {shape: {s: [] for s in settings} for shape in SHAPES}
    for number in range(args.rounds):
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
        for shape in SHAPES:
            ours[shape].append(run_ours(args.program, *shape, args.seconds))
            for setting in settings:
                torch[shape][setting].append(run_torch(python, setting, *shape, args.seconds))

    any_torch = torch[SHAPES[0]][settings[0]][0]
    print(f"\nPyTorch {any_torch['torch']}, {any_torch['threads']} threads, BLAS {any_torch['blas'] or 'not known'}; "
          f"QLLK by {ours[SHAPES[0]][0]['compiler']}; medians of {args.rounds} rounds, load average now "
          f"{os.getloadavg()[0]:.2f}")
    print(f"\n{'bytes a second':28}{'QLLK':>12}{'PyTorch':>12}{'ratio':>8}{'of FMA peak':>13}  PyTorch's setting")
    rows = []
    for which in PASSES:
        for shape in SHAPES:
            mine = statistics.median(r[which] for r in ours[shape])
            share = statistics.median(r[which + "_of_peak"] for r in ours[shape])
            medians = {s: statistics.median(r[which] for r in runs) for s, runs in torch[shape].items()}
            setting = max(medians, key=medians.get)
            print(f"{which + ' ' + str(shape[0]) + ' x ' + str(shape[1]):28}{mine:12,.0f}{medians[setting]:12,.0f}"
                  f"{mine / medians[setting]:8.2f}{share:13.1%}  {name_of(setting)}")
            rows.append({"pass": which, "batch": shape[0], "context": shape[1], "qllk": mine, "torch": medians[setting],
                         "ratio": mine / medians[setting], "of_peak": share, "setting": name_of(setting)})
    if args.out:
        args.out.write_text(json.dumps({"rows": rows, "qllk_runs": {str(k): v for k, v in ours.items()}, "torch_runs": {
            str(k): {name_of(s): r for s, r in v.items()} for k, v in torch.items()}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
