#!/usr/bin/env python3
"""Completes a material list of cargo-cyclonedx: the C libraries that crates compile and link, which it does not know.

    materials.py LIST [STATUS.D IMAGE]    rewrites LIST; with the records of Debian packages in a folder, also writes IMAGE,
                                          the list of an image that has them beside the program
"""

import json
import pathlib
import re
import subprocess
import sys

# The crate, the file in it that names the version of its C library, where in it, and the library with its licence.
LINKED = [
    ("glommio", "liburing/liburing.spec", r"^Version: (\S+)", "liburing", "MIT"),
    ("libmimalloc-sys", "c_src/mimalloc/v3/include/mimalloc.h", r"MI_MALLOC_VERSION (\d+)", "mimalloc", "MIT"),
    ("aws-lc-sys", "aws-lc/include/openssl/base.h", r'AWSLC_VERSION_NUMBER_STRING "(\S+)"', "aws-lc", "ISC AND (Apache-2.0 OR ISC)"),
]


def main(path, status=None, image=None):
    materials = json.loads(path.read_text())
    names = {component["name"] for component in materials["components"]}
    for crate, file, version, library, licence in LINKED:
        if crate in names:
            found = re.search(version, (folder(crate) / file).read_text(), re.M)
            if not found:
                raise SystemExit(f"error: {file} of {crate} does not name a version; expected {version}")
            add(materials, library, plain(found.group(1)), licence, "generic/" + library)
    write(path, materials)
    if status:
        for record in sorted(status.iterdir()):
            fields = dict(re.findall(r"^(\S+): (.*)$", record.read_text(), re.M))
            add(materials, fields["Package"], fields["Version"], None, f"deb/debian/{fields['Package']}", fields["Architecture"])
        materials["metadata"]["component"]["type"] = "container"
        write(image, materials)


def add(materials, name, version, licence, kind, architecture=None):
    package = f"pkg:{kind}@{version}" + (f"?arch={architecture}" if architecture else "")
    licences = {"licenses": [{"expression": licence}]} if licence else {}
    materials["components"].append({"type": "library", "bom-ref": package, "name": name, "version": version, **licences, "purl": package})


def plain(version):
    """30302 of mimalloc is 3.3.2."""
    if version.isdigit() and len(version) == 5:
        return f"{version[0]}.{int(version[1:3])}.{int(version[3:])}"
    return version


def folder(crate):
    text = subprocess.run(["cargo", "metadata", "--locked", "--format-version=1"], check=True, capture_output=True).stdout
    (manifest,) = (package["manifest_path"] for package in json.loads(text)["packages"] if package["name"] == crate)
    return pathlib.Path(manifest).parent


def write(path, materials):
    path.write_text(json.dumps(materials, indent=2, ensure_ascii=False) + "\n")


main(*map(pathlib.Path, sys.argv[1:]))
