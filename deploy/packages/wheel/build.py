"""Writes both wheels of `heliograph` into $DIST, from $STAGE, $ARCH and $VERSION: PEP 427, with the times of
$SOURCE_DATE_EPOCH. Beside them a source archive (PEP 517), from which nothing is built.

maturin and other builders compile what they pack. The programs are those of all packages, built once, so the archive is
written here: a zip with a list of its files.
"""

import base64
import gzip
import hashlib
import io
import os
import tarfile
import time
import zipfile
from pathlib import Path

ROOT, STAGE, DIST = (Path(os.environ[name]) for name in ("ROOT", "STAGE", "DIST"))
VERSION = os.environ["VERSION"]
# Zip has no earlier year, no time zone, and even seconds.
TIME = time.gmtime(max(int(os.environ["SOURCE_DATE_EPOCH"]), 315532800))[:6]
INFO = f"heliograph-{VERSION}.dist-info"
HERE = ROOT / "deploy/packages/wheel"

METADATA = f"""\
Metadata-Version: 2.4
Name: heliograph
Version: {VERSION}
Summary: Signaling service for WebRTC with the protocol of Kinesis Video Streams, and its plugin for pytest
License-Expression: Apache-2.0
Project-URL: Repository, https://heliograph.invalid/heliograph
License-File: LICENSE
License-File: licences.txt
Classifier: Framework :: Pytest
Classifier: Operating System :: POSIX :: Linux
Requires-Python: >=3.9
Description-Content-Type: text/markdown

"""

# What has no programs has no crates either.
PURE = METADATA.replace("License-File: licences.txt\n", "")


def main():
    licences = {
        f"{INFO}/licenses/LICENSE": (ROOT / "LICENSE").read_bytes(),
        f"{INFO}/licenses/licences.txt": (STAGE / "licences.txt").read_bytes(),
    }
    programs = {
        f"heliograph-{VERSION}.data/scripts/{name}": (STAGE / name).read_bytes()
        for name in ("heliograph", "heliograph-loadgen")
    }
    plugin = {"heliograph_testing.py": (ROOT / "deploy/testing/python/heliograph_testing.py").read_bytes()}
    module = (HERE / "main.py").read_bytes()
    # No dependencies: the plugin is loaded by a pytest that is there.
    write(
        f"py3-none-manylinux_2_28_{os.environ['ARCH']}",
        {**programs, **plugin, **licences, "heliograph/__init__.py": b"", "heliograph/__main__.py": module},
        "[pytest11]\nheliograph_testing = heliograph_testing\n",
    )
    elsewhere = (HERE / "elsewhere.py").read_text().replace("VERSION", VERSION).encode()
    write(
        "py3-none-any",
        {f"{INFO}/licenses/LICENSE": licences[f"{INFO}/licenses/LICENSE"], "heliograph/__init__.py": b"",
         "heliograph/__main__.py": elsewhere},
        "[console_scripts]\nheliograph = heliograph.__main__:main\nheliograph-loadgen = heliograph.__main__:main\n",
    )
    write_source({"backend.py": elsewhere, "pyproject.toml": PROJECT.encode(), "PKG-INFO": PURE.encode(),
                  "LICENSE": licences[f"{INFO}/licenses/LICENSE"]})


# A builder that pip asks for a wheel, in place of one that fails after minutes.
PROJECT = f"""\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "heliograph"
version = "{VERSION}"
"""


def write_source(files):
    name = f"heliograph-{VERSION}"
    with open(DIST / f"{name}.tar.gz", "wb") as raw, gzip.GzipFile("", "wb", 9, raw, 0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for file, data in sorted(files.items()):
                info = tarfile.TarInfo(f"{name}/{file}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


def write(tag, files, entry_points):
    text = METADATA if tag != "py3-none-any" else PURE
    pure = str(tag == "py3-none-any").lower()
    files = {
        **files,
        f"{INFO}/METADATA": (text + (HERE / "README.md").read_text()).encode(),
        f"{INFO}/WHEEL": f"Wheel-Version: 1.0\nGenerator: heliograph\nRoot-Is-Purelib: {pure}\nTag: {tag}\n".encode(),
        f"{INFO}/entry_points.txt": entry_points.encode(),
    }
    rows = [f"{name},sha256={digest(data)},{len(data)}\n" for name, data in sorted(files.items())]
    files[f"{INFO}/RECORD"] = "".join([*rows, f"{INFO}/RECORD,,\n"]).encode()
    path = DIST / f"heliograph-{VERSION}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        # The list of the files comes last, as readers of wheels expect.
        for name in sorted(files, key=lambda name: (name.startswith(INFO), name.endswith("/RECORD"), name)):
            entry = zipfile.ZipInfo(name, TIME)
            entry.create_system = 3
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if "/scripts/" in name else 0o100644) << 16
            archive.writestr(entry, files[name])
    path.chmod(0o644)


def digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


main()
