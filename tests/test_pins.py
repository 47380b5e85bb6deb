"""pyproject.toml, requirements.lock, environment.yml and the installation name the same versions."""

import os
import re
import subprocess
import tomllib
import venv
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
LINES = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and not line.startswith("#")]

PYTHONS = ("3.11.5", "3.12", "3.13", "3.14")

# What PyTorch pins itself, so that the CPU-only builds can be taken instead, and what pip brings along.
LEFT_OUT = re.compile(r"nvidia-.*|cuda-.*|triton|pip|setuptools|wheel")
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"}


def exact(requirement: str) -> tuple[str, Version]:
    """A requirement's canonical name and the one version that it allows."""
    parsed = Requirement(requirement)
    (specifier,) = parsed.specifier
    assert (specifier.operator, parsed.marker, parsed.url) == ("==", None, None), requirement
    assert "*" not in specifier.version, requirement
    return canonicalize_name(parsed.name), Version(specifier.version)


PINS = dict(map(exact, PROJECT["dependencies"]))
LOCK = dict(map(exact, LINES))


def installed() -> dict[str, Version]:
    """Without local parts: ``2.11.0+cpu`` is the build of 2.11.0 for CPUs."""
    found = ((item.metadata["Name"], Version(item.version).public) for item in metadata.distributions())
    return {canonicalize_name(name): Version(version) for name, version in found if name}


def test_every_pin_stands_in_the_lock():
    assert len(PINS) == len(PROJECT["dependencies"])
    assert PINS.items() <= LOCK.items()


def test_the_lock_names_every_package_once_and_in_order():
    names = [Requirement(line).name for line in LINES]
    assert len(LOCK) == len(LINES)
    assert names == sorted(names, key=str.lower)


def test_the_lock_leaves_the_choice_of_pytorchs_build_open():
    assert not [line for line in LINES if re.match("nvidia-|cuda-|triton|pip==|setuptools==", line)]
    assert not [line for line in LINES if "+" in line or "@" in line or line.startswith("-")]


def test_pytorch_and_torchaudio_were_published_together():
    assert PINS["torch"] == PINS["torchaudio"]


def test_the_conda_environment_installs_the_lock_and_repeats_no_version():
    *conda, nested = ENVIRONMENT["dependencies"]
    assert nested == {"pip": ["-r requirements.lock", "-e ."]}
    assert [re.split("[=<>!~ ]", entry)[0] for entry in conda] == ["python", "pip"]
    assert conda[1] == "pip"


def test_the_conda_environments_python_is_the_oldest_that_is_allowed():
    (version,) = (entry.partition("=")[2] for entry in ENVIRONMENT["dependencies"][:-1] if entry.startswith("python="))
    (oldest,) = SpecifierSet(PROJECT["requires-python"])
    assert (oldest.operator, Version(oldest.version).release[:2]) == (">=", Version(version).release)


def test_the_workflow_runs_on_the_oldest_python_and_on_a_newer_one():
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]
    tested = jobs["test"]["strategy"]["matrix"]["python"]
    assert len(tested) > 1
    assert set(tested) <= {python.rpartition(".")[0] if python.count(".") > 1 else python for python in PYTHONS}
    (oldest,) = SpecifierSet(PROJECT["requires-python"])
    assert PYTHONS[0] == oldest.version


def test_the_oldest_python_is_one_that_the_lock_allows_and_everywhere_the_same():
    (oldest,) = SpecifierSet(PROJECT["requires-python"])
    asked = {item.metadata["Name"]: item.metadata.get("Requires-Python") for item in metadata.distributions()}
    locked = {name: SpecifierSet(of) for name, of in asked.items() if of and canonicalize_name(name) in LOCK}
    assert [name for name, of in locked.items() if oldest.version not in of] == []
    for name in ("README.md", "book/reproduce.md", "Makefile"):
        assert re.findall(r"Python (3[\d.]*) or newer", (ROOT / name).read_text()) == [oldest.version], name


@pytest.fixture(scope="module")
def uv(tmp_path_factory) -> Path:
    """A resolver of other Pythons' packages, in an environment of its own."""
    folder = tmp_path_factory.mktemp("uv")
    venv.create(folder, with_pip=True)
    pip = (folder / "bin/python", "-m", "pip", "install", "-q", "uv==0.13.9")
    if subprocess.run(pip, capture_output=True).returncode:
        pytest.skip("the network gives no packages")
    return folder / "bin/uv"


@pytest.mark.nightly
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", ["x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin"])
def test_the_lock_has_wheels_for(python, platform, uv):
    """No package but one in plain Python is built from its source; on 3.14 a second one, with a C compiler."""
    built = {"connection-pool"} | ({"immutables"} if python == "3.14" else set())
    command = [uv, "pip", "compile", ROOT / "requirements.lock", "--no-deps", "--quiet", "--output-file", os.devnull]
    command += ["--python-version", python, "--python-platform", platform, "--only-binary", ":all:"]
    command += [word for name in sorted(built) for word in ("--no-binary", name)]
    mac = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"}  # the oldest that onnxruntime is published for
    ran = subprocess.run(command, env=mac, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_this_installation_is_the_locked_one():
    found = installed()
    assert [name for name in PINS if name not in found] == []
    assert {name: found[name] for name in LOCK if name in found} == {name: LOCK[name] for name in LOCK if name in found}


def test_the_lock_holds_all_that_the_pins_need_and_nothing_else():
    """Follows the requirements that the installed packages state, to the end."""
    todo, seen, wrong = [(name, frozenset()) for name in sorted(PINS)], set(), []
    while todo:
        package, extras = todo.pop()
        if (package, extras) in seen or LEFT_OUT.fullmatch(package):
            continue
        seen.add((package, extras))
        if package not in LOCK:
            wrong.append(package)
        try:
            stated = metadata.requires(package) or ()
        except metadata.PackageNotFoundError:  # not needed on this machine
            continue
        for needed in map(Requirement, stated):
            wanted = (needed.marker is None) or any(
                needed.marker.evaluate({**LINUX, "extra": extra}) for extra in (extras or {""})
            )
            if wanted:
                child = canonicalize_name(needed.name)
                todo.append((child, frozenset(needed.extras)))
                version = LOCK.get(child)
                if version is not None and not needed.specifier.contains(version, prereleases=True):
                    wrong.append(f"{package}: {needed}")
    assert wrong == []
    assert LOCK.keys() - {package for package, _ in seen} == set()
