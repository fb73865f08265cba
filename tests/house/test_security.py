"""What a scanner finds in the product's source: nothing that is not justified here.

`bandit` reads the source; a finding is either mended or has its reason below, by rule and file. `pip-audit` asks the
package index for known holes in what Hexad installs; where the index does not tell, that half is skipped.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

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
    ("B404", "hexad/processes.py"): "starts the nodes of a local topology, by lists of words and never by a shell",
}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S
    )  # fmt: skip


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


def test_what_is_installed_has_no_known_holes() -> None:
    """Of what Hexad itself needs, at the versions that are installed."""
    names = run("pip", "inspect", "--local")
    installed = {
        package["metadata"]["name"].lower(): package["metadata"] for package in json.loads(names.stdout)["installed"]
    }
    needed = needs("hexad", installed)
    assert {"trio", "lupa", "pyyaml"} <= needed
    listed = "\n".join(f"{name}=={installed[name]['version']}" for name in sorted(needed - {"hexad"}))
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--format", "json", "-r", "/dev/stdin"],
        cwd=ROOT, input=listed, capture_output=True, text=True, timeout=TIMEOUT_S,
    )  # fmt: skip
    if not done.stdout.startswith("{"):
        pytest.skip(f"the index does not tell: {done.stderr[-300:]}")
    holes = [one for one in json.loads(done.stdout)["dependencies"] if one.get("vulns")]
    assert not holes, holes
