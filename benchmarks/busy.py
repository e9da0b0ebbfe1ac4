"""The speed of a training on a machine that is busy with other work, for different settings of threads.

    python benchmarks/busy.py [--spec SPEC] [--seconds 4] [--repeats 5] [--quota 2] [--json FILE]

Each setting has a process of its own, started in that environment, which trains on random images and is
stopped (SIGSTOP) during the turns of the others. A turn is measured on the quiet machine, and then with one
competitor per core: a process in an endless loop that is bound to that core. The medians are printed.

Quiet turns wait until the machine is idle, and are repeated (up to `--patience N` times) if other work took
more than a tenth of a core; the part that it took is printed.

`--quota N` measures in a control group (version 1, or version 2 with the controller `cpu`) with the time of
N cores, including the competitors, which needs root. The group is removed at the end.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from slotlab.framework.system.cores import affinity, cores, thread_settings

KNOWN = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
NOTHING_SET = "nothing set"
SLOTLAB = "set by slotlab"
QUIET = 0.1
"""The share of a core that other work may take in a quiet turn."""
COUNTING = "import os\nos.sched_setaffinity(0, {%d})\nwhile True: pass"


@dataclass
class TrainingProcess:
    """A process that trains, and its turns: images per second, and seconds of CPU time per image."""

    name: str
    process: subprocess.Popen
    turns: dict = field(default_factory=dict)

    def measure(self, seconds):
        """Train for some seconds; return the speed, and how many cores everything else took meanwhile."""
        before, begun = machine_seconds(), time.perf_counter()
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        self.process.send_signal(signal.SIGSTOP)
        others = machine_seconds() - before - answer["all_cpu"]
        return answer | {"others": max(others / (time.perf_counter() - begun), 0)}

    def turn(self, condition, seconds):
        self.turns.setdefault(condition, []).append(self.measure(seconds))

    def quiet_turn(self, seconds, patience):
        """Train while nothing else runs, or keep the quietest of several tries."""
        tries = []
        while len(tries) < patience and not (tries and tries[-1]["others"] < QUIET):
            wait_for_quiet(2)
            tries.append(self.measure(seconds))
        self.turns.setdefault("quiet", []).append(min(tries, key=lambda turn: turn["others"]))

    def speeds(self, condition):
        return [turn["speed"] for turn in self.turns[condition]]

    def median(self, what, condition):
        return statistics.median(turn[what] for turn in self.turns[condition])


def machine_seconds():
    """Return the seconds of CPU time that all processes have used since the machine started."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def wait_for_quiet(most):
    """Wait until nothing has run for a fifth of a second, at most `most` seconds."""
    deadline = time.monotonic() + most
    while time.monotonic() < deadline:
        before = machine_seconds()
        time.sleep(0.2)
        if machine_seconds() - before < 0.02:
            return


def train(name):
    """Train for the number of seconds in each line of stdin, and print the speed."""
    import torch

    from slotlab.framework.jobs.estimate import TrialTraining, random_batch
    from slotlab.framework.jobs.train import prepare
    from slotlab.framework.model.engine import Engine
    from slotlab.framework.system.allocator import keeping_memory

    device, spec = torch.device("cpu"), prepare(name).loaded.spec
    bench = TrialTraining.of(Engine.open(spec, device, warn=print))
    batch = random_batch(bench.engine, spec.training.batch_size)
    with keeping_memory(device, enabled=True):
        for line in sys.stdin:
            started = time.process_time()
            bench.step(batch)
            begun, used, images = time.perf_counter(), time.process_time(), 0
            while time.perf_counter() - begun < float(line):
                bench.step(batch)
                images += spec.training.batch_size
            seconds, cpu = time.perf_counter() - begun, time.process_time() - used
            answer = {"speed": images / seconds, "cpu": cpu / images}
            print(json.dumps(answer | {"all_cpu": time.process_time() - started}), flush=True)


def start(name, settings, options, group):
    environment = {key: value for key, value in os.environ.items() if key not in KNOWN} | settings
    command = [sys.executable, __file__, "--train", options.spec]
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    join(group, process)
    return TrainingProcess(name, process)


def join(group, process):
    """Put a process into a control group, if there is one."""
    if group is not None:
        (group / "cgroup.procs").write_text(str(process.pid))


@contextmanager
def competing(numbers, group):
    """Keep some cores busy while the block runs."""
    others = [subprocess.Popen([sys.executable, "-c", COUNTING % number]) for number in numbers]
    try:
        for other in others:
            join(group, other)
        time.sleep(0.3)
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@contextmanager
def limited(quota):
    """Make a control group with the time of `quota` cores while the block runs."""
    if quota is None:
        yield None
        return
    first = Path("/sys/fs/cgroup/cpu")
    group = (first if first.is_dir() else Path("/sys/fs/cgroup")) / f"slotlab-{os.getpid()}"
    group.mkdir()
    try:
        if first.is_dir():
            (group / "cpu.cfs_quota_us").write_text(str(int(quota * 100_000)))
        else:
            (group / "cpu.max").write_text(f"{int(quota * 100_000)} 100000")
        yield group
    finally:
        for _ in range(50):
            with suppress(OSError):  # its last process may not have ended yet
                group.rmdir()
                break
            time.sleep(0.1)


def variants(options):
    """Return the environments that set threads, by name."""
    share = min(cores(), max(int(options.quota), 1)) if options.quota else cores()
    found = {NOTHING_SET: {}, SLOTLAB: thread_settings({}, share)}
    for given in options.add:
        found[given] = dict(one.split("=", 1) for one in given.split(","))
    return found


def table(runners, conditions):
    head = " | ".join(f"{c}, images/s | CPU ms per image | cores of other work" for c in conditions)
    print(f"\n| threads | {head} |\n{'|---' * (1 + 3 * len(conditions))}|")
    for runner in runners:
        cells = []
        for condition in conditions:
            speeds = runner.speeds(condition)
            cells += [f"{statistics.median(speeds):.0f} (best {max(speeds):.0f})"]
            cells += [f"{1000 * runner.median('cpu', condition):.2f}"]
            cells += [f"{runner.median('others', condition):.2f}"]
        print(f"| {runner.name} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--spec", default="slotlab:slot_attention_demo")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--patience", type=int, default=1)
    parser.add_argument("--quota", type=float)
    parser.add_argument(
        "--add", action="append", default=[], metavar="NAME=VALUE,...", help="another setting"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--train", metavar="SPEC", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(options.train)
        return
    conditions = ["quiet", "busy"]
    with ExitStack() as stack:
        group = stack.enter_context(limited(options.quota))
        runners = [start(name, settings, options, group) for name, settings in variants(options).items()]
        for runner in runners:
            stack.callback(runner.process.kill)
        for runner in runners:
            runner.turn("warm", 0.2)
        for _ in range(options.repeats):
            for condition in conditions:
                if condition == "quiet":
                    for runner in runners:
                        runner.quiet_turn(options.seconds, options.patience)
                    continue
                with competing(affinity(), group):
                    for runner in runners:
                        runner.turn(condition, options.seconds)
        load = os.getloadavg()[0]
        print(f"{options.spec}, {len(affinity())} cores, quota {options.quota}, load at the end {load:.1f}")
        table(runners, conditions)
        if options.json:
            options.json.write_text(json.dumps({one.name: one.turns for one in runners}, indent=1))


if __name__ == "__main__":
    main()
