"""What a scanner finds in the product's source: nothing that is not justified here.

`bandit` reads the source; a finding is either mended or has its reason below, by rule and file. `pip-audit` asks the
package index for known holes in what Hexad installs; where the index does not tell, that half is skipped.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.house.source import PACKAGES, ROOT

pytestmark = pytest.mark.long

TIMEOUT_S = 300

EVERYWHERE = {
    "B101": "asserts state what holds between our own parts; what comes from outside is checked by errors",
    "B311": "seeded luck draws samples and members, so that a simulation can repeat it; secrets come from Platform",
}
JUSTIFIED = {
    ("B104", "hexad/topology.py"): "compares an address that the user gave",
    ("B104", "node/platform.py"): "`bind *` means every interface, as in Redis; protected mode stands before it",
    ("B105", "node/acl/users.py"): "the text of an error about a password",
    ("B105", "sentinel/state.py"): "no password, until the configuration names one",
    ("B302", "node/datatypes/lists.py"): "reads only blocks that it has packed itself in this process",
    ("B404", "node/platform.py"): "starts the scripts that a Sentinel is told of, without a shell",
    ("B404", "hexad/processes.py"): "starts the nodes of a local topology, by lists of words and never by a shell",
}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)


def test_bandit_finds_nothing_that_is_not_justified() -> None:
    packages = [package for package in PACKAGES if (ROOT / package).is_dir()]
    done = run("bandit", "--quiet", "--format", "json", "--skip", ",".join(EVERYWHERE), "--recursive", *packages)
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert not report["errors"], report["errors"]
    found = {(one["test_id"], one["filename"].removeprefix("./")): one for one in report["results"]}
    unjustified = [
        f"{name}:{one['line_number']}: {rule} {one['issue_text']}"
        for (rule, name), one in found.items()
        if (rule, name) not in JUSTIFIED
    ]
    assert not unjustified, "\n".join(unjustified)
    assert JUSTIFIED.keys() <= found.keys(), "a reason for what is not found any more"


def installed_versions() -> dict[str, str]:
    """What Hexad itself needs of its installed packages, with what those need: name -> version."""
    found: dict[str, str] = {}
    with (ROOT / "pyproject.toml").open("rb") as project:
        waiting: list[str] = tomllib.load(project)["project"]["dependencies"]
    while waiting:
        needed = Requirement(waiting.pop())
        if needed.name not in found and (needed.marker is None or needed.marker.evaluate({"extra": ""})):
            found[needed.name] = metadata.version(needed.name)
            waiting += metadata.requires(needed.name) or ()
    return found


def test_what_is_installed_has_no_known_holes(tmp_path: Path) -> None:
    versions = installed_versions()
    assert {"trio", "lupa", "attrs"} <= versions.keys()
    listed = tmp_path / "installed.txt"
    listed.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()))
    done = run("pip_audit", "--no-deps", "--disable-pip", "--format", "json", "--requirement", str(listed))
    if not done.stdout.startswith("{"):
        pytest.skip(f"nobody to ask: {done.stderr[-300:]}")
    told = [one for one in json.loads(done.stdout)["dependencies"] if "vulns" in one]
    assert not [one for one in told if one["vulns"]], told
    if not told:
        pytest.skip("the package index that is reached tells no holes")
