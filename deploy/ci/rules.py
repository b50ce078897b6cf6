"""Lists what must have a test, with the tests whose source names it: rules of the wire, metrics, admin routes, configuration
keys, exit codes, attacks. A line is `kind TAB item TAB gate|all|none TAB places`. Reads sources only.
A test is in the gate unless it is ignored; an ignored one is if a filter of `readonly gate_NAME=(…)` in
deploy/ci/check.sh is part of its path, as libtest takes filters. An item that only other tests name is "all". Outside tests
a name counts as the best test of its file, else of the nearest folder with tests; a script, as the best that quotes its name.

What names an item, in Rust only in quotes unless it says code, and never in comments:
* metric: its name as a whole word; of a histogram also with _bucket, _sum or _count.
* route: a path that it takes, such as `/channels/cam/trace` for `/channels/{name}/trace`, where a text or a word begins, or
  behind a `}`. Methods are not distinguished. Only behind a method: the text `GET /`, and paths for `/dev/{*page}`.
* key: `limits.payload_bytes`; its flag, `--data-dir` or `--tls-cert`; a line `head_bytes = ` below `[limits]`, or, with no
  table before it in its text, if it is a key at the top or the only one of that name; the code `["limits"]["head_bytes"]`,
  `settings.limits.head_bytes =` or `&mut quotas.ice,`, with _ms behind a duration.
* exit: the codes `code` and `Some(2)` in one expression, in tests of that program.
A rule or an attack names tests itself: each must exist, and the best decides.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path, PurePosixPath

TOKEN = re.compile(r"//[^\n]*|/\*.*?\*/|r(#*)\"(.*?)\"\1|\"((?:[^\"\\]|\\.)*)\"|'(?:\\[^']+|[^\\'])'", re.S)
TEST = re.compile(r"#\[(?:\w+::)*test\b[^\]]*\]((?:\s*#\[[^\]]*\])*)\s*(?:async )?fn (\w+)")
MODULE_OF_TESTS = re.compile(r"^#\[cfg\((?:all\()?test\b[^\n]*\n(?:#[^\n]*\n)*(?:pub\S* )?mod (\w+) \{\n(.*?)^\}", re.M | re.S)
MACRO = re.compile(r"^macro_rules! (\w+) \{(.*?)^\}", re.M | re.S)
PATH = re.compile(r"(?:\b(GET|POST|DELETE) |^|(?<=[\s\"'`}]))(/[\w\-./{}:%*~]+|/$)")
KEY_LINE = re.compile(r"(?:^|\|)[ \t]*(?:\[\[?([^\]\n]+)\]|(\w+) = )", re.M)  # tables of cases have | between lines
KEY_FIELD = re.compile(r"(?:\bsettings\.(?=[\w.]+ = )|&mut (?=[\w.]+,))((?:\w+\.)?\w+?)(?:_ms)?\b")
CITATION = re.compile(r"`([\w/.{,}-]+\.(?:rs|py|mjs)(?:::\w+)?|[\w/]+/tests(?:/\w+)?(?:::\w+)?|\w+::\w+)`")
TABLE = re.compile(r"include_str!\(\"([^\"]+/data/broken_\w+\.txt)\"\)")
EXITS = {"broker": ("broker/src/failure.rs", "deploy/INSTALL.md"),
         "loadgen": ("loadgen/src/result/verdict.rs", "loadgen/src/result/threshold.rs")}


def read(root):
    """The texts of a checkout by their paths."""
    files = {}
    for folder, folders, names in os.walk(root):
        folders[:] = {one for one in folders if one[0] != "."} - {"node_modules", "target" if folder == str(root) else ""}
        for path in (Path(folder, name) for name in names if name.endswith((".rs", ".md", ".toml", ".sh", ".py", ".mjs"))):
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".rs":  # a table of cases in a file counts as if it stood there
                text = TABLE.sub(lambda it: json.dumps((path.parent / it[1]).read_text(encoding="utf-8")), text)
            files[path.relative_to(root).as_posix()] = text
    return files if "codec/PROTOCOL.md" in files else sys.exit(f"{root}: must be a checkout, with codec/PROTOCOL.md")


class Tests:
    """The tests of a checkout. Levels are "gate" and "all", of which the first is greater."""

    def __init__(self, files):
        filters = re.findall(r"^readonly gate_\w+=\((.*?)\)", files["deploy/ci/check.sh"], re.M | re.S)
        self.filters = re.sub(r"#.*|[\"']", "", "\n".join(filters)).split()
        self.makers = {name: body for text in files.values() for name, body in MACRO.findall(text) if "#[test]" in body}
        # Modules of a binary for several; a file or folder of tests that is none is a binary.
        shared = {f"{os.path.dirname(path)}/{name}" for path, text in files.items() if re.search(r"/tests/\w+\.rs$", path)
                  for name in re.findall(r"(?m)^mod (\w+);", text)}
        self.levels, pieces = defaultdict(dict), []  # of tests, by files and paths; items of Rust files
        for file, text in files.items():
            top = re.match(r"(?:.*?/(?:src|tests/\w+))?", file)[0]
            inside = file.removeprefix(os.path.dirname(top) if top in shared else top)
            module = re.sub(r"(/mod|/main)?\.rs$", "", inside).strip("/").replace("/", "::")
            inner = [(f"{module}::{name}", re.sub(r"(?m)^    ", "", body)) for name, body in MODULE_OF_TESTS.findall(text)]
            for one in [(module, text)] if re.search(r"[/_]tests(/.*)?\.rs$", file) else inner:
                pieces += self.pieces_of(file, *one)
        best, named = defaultdict(str), defaultdict(str)  # levels of files and folders; of texts
        around = {file: [file, *map(str, PurePosixPath(file).parents)] for file in files}
        for file, levels in self.levels.items():
            for path in around[file]:
                best[path] = max(best[path], *levels.values())
        self.sources = []  # what may name items: file, code, texts, level
        for file, code, texts, own in pieces:
            level = max(own, default="") or next((best[one] for one in around[file] if one in best), "")
            self.sources += [(file, code, texts, level)]
            named |= {text: max(level, named[text]) for text in texts}
        scripts = (re.match(r"deploy/(?:conformance|testing)/[^/]+/(.*\.mjs|(test_\w+)\.py)$", path) for path in files)
        self.scripts = {one[0]: level for one in scripts if one and (level := max(named[one[1]], named[one[2]]))}
        self.sources += [(path, "", [files[path]], level) for path, level in self.scripts.items()]

    def pieces_of(self, file, module, text):
        """Cuts a source at the items that begin in its first column: file, code with offsets for texts, texts, levels."""
        text, start = text.replace('"]["', "."), 0
        code = TOKEN.sub(lambda token: "" if token[0][0] in "/'" else f'"{token.start()}"', text)
        texts = {str(token.start()): token[2] or re.sub(
            r"\\(\n\s*|.)|([{}])\2", lambda at: at[2] or {"n": "\n", "r": ""}.get(at[1], at[1].strip()), token[3] or "")
            for token in TOKEN.finditer(text)}
        for cut in [*(cut.start() for cut in re.finditer(r"^(?!where\b)[a-z#]", code, re.M)), len(code)]:
            if re.search(r"(^|\n)[#)].*\]\s*$", code[start:cut]) and cut < len(code):
                continue  # an attribute of what begins here
            item, start = code[start:cut], cut
            call = re.match(r"(\w+)!\s*[({](.*)[)}]", item, re.S)
            maker = call and self.makers.get(call[1])
            parts = [(item, [] if item.startswith("macro_rules!") else TEST.findall(item))]
            if maker:  # of each argument it makes tests below that name, or of that name in modules of its own
                parts = [(one[0], [(maker, one[1])]) for one in re.finditer(r"(\w+)(?: =>[^,(]*\([^)]*\))?", call[2])]
            for part, tests in parts:
                own = {f"{module}::{name}".strip(":"): "#[ignore" in attributes for attributes, name in tests}
                for path, ignored in own.items():
                    chosen = any(one in path or one.startswith(path + "::") for one in self.filters)
                    self.levels[file][path] = own[path] = "all" if ignored and not chosen else "gate"
                yield file, part, [texts[one] for one in re.findall(r'"(\d+)"', part)], own.values()

    def cited(self, citation):
        """The levels of the files of a cited test; of a file or folder of tests, or a module of them."""
        path, _, name = citation.partition("::")
        found = {one: level for one, level in self.scripts.items() if "/" in path and one.endswith(path)}
        for file, levels in self.levels.items():
            is_there = f"/{file}".endswith(("/" + path, f"/{path}.rs")) or f"/{path}/" in f"/{file}"
            for test, level in levels.items():
                if test.startswith(citation + "::") or is_there and f"::{test}".endswith("::" + name if name else ""):
                    found[file] = max(level, found.get(file, ""))
        return found


class Items:
    """What must have a test, except for rules and attacks."""

    def __init__(self, files):
        side = [text for path, text in files.items() if re.match(r"broker/src/side[/.]", path) and "tests" not in path]
        side = "\n".join(text.split("\n#[cfg(test)]\nmod ")[0] for text in side)
        metrics = set(re.findall(r"^    (?:Counter|Gauge|Histogram) ((?:heliograph|process)_\w+)", side, re.MULTILINE))
        constants = dict(re.findall(r'const (\w+): &str = "(/[^"]+)";', side))
        routes = {constants.get(one, one) for one in re.findall(r'(?:\.route|\bone)\(\s*"?(/[^"]*|[A-Z]+)"?,', side)}
        routes = sorted(routes, key=lambda one: ("*" in one, one.count("{")))  # the first that takes a path has it
        self.routes = {one: re.compile(re.sub(r"\{\w+\}", "[^/]+", re.sub(r"\{\*\w+\}", ".+", one))) for one in routes}
        self.keys = set(lines_of_keys(re.sub(r"(?m)^#(?=\S)", "", files["deploy/broker.toml"])))
        codes = {f"{program} {''.join(one)}" for program, paths in EXITS.items() for path in paths
                 for one in re.findall(r"(?m)^\| (\d+) \||(?:=>|u8 =) (\d+)[,;]", files.get(path, ""))}
        self.kinds = {"metric": metrics, "route": self.routes, "key": self.keys, "exit": codes}

    def named_by(self, program, code, texts):
        """The items that a source names, and names that are no items."""
        yield from (("exit", f"{program} {one}") for one in re.findall(r"\bcode\b[^;{}]{0,90}?Some\((\d+)\)", code))
        yield from (("key", one) for one in KEY_FIELD.findall(code))
        for text in texts if program == "broker" else ():
            for word in re.findall(r"\b(?:heliograph|process)_\w+", text):
                yield from (("metric", word), ("metric", re.sub("_(bucket|sum|count)$", "", word)))
            for method, path in PATH.findall(text):
                routes = (one for one in self.routes if method or "*" not in one and one != "/")
                yield "route", next((one for one in routes if self.routes[one].fullmatch(path.rstrip(".:"))), "")
            for path in re.findall(r"(?<![\w.])\w+(?:\.\w+)+", text):
                yield from (("key", path), ("key", path.rpartition(".")[0]))
            for flag in re.findall(r"(?<![\w-])--([\w-]+)", text):
                yield from (("key", flag.replace("-", "_")), ("key", flag.replace("-", ".", 1).replace("-", "_")))
            for key in lines_of_keys(text) if code else ():
                alike = [one for one in self.keys if one.endswith("." + key)]
                yield "key", alike[0] if key not in self.keys and len(alike) == 1 else key


def lines_of_keys(text):
    """The keys that lines of a text set, with the table before them, if any."""
    table = ""
    for header, key in KEY_LINE.findall(text):
        table = header or table
        if key:
            yield f"{table}.{key}".strip(".")


def report(files):
    """All items: kind, name, levels by places, citations that lead nowhere."""
    tests, items, named = Tests(files), Items(files), defaultdict(dict)
    for file, code, texts, level in tests.sources:
        for item in items.named_by(file.partition("/")[0].replace("deploy", "broker"), code, texts) if level else ():
            named[item][file] = max(level, named[item].get(file, ""))
    for kind, names in items.kinds.items():
        yield from ((kind, name, named[kind, name], []) for name in names or ["(none was found)"])
    rules = (rule.split("\n## ")[0].partition(".**") for rule in files["codec/PROTOCOL.md"].split("\n**")[1:])
    rules = [(name, text.partition("\n* Test: ")[2]) for name, is_rule, text in rules if is_rule]
    table = files["deploy/SECURITY.md"].partition("| attack | defense | test |")[2].partition("\n\n")[0]
    attacks = re.findall(r"(?m)^\| (?!-)(.*?) \|.*\| (.*?) \|$", table)
    for kind, cited in ("rule", rules), ("attack", attacks):
        for name, text in cited or [("(none was found)", "")]:
            found = {one: tests.cited(one) for one in CITATION.findall(text)}
            levels = {file: level for places in found.values() for file, level in places.items()}
            yield kind, name, levels, [one for one, places in found.items() if not places]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("tree", nargs="?", default=Path(__file__).parents[2], help="a checkout; else that of the script")
    parser.add_argument("--check", action="store_true", help="print what has no test, and the sum; exit code 1 for any")
    parser.add_argument("--selftest", action="store_true", help="see the check fail and pass on small trees")
    arguments = parser.parse_args()
    if arguments.selftest:
        return selftest()
    counts = {"gate": 0, "all": 0, "none": 0}
    for kind, name, levels, missing in sorted(report(read(arguments.tree)), key=lambda line: line[:2]):
        level = "none" if missing else max(levels.values(), default="none")
        counts[level] += 1
        if level == "none" or not arguments.check:
            places = [f"{file} ({levels[file]})" for file in sorted(levels, key=lambda one: (levels[one] != "gate", one))]
            print(kind, name, level, ", ".join([f"no such test: {one}" for one in missing] + places), sep="\t")
    if arguments.check:
        print("{} items: {gate} in the gate, {all} in --all, {none} without a test".format(sum(counts.values()), **counts))
        sys.exit(counts["none"] > 0)


def selftest():
    """Six items, in trees where tests name all or none of them."""
    named = 'fn named() { "heliograph_a_total"; "/a"; "limits.a"; assert_eq!(code, Some(9)); }'
    files = {"codec/PROTOCOL.md": "\n**WIRE-1.** A.\n* Test: `a.rs`, `a.rs::named`.\n", "broker/src/failure.rs": "=> 9,\n",
             "deploy/SECURITY.md": "| attack | defense | test |\n|---|---|---|\n| flood | dam | `a.rs::named` |\n",
             "deploy/broker.toml": "[limits]\na = 1\n", "deploy/ci/check.sh": "readonly gate_filters=(%s)\n",
             "broker/src/side/a.rs": f'    Counter heliograph_a_total ""\n app.route("/a", get); {named}'}
    for before, filters, level in (
            ("", "", "none"), ("#[test]\nfn other() {}\n// ", "a::named", "none"), ("#[test]\n", "", "gate"),
            ("#[test]\n#[ignore]\n", "a::other", "all"), ("#[test]\n#[ignore]\n", "a::other a::named", "gate")):
        with tempfile.TemporaryDirectory() as folder:
            for path, text in {**files, "broker/tests/live/a.rs": before + named}.items():
                Path(folder, path).parent.mkdir(parents=True, exist_ok=True)
                Path(folder, path).write_text(text.replace("%s", filters), encoding="utf-8")
            lines, check = (subprocess.run([sys.executable, __file__, folder, *flags], capture_output=True, text=True)
                            for flags in ([], ["--check"]))
        assert [line.split("\t")[2] for line in lines.stdout.splitlines()] == [level] * 6, (before, level, lines)
        assert check.returncode == (level == "none"), (before, level, check)


if __name__ == "__main__":
    main()
