"""The choice of mutants.sh, and its results.

usage: mutants.py next FOLDER SHARD/OF     what cargo-mutants skips, for its --iterate; exit code 1 if nothing is left
       mutants.py end FOLDER               the results, and whether those that were missed are accepted
"""

import collections
import hashlib
import json
import os
import re
import sys

SAMPLE = 60
# Parts of tests that are not marked as such: entries of fuzzers, `invariants` and what these call.
NO_CODE = re.compile(r"/fuzzing\.rs:|\binvariants\b|\bis_queued\b|"
                     r"\b(Directory::(check_\w+|sum_of|step)|\w+::(agrees|weighs|is_charged))\b")
ACCEPTED = os.path.join(os.path.dirname(__file__), "mutants.txt")
RESULTS = {"CaughtMutant": "caught", "MissedMutant": "missed", "Timeout": "timeout", "Unviable": "unviable"}


def main():
    step, folder, *shard = sys.argv[1:]
    with open(os.path.join(folder, "list.json"), encoding="utf-8") as file:
        names = [mutant["name"] for mutant in json.load(file)]
    sample = chosen(names)
    results = recorded(folder, sample)
    if step == "next":
        part, parts = map(int, shard[0].split("/"))
        sys.exit(0 if skip_others(folder, names, list(sample)[part - 1 :: parts], sample, results) else 1)
    sys.exit(end(folder, sample, results))


def chosen(names):
    """The sample: names as the tool prints them, each with the mutant it is wherever its line has moved to."""
    mutants, times = {}, collections.Counter()
    for name in names:
        place, change = name.split(": ", 1)
        mutant = f"{place.split(':')[0]}: {change}"
        times[mutant] += 1
        if not NO_CODE.search(name):
            mutants[name] = f"{mutant} ({times[mutant]})" if times[mutant] > 1 else mutant
    order = sorted(mutants, key=lambda name: hashlib.sha256(mutants[name].encode()).digest())
    return {name: mutants[name] for name in order[:SAMPLE]}


def recorded(folder, sample):
    """The results so far; those of the tool's last run, also if it was stopped, are moved into the table."""
    table, last = f"{folder}.tsv", os.path.join(folder, "mutants.out", "outcomes.json")
    if os.path.exists(last):
        with open(last, encoding="utf-8") as file, open(table, "a", encoding="utf-8") as lines:
            for outcome in json.load(file)["outcomes"]:
                if outcome["scenario"] != "Baseline" and outcome["summary"] in RESULTS:
                    seconds = sum(phase["duration"] for phase in outcome["phase_results"])
                    mutant = sample[outcome["scenario"]["Mutant"]["name"]]
                    lines.write(f"{mutant}\t{RESULTS[outcome['summary']]}\t{seconds:.0f}\n")
        os.remove(last)
    if not os.path.exists(table):
        return {}
    with open(table, encoding="utf-8") as file:
        return {mutant: result for mutant, result, _ in (line.rstrip("\n").split("\t") for line in file)}


def skip_others(folder, names, part, sample, results):
    """How many are left. The tool leaves out what it has caught before: here, all that are not left."""
    left = {name for name in part if sample[name] not in results}
    os.makedirs(os.path.join(folder, "mutants.out"), exist_ok=True)
    with open(os.path.join(folder, "mutants.out", "previously_caught.txt"), "w", encoding="utf-8") as file:
        file.writelines(f"{name}\n" for name in names if name not in left)
    return len(left)


def end(folder, sample, results):
    with open(ACCEPTED, encoding="utf-8") as file:
        accepted = dict(line.rstrip("\n").split("\t") for line in file if not line.startswith("#"))
    missed = [name for name in sample if results.get(sample[name]) == "missed"]
    faults = [f"missed: {name}" for name in missed if sample[name] not in accepted]
    faults += [f"accepted, but {results[mutant]}: {mutant}" for mutant in accepted if results.get(mutant, "missed") != "missed"]
    print("\n".join(faults), end="\n" if faults else "")
    counts = collections.Counter(results.values())
    done = f"{SAMPLE}" if len(results) == SAMPLE else f"{len(results)} of {SAMPLE}"
    if len(results) == SAMPLE:
        os.remove(os.path.join(folder, "list.json"))  # the next run begins anew
    print(f"{done} mutants: {counts['caught']} caught, {counts['missed']} missed, {counts['unviable']} unviable, {counts['timeout']} timed out")
    return 1 if faults else 0


main()
