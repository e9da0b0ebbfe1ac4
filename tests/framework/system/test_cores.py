"""How many cores there are by binding and by quota, and how OpenMP is set before it is loaded."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slotlab.framework.system import cores as module
from slotlab.framework.system.cores import CHOSEN, cores, cpu_quota, is_users, shares, thread_settings

WHOLE = {"OMP_NUM_THREADS": "4", "GOMP_SPINCOUNT": "20000", "KMP_BLOCKTIME": "0"}


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


class System:
    """The files in which Linux describes control groups."""

    def __init__(self, root: Path):
        self.root = root
        (root / "proc/self").mkdir(parents=True)

    def tell(self, members: str, mounts: str) -> "System":
        (self.root / "proc/self/cgroup").write_text(members)
        (self.root / "proc/self/mountinfo").write_text(mounts)
        return self

    def write(self, path: str, text: str) -> "System":
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return self


V2 = "25 30 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
)


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


@pytest.mark.parametrize(
    ("text", "quota", "number"),
    [
        ("200000 100000\n", 2.0, 2),
        ("max 100000\n", None, 8),
        ("max\n", None, 8),
        ("250000 100000\n", 2.5, 2),
        ("50000 100000\n", 0.5, 1),
        ("1000 100000\n", 0.01, 1),
        ("6400000 100000\n", 64.0, 8),
        ("30000 10000\n", 3.0, 3),
        ("300000\n", 3.0, 3),
        ("", None, 8),
        ("garbage 100000\n", None, 8),
        ("200000 0\n", None, 8),
        ("-1 100000\n", None, 8),
    ],
)
def test_a_quota_of_version_2(system: System, text: str, quota: float | None, number: int) -> None:
    system.tell("0::/\n", V2).write("sys/fs/cgroup/cpu.max", text)
    assert cpu_quota(system.root) == quota
    assert cores(system.root) == number


@pytest.mark.parametrize(
    ("quota", "period", "number"),
    [
        ("200000", "100000", 2),
        ("-1", "100000", 8),
        ("150000", "100000", 1),
        ("20000", "5000", 4),
        ("0", "1", 8),
    ],
)
def test_a_quota_of_version_1(system: System, quota: str, period: str, number: int) -> None:
    system.tell("4:memory:/\n3:cpu,cpuacct:/\n", V1)
    system.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", f"{quota}\n")
    system.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", f"{period}\n")
    assert cores(system.root) == number


def test_the_tightest_of_nested_groups_counts(system: System) -> None:
    system.tell("0::/kubepods/pod1/box\n", V2)
    system.write("sys/fs/cgroup/kubepods/cpu.max", "700000 100000")
    system.write("sys/fs/cgroup/kubepods/pod1/cpu.max", "300000 100000")
    system.write("sys/fs/cgroup/kubepods/pod1/box/cpu.max", "max 100000")
    system.write("sys/fs/cgroup/kubepods/pod2/cpu.max", "100000 100000")  # not this process's
    assert cpu_quota(system.root) == 3.0


def test_a_container_sees_its_own_group_at_the_top(system: System) -> None:
    """Docker with version 1 names the group as the host does, and mounts it at the top."""
    mounts = "40 39 0:29 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"
    system.tell("3:cpu:/docker/abc\n", mounts)
    system.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000")
    system.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    assert cores(system.root) == 2


def test_a_group_outside_of_what_is_mounted(system: System) -> None:
    system.tell("0::/../elsewhere\n", V2.replace("0:23 / ", "0:23 /box ")).write(
        "sys/fs/cgroup/cpu.max", "200000 100000"
    )
    assert cores(system.root) == 2


def test_both_versions_side_by_side(system: System) -> None:
    unified = V2.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")
    system.tell("3:cpu,cpuacct:/job\n0::/job\n", V1 + unified)
    system.write("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "500000")
    system.write("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000")
    assert cores(system.root) == 5


def test_mounts_with_spaces_in_their_names(system: System) -> None:
    system.tell("0::/\n", V2.replace("/sys/fs/cgroup", r"/my\040groups"))
    system.write("my groups/cpu.max", "200000 100000")
    assert cores(system.root) == 2


@pytest.mark.parametrize("mounts", ["", "nonsense\n", "1 2 3 - \n", " - cgroup2\n"])
def test_systems_without_groups(system: System, mounts: str) -> None:
    assert cores(system.root) == 8
    assert cores(system.tell("0::/\nnonsense\n", mounts).root) == 8


def test_binding_counts_where_it_is_tighter(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    system.tell("0::/\n", V2).write("sys/fs/cgroup/cpu.max", "400000 100000")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 9}, raising=False)
    assert cores(system.root) == 2
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert cores(system.root) == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores(system.root) == 1


# --- settings ------------------------------------------------------------------------------


def chosen(found: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in found.items() if name != CHOSEN}


def test_what_is_set_where_the_user_set_nothing() -> None:
    assert chosen(thread_settings({}, 4)) == WHOLE


def test_the_user_s_settings_win() -> None:
    waiting = {name: WHOLE[name] for name in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")}
    assert chosen(thread_settings({"OMP_NUM_THREADS": "3"}, 4)) == waiting
    for name, value in (("OMP_WAIT_POLICY", "active"), ("GOMP_SPINCOUNT", "7"), ("KMP_BLOCKTIME", "200")):
        assert chosen(thread_settings({name: value}, 4)) == {"OMP_NUM_THREADS": "4"}


def test_a_process_that_slotlab_starts_chooses_anew() -> None:
    """A job may run on another machine, with the environment of the command that started it."""
    environment = thread_settings({}, 64)
    assert chosen(thread_settings(environment, 2)) == WHOLE | {"OMP_NUM_THREADS": "2"}
    assert not is_users(environment, "OMP_NUM_THREADS")
    for changed in ({"OMP_NUM_THREADS": "5"}, {"OMP_NUM_THREADS": "5", CHOSEN: "OMP_NUM_THREADS=64"}):
        assert is_users(environment | changed, "OMP_NUM_THREADS")
        assert "OMP_NUM_THREADS" not in thread_settings(environment | changed, 2)


def test_jobs_share_the_cores_unless_the_user_says_how_many() -> None:
    both = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    assert shares({}, 4) == both
    assert shares(thread_settings({}, 8), 4) == both
    assert shares({}, 100)["OMP_NUM_THREADS"] == "1"
    assert shares({"MKL_NUM_THREADS": "3"}, 4) == {"OMP_NUM_THREADS": "2"}
    assert shares({"OMP_NUM_THREADS": "3"}, 4) == {}


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    environment: dict[str, str] = {}
    monkeypatch.setattr(module.os, "environ", environment)
    return environment


@pytest.mark.parametrize(
    ("together", "share"), [(None, "8"), ("2", "4"), ("3", "2"), ("99", "1"), ("?", "8")]
)
def test_processes_that_train_together_share_the_cores(
    own_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, together: str | None, share: str
) -> None:
    monkeypatch.setattr(module, "cpu_quota", lambda root: None)
    monkeypatch.delitem(sys.modules, "torch")
    own_environment |= {} if together is None else {"LOCAL_WORLD_SIZE": together}
    module.set_threads()
    assert own_environment["OMP_NUM_THREADS"] == share


def test_nothing_is_set_when_torch_is_loaded(own_environment: dict[str, str]) -> None:
    assert "torch" in sys.modules
    module.set_threads()
    assert not set(WHOLE) & own_environment.keys()


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP tells what it read")
@pytest.mark.parametrize(
    ("given", "threads", "spins"),
    [
        ({}, str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1), "20000"),
        ({"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "77"}, "1", "77"),
    ],
    ids=["chosen", "the user's"],
)
def test_the_command_tells_openmp_before_it_is_loaded(
    given: dict[str, str], threads: str, spins: str, plugin: Callable[..., Path]
) -> None:
    file = plugin("told.py")
    file.write_text(file.read_text() + "\nimport torch\nprint('threads', torch.get_num_threads())\n")
    unset = (*WHOLE, "OMP_WAIT_POLICY", CHOSEN)
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    found = subprocess.run(
        [sys.executable, "-m", "slotlab.framework.cli", "list", "encoder", "--plugin", file.name],
        env=environment | {"OMP_DISPLAY_ENV": "verbose"} | given,
        cwd=file.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    if cpu_quota() is None:
        assert f"threads {threads}\n" in found.stdout
    assert f"GOMP_SPINCOUNT = '{spins}'" in found.stderr
