"""settle.py FROM TO: a docker-archive of buildah without what differs from build to build, compressed.

The configuration of an image names the container that it was made in, and the archive has the form of Docker 1.9 beside
today's. Neither is of use to who loads it.
"""

import gzip
import hashlib
import io
import json
import sys
import tarfile

source, target = sys.argv[1:]
with tarfile.open(source) as archive:
    (entry,) = json.load(archive.extractfile("manifest.json"))
    config = json.load(archive.extractfile(entry["Config"]))
    layers = {name: archive.extractfile(name).read() for name in entry["Layers"]}
for key in ("container", "container_config"):
    config.pop(key, None)
text = json.dumps(config, sort_keys=True).encode()
entry["Config"] = f"{hashlib.sha256(text).hexdigest()}.json"
manifest = json.dumps([entry], sort_keys=True).encode()
with (
    open(target, "wb") as raw,
    gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
    tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
):
    for name, data in {**layers, entry["Config"]: text, "manifest.json": manifest}.items():
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
