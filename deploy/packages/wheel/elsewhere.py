"""The commands of `heliograph` where its programs do not run: they say what to do, and end with exit code 2."""

import platform
import sys


def main():
    libc = " ".join(platform.libc_ver()).strip() or "another C library"
    print(
        f"heliograph needs Linux on x86_64 with glibc 2.28 or newer; this is {platform.system()} on {platform.machine()} "
        f"with {libc}. In a Linux of 6.1 or newer (a virtual machine, WSL2), or as a container: docker run --rm "
        "--network host --security-opt seccomp=seccomp.json heliograph:VERSION serve --dev",
        file=sys.stderr,
    )
    sys.exit(2)


if __name__ == "__main__":
    main()
