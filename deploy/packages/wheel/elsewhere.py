"""The commands of `heliograph` where its programs do not run, and the builder of its source archive: they say what to do, and
end with exit code 2.
"""

import platform
import sys


def main(*_, **__):
    libc = " ".join(platform.libc_ver()).strip() or "another C library"
    print(
        "heliograph needs Linux on x86_64 or aarch64 with glibc 2.28 or newer; this is "
        f"{platform.system()} on {platform.machine()} with {libc}. Run it in WSL2, or as a container: docker run --rm "
        "-p 127.0.0.1:8080:8080 -p 127.0.0.1:8443:8443 -p 127.0.0.1:8090:8090 heliograph:VERSION serve --dev --container; "
        'see "On a Mac or on Windows" in deploy/INSTALL.md',
        file=sys.stderr,
    )
    sys.exit(2)


# What pip calls, if it is told to build.
build_wheel = build_sdist = get_requires_for_build_wheel = main

if __name__ == "__main__":
    main()
