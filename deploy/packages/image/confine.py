"""confine.py PROFILE PROGRAM [ARGUMENT...]: puts a seccomp profile in force for itself, as container runtimes do, and becomes
the program. confine.py PROFILE --bpf FILE: writes the profile as the program of the kernel, for bubblewrap.

The values are those of libseccomp's own header, version 2.5.
"""

import ctypes
import json
import os
import sys

MASKED_EQ, ALLOW, ERRNO = 7, 0x7FFF0000, 0x00050000


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
lib.seccomp_init.restype = ctypes.c_void_p
with open(sys.argv[1]) as file:
    profile = json.load(file)
context = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(ERRNO | profile["defaultErrnoRet"])))
for rule in profile["syscalls"]:
    action = ctypes.c_uint32(ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else ERRNO | rule["errnoRet"])
    compare = [Compare(a["index"], MASKED_EQ, a["value"], a["valueTwo"]) for a in rule.get("args", [])]
    array = (Compare * len(compare))(*compare)
    for name in rule["names"]:
        number = lib.seccomp_syscall_resolve_name(name.encode())
        if number == -1 and profile.get("skipsUnknown"):
            continue
        assert number != -1, name + " is no system call"
        added = lib.seccomp_rule_add_array(context, action, number, len(compare), array)
        assert added == 0 or number < 0, (name, added)
if sys.argv[2] == "--bpf":
    with open(sys.argv[3], "wb") as file:
        assert lib.seccomp_export_bpf(context, file.fileno()) == 0, "the profile cannot be written"
else:
    assert lib.seccomp_load(context) == 0, "the profile cannot be loaded"
    os.execv(sys.argv[2], sys.argv[2:])
