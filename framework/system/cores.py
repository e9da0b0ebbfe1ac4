"""How many cores this process may use, and how the threads on them are set. Nothing here imports torch.

Torch and NumPy start a thread for each core that the system shows. What they may use is less where the
process is bound to some cores, or where a control group limits its time, as containers do. And threads of
OpenMP spin while they wait for one another: on a core that other work shares, the spinning takes the time
that the awaited thread needs.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

CHOSEN = "SLOTLAB_CHOSE"
"""Environment variable: the settings that slotlab made itself, as `NAME=VALUE`; all others are the user's."""
COUNT = "OMP_NUM_THREADS"
WAITING = {"GOMP_SPINCOUNT": "20000", "KMP_BLOCKTIME": "0"}
"""How long a thread spins before it sleeps, for GNU's OpenMP (rounds) and for LLVM's and Intel's (ms)."""
POLICY = "OMP_WAIT_POLICY"


def affinity() -> list[int]:
    """Return the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cores(root: Path = Path("/")) -> int:
    """Return how many cores this process may use: those it is bound to, limited by its CPU quota.

    A quota is rounded down to whole cores, but one core is the least. `root` is where the system's files lie.
    """
    number, quota = len(affinity()), cpu_quota(root)
    return number if quota is None else max(1, min(number, int(quota)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the CPU quota of this process's control groups, in cores; None without a limit."""
    quotas = (group_quota(group) for group in cpu_groups(root))
    return min((quota for quota in quotas if quota is not None), default=None)


def cpu_groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the control groups that this process is in, inner ones first."""
    try:
        members = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except (OSError, ValueError):  # another system than Linux
        return
    paths: dict[str, PurePosixPath] = {}
    for line in members:
        _, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        for controller in controllers.split(","):  # version 2 names none
            paths[controller] = PurePosixPath(place)
    for line in mounts:
        head, _, tail = line.partition(" - ")
        if len(head.split()) < 5 or len(tail.split()) < 3:
            continue
        top, mount = (PurePosixPath(unescape(field)) for field in head.split()[3:5])
        kind, options = tail.split()[0], tail.split()[2].split(",")
        member = paths.get("" if kind == "cgroup2" else "cpu")
        if member is None or not (kind == "cgroup2" or (kind == "cgroup" and "cpu" in options)):
            continue
        inner = member.relative_to(top) if member.is_relative_to(top) else PurePosixPath()
        for part in (inner, *inner.parents):
            yield root / mount.relative_to("/") / part


def unescape(field: str) -> str:
    """Read a path of mountinfo, which writes spaces and the like as octal numbers."""
    first, *rest = field.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def group_quota(group: Path) -> float | None:
    """Return the CPU quota of a control group (version 2 or 1), in cores; None without a limit."""
    try:
        if (group / "cpu.max").is_file():
            quota, period = ((group / "cpu.max").read_text() + " 100000").split()[:2]
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(quota) / float(period) if float(quota) > 0 and float(period) > 0 else None
    except (OSError, ValueError):  # there is none, or it says "max"
        return None


def is_users(environment: Mapping[str, str], name: str) -> bool:
    """Return whether the user set a variable, rather than slotlab in this process or in its parent."""
    own = environment.get(CHOSEN, "").split()
    return name in environment and f"{name}={environment[name]}" not in own


def thread_settings(environment: Mapping[str, str], number: int) -> dict[str, str]:
    """Return the variables to set for `number` threads; what the user has set stays as it is."""
    found = {} if is_users(environment, COUNT) else {COUNT: str(number)}
    if not any(is_users(environment, name) for name in (*WAITING, POLICY)):
        found |= WAITING
    return found | {CHOSEN: " ".join(f"{name}={value}" for name, value in found.items())}


def shares(environment: Mapping[str, str], places: int) -> dict[str, str]:
    """Return the variables that give each of `places` processes its share of the cores; the user's stay."""
    if is_users(environment, COUNT):
        return {}
    share = str(max(cores() // places, 1))
    return {name: share for name in (COUNT, "MKL_NUM_THREADS") if not is_users(environment, name)}


def set_threads() -> None:
    """Set how many threads torch is to use and how they wait, unless the user has.

    OpenMP reads this once, when it is loaded: nothing is done if torch was imported already. Each of several
    processes that train together on a machine gets its share.
    """
    if "torch" not in sys.modules:
        together = os.environ.get("LOCAL_WORLD_SIZE", "1")
        share = cores() // max(int(together), 1) if together.isdecimal() else cores()
        os.environ |= thread_settings(os.environ, max(share, 1))
