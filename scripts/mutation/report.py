"""What became of the mutants: the file of results that a stopped run goes on from, and the table."""

import json

REQUIRED_PERCENT = 90


class Results:
    """One JSON line per judged mutant, the newest of a mutant counts."""

    def __init__(self, file):
        self.file = file
        lines = file.read_text().splitlines() if file.exists() else []
        self.of_key = {result["key"]: result for result in map(json.loads, lines)}

    def find(self, mutant, tests_hash):
        """None also for a survivor of other tests than today's."""
        result = self.of_key.get(mutant.key)
        return None if result and result["outcome"] == "survived" and result["tests"] != tests_hash() else result

    def add(self, mutant, verdict, tests_hash):
        result = {"key": mutant.key, "place": str(mutant), "outcome": verdict.outcome, "by": verdict.by, "tests": tests_hash()}
        self.of_key[mutant.key] = result
        with self.file.open("a") as lines:
            lines.write(json.dumps(result) + "\n")
        return result


def reasons(file):
    """(path, line before, line after) -> why no test need notice, from tests/mutants/survivors.json."""
    entries = json.loads(file.read_text()) if file.exists() else []
    return {(e["path"], e["before"], e["after"]): e["reason"] for e in entries}


def kill_rate(judged):
    """Per cent of the mutants that compile; judged: [(mutant, result)]."""
    outcomes = [result["outcome"] for _, result in judged]
    return 100 * outcomes.count("killed") / max(1, len(outcomes) - outcomes.count("invalid"))


def table(judged, accepted):
    """By file and by change, then the survivors with their reasons."""
    judged, all_judged = [(m, r) for m, r in judged if r["outcome"] != "invalid"], judged

    def row(name, part):
        killed = sum(result["outcome"] == "killed" for _, result in part)
        return f"| {name} | {len(part)} | {killed} | {kill_rate(part):.0f} % |"

    lines = ["| file | mutants | killed | |", "| --- | ---: | ---: | ---: |"]
    for path in sorted({mutant.path for mutant, _ in judged}):
        lines.append(row(f"`{path}`", [pair for pair in judged if pair[0].path == path]))
    lines += [row("all", judged), "", "| change | mutants | killed | |", "| --- | ---: | ---: | ---: |"]
    for kind in sorted({mutant.kind for mutant, _ in judged}):
        lines.append(row(kind, [pair for pair in judged if pair[0].kind == kind]))
    survivors = [mutant for mutant, result in judged if result["outcome"] == "survived"]
    if survivors:
        lines += ["", "Survivors:", ""]
        for mutant in sorted(survivors, key=lambda m: (m.path, m.line)):
            reason = accepted.get((mutant.path, mutant.before.strip(), mutant.after.strip()), "**no reason known**")
            lines.append(f"- {mutant}: {reason}")
    lines += ["", f"{len(all_judged) - len(judged)} more did not compile."]
    return "\n".join(lines)
