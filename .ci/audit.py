#!/usr/bin/env python3
"""Looks for known vulnerabilities in what users of modelhost install: make audit

Fails if there are any among what modelhost and its extras require. Those of other packages, which
only test or build it, are shown. Where no vulnerability service can be reached, it says so, and
does not fail: no network is no vulnerability.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from typing import Any

from packaging.requirements import Requirement

SERVICES = ("pypi", "osv")


def shipped(root: str = "modelhost") -> set[str]:
    """Names of all packages that modelhost needs, its extras included."""
    found: set[str] = set()
    waiting = [(root, True)]
    while waiting:
        name, with_extras = waiting.pop()
        if normal(name) in found:
            continue
        found.add(normal(name))
        for text in _required(name):
            requirement = Requirement(text)
            is_extra = requirement.marker is not None and "extra" in str(requirement.marker)
            if with_extras or not is_extra:
                waiting.append((requirement.name, False))
    return found


def _required(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:  # for another platform, or of an extra that is not installed
        return []


def normal(name: str) -> str:
    """The name of a package in the one way that all write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def ask(service: str) -> list[dict[str, Any]] | None:
    """What the service knows of each package that it could look up; None if it knows of none."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--skip-editable"]
    command += ["--vulnerability-service", service, "--progress-spinner", "off", "--local"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        return None
    known = [package for package in packages if "vulns" in package]
    return known or None


def main() -> int:
    """Ask the services one after another until one answers; return the exit status."""
    for service in SERVICES:
        known = ask(service)
        if known is not None:
            return report(known, shipped())
    print(
        "NOT AUDITED: no vulnerability service could be reached (tried "
        f"{' and '.join(SERVICES)}). This says nothing about vulnerabilities; "
        "run `make audit` where there is a network."
    )
    return 0


def report(known: list[dict[str, Any]], needed: set[str]) -> int:
    """Print each vulnerability; 1 if users would install one of them."""
    is_bad = False
    for package in known:
        for vulnerability in package["vulns"]:
            concerns_users = normal(package["name"]) in needed
            is_bad = is_bad or concerns_users
            versions = ", ".join(vulnerability["fix_versions"]) or "no version yet"
            print(
                f"{'USERS' if concerns_users else 'tools'}: {package['name']} "
                f"{package['version']}: {vulnerability['id']}, mended in {versions}"
            )
    concerned = sum(normal(package["name"]) in needed for package in known)
    print(f"{len(known)} packages audited, {concerned} of which users may install.")
    return int(is_bad)


if __name__ == "__main__":
    sys.exit(main())
