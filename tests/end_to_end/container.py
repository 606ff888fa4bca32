"""Builds and runs images without docker: what a Dockerfile says, done on a copy of this machine.

The machine's own file system stands for the base image, under an overlay that takes all changes. So
each instruction is carried out as it stands, paths and users included, and nothing stays behind.
This needs root, and a kernel that allows mounts of one's own; see `can_run_containers`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from dockerfile_parse import DockerfileParser  # type: ignore[import-untyped]

# pip asks where the machine's own pip does, as it would under `docker build` with a proxy.
_FROM_OUTSIDE = re.compile(r"PIP_|SSL_|HTTPS?_PROXY|NO_PROXY|REQUESTS_CA", re.IGNORECASE)
LACKING = "libgomp1"
_BASE_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


def can_run_containers() -> bool:
    """Whether this process may mount, which takes root and a kernel that lets it."""
    probe = "mount -t tmpfs none /mnt && mkdir /mnt/up /mnt/work /mnt/root && " + _overlay("/mnt")
    command = ["unshare", "--mount", "sh", "-c", probe]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _overlay(folder: str, *below: str) -> str:
    lower = ":".join([*below, "/"])
    options = f"lowerdir={lower},upperdir={folder}/up,workdir={folder}/work"
    return f"mount -t overlay overlay -o {options} {folder}/root"


@dataclass(frozen=True)
class Image:
    """What a build has come to so far, and in the end the image."""

    layers: tuple[str, ...] = ()
    """Folders that hold what differs from the machine's file system, the last one first."""
    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": _BASE_PATH})
    folder: str = "/"
    user: str = "0"
    command: tuple[str, ...] = ()
    health_check: tuple[str, ...] = ()

    @property
    def root(self) -> str:
        return f"{Path(self.layers[0]).parent}/root"


class Builder:
    """A mount namespace of its own, in which images are built and run; `with` ends it."""

    def __enter__(self) -> Builder:
        self._scratch = tempfile.TemporaryDirectory(prefix="modelhost-images-")
        script = f"mount -t tmpfs none {self._scratch.name} && echo mounted && exec sleep infinity"
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "mounted\n"
        self.images: dict[str, Image] = {}
        self._count = 0
        return self

    def __exit__(self, *_error: object) -> None:
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()
        self._scratch.cleanup()

    def build(self, dockerfile: Path, context: Path, tag: str) -> Image:
        """Do what `docker build --file dockerfile --tag tag context` does."""
        image = Image()
        stages: dict[str, Image] = {}
        arguments: dict[str, str] = {}
        with tempfile.TemporaryFile() as copy:
            copy.write(dockerfile.read_bytes())
            structure = DockerfileParser(fileobj=copy).structure
        for instruction in structure:
            name, value = instruction["instruction"], instruction["value"]
            if name == "FROM":
                source, _, stage = _expanded(value, arguments).partition(" AS ")
                image = self._layer_on(self.images.get(source, Image()))
                stages[stage] = image
            elif name == "ARG":
                key, _, default = value.partition("=")
                arguments[key] = default.strip('"')
            elif name == "COPY":
                self._copy(image, value, context, stages)
            elif name == "RUN":
                self._run(image, value, arguments)
            elif name != "COMMENT":
                image = _with_setting(image, name, value)
        self.images[tag] = image
        return image

    @contextmanager
    def running(
        self, image: Image, environment: Mapping[str, str], log: Path
    ) -> Iterator[tuple[Image, subprocess.Popen[bytes]]]:
        """Do what `docker run --read-only --tmpfs /tmp` does, until the block ends."""
        image = self._layer_on(image)
        self.inside(f"mount -o remount,ro {image.root} && mount -t tmpfs none {image.root}/tmp")
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command(image, image.command, environment),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield image, process
        finally:
            process.terminate()
            try:
                process.wait(60)
            finally:
                process.kill()

    def command(
        self,
        image: Image,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        bounding_set: str = "-all",
    ) -> list[str]:
        """What runs the arguments in the image; the process is that of the last of them."""
        user, _, group = image.user.partition(":")
        variables = {**image.environment, **environment}
        return [
            *self._entered(),
            *("chroot", image.root, "setpriv", "--reuid", user, "--regid", group or user),
            *("--clear-groups", "--no-new-privs", "--bounding-set", bounding_set),
            *("env", "-i", f"--chdir={image.folder}"),
            *(f"{name}={value}" for name, value in variables.items()),
            *arguments,
        ]

    def inside(self, script: str) -> None:
        """Run a script of bash as root, where the images are mounted."""
        _check([*self._entered(), "bash", "-euc", script])

    def _entered(self) -> list[str]:
        return ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--"]

    def _layer_on(self, below: Image) -> Image:
        self._count += 1
        folder = f"{self._scratch.name}/{self._count}"
        root = f"{folder}/root"
        # The base image has its `python` on the path; here it is the one that runs the tests, and
        # it may be in somebody's home.
        base = Path(sys.base_prefix)
        python = f'#!/bin/sh\nexec {base / "bin" / "python3"} "$@"\n'
        parents = " ".join(f"{root}{parent}" for parent in (base, *base.parents))
        self.inside(
            f"mkdir -p {folder}/up {folder}/work {root}; {_overlay(folder, *below.layers)};"
            f"mount --rbind /dev {root}/dev; mount -t proc proc {root}/proc;"
            f"rm -f {root}/usr/local/bin/python;"
            f"printf %s {shlex.quote(python)} > {root}/usr/local/bin/python;"
            f"chmod 755 {root}/usr/local/bin/python; chmod a+x {parents}"
        )
        if not below.layers:
            # What the base image does not have; others of this machine's packages may need it.
            self.inside(f"chroot {root} dpkg --purge --force-depends {LACKING}")
        return replace(below, layers=(f"{folder}/up", *below.layers))

    def _copy(self, image: Image, value: str, context: Path, stages: Mapping[str, Image]) -> None:
        words = value.split()
        origin = str(context)
        if words[0].startswith("--from="):
            origin = stages[words.pop(0).partition("=")[2]].root
        *sources, target = words
        destination = f"{image.root}{Path(image.folder, target)}"
        self.inside(f"mkdir -p {destination}")
        for source in sources:
            path = f"{origin}/{source.strip('/')}"
            self.inside(f'if [ -d {path} ]; then cp -r {path}/. {destination}/; '
                        f"else cp {path} {destination}/; fi")  # fmt: skip

    def _run(self, image: Image, value: str, arguments: Mapping[str, str]) -> None:
        outside = {name: text for name, text in os.environ.items() if _FROM_OUTSIDE.match(name)}
        command = json.loads(value) if value.startswith("[") else ["/bin/sh", "-c", value]
        if image.user == "0":
            outside["HOME"] = "/root"  # where pip's own settings are
        # A build may become another user, as apt does to fetch.
        _check(self.command(image, command, {**arguments, **outside}, bounding_set="+all"))


def _with_setting(image: Image, name: str, value: str) -> Image:
    if name == "ENV":
        pairs = (word.partition("=") for word in shlex.split(value))
        added = {key: _expanded(text, image.environment) for key, _, text in pairs}
        return replace(image, environment={**image.environment, **added})
    if name == "WORKDIR":
        return replace(image, folder=value)
    if name == "USER":
        return replace(image, user=value)
    if name == "CMD":
        return replace(image, command=tuple(json.loads(value)))
    if name == "HEALTHCHECK":
        return replace(image, health_check=tuple(json.loads(value.partition(" CMD ")[2])))
    assert name == "EXPOSE", f"the tests cannot do {name}"
    return image


def _expanded(text: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: values.get(match[1] or match[2], ""), text)


def _check(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
