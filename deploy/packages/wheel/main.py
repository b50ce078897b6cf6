"""`python -m heliograph`: the program `heliograph` of this installation, in place of this one."""

import os
import shutil
import sys
import sysconfig


def main():
    # A user's own installation has its programs elsewhere than the interpreter.
    schemes = [None, f"{os.name}_user"]
    folders = [sysconfig.get_path("scripts", scheme) if scheme else sysconfig.get_path("scripts") for scheme in schemes]
    program = shutil.which("heliograph", path=os.pathsep.join(folders)) or shutil.which("heliograph")
    if program is None:
        sys.exit(f"heliograph is neither in {' nor in '.join(folders)}: install the package again")
    os.execv(program, [program, *sys.argv[1:]])


if __name__ == "__main__":
    main()
