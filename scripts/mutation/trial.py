"""Which tests know a source, nearest first, and what they say about a mutant of it."""

import functools
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from mutation.builds import SKIPPED, BuildError, UserError

CUDA = (".cu", ".cuh")
# A test of the unchanged source gives the time in which a mutant's must end.
SECONDS_AT_LEAST, TIMES_AS_LONG = 10, 5


@dataclass
class Verdict:
    outcome: str  # killed, survived or invalid (does not compile)
    by: str = ""


class Variant:
    """A text in the place of a source, compiled once for all programs."""

    def __init__(self, folder, source, text):
        self.folder, self.source, self.file, self.objects = folder, source, folder / source, {}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(text)

    def program(self, build, target):
        """Raises BuildError."""
        names = build.objects_in(target, self.source)
        for name in names:
            if (build, name) not in self.objects:
                output = self.folder / f"{len(self.objects)}.o"
                build.compile(name, self.file, output)
                self.objects[build, name] = output
        program = self.folder / "program"
        build.link(target, {name: self.objects[build, name] for name in names}, program)
        return program


def failure_in(code, output):
    """What a failed test says: its first failed case, else a sanitizer's word, else how it ended."""
    if code is None:
        return "does not end"
    for pattern in (r"\[  FAILED  \] ([\w./]+)", r"(AddressSanitizer: [\w-]+)", r"(runtime error: .*)"):
        if match := re.search(pattern, output):
            return match[1]
    return f"ends with signal {-code}" if code < 0 else f"ends with {code}"


class Trials:
    """Judges mutants of `copy` by the builds' tests; wider: rules of sources, preset and targets (tests/mutants/wider.json)."""

    def __init__(self, copy, builds, wider, folder):
        self.copy, self.builds, self.wider, self.folder = copy, builds, wider, folder
        self.baselines_file = folder / "baselines.json"
        self.baselines = json.loads(self.baselines_file.read_text()) if self.baselines_file.exists() else {}
        self.unchanged = None

    @functools.cache
    def targets_of(self, source):
        """[(build, target)]: tests that include the source's header, the nearest folder first, then the checked variants of
        those that run a CUDA source, then the wider ones."""
        header = re.sub(r"\.(cpp|cu)$", ".h", source)
        mirror = f"tests/{Path(source).parent}/"
        near, checked, wider = [], [], []
        for build in self.builds:
            if not build.objects_of(source):
                continue
            near_first = []
            for target, tests in build.tests.items():
                # On simulated CUDA the others say what they say in the CPU build.
                if build.preset == "sim" and "sim" not in tests[0].labels:
                    continue
                files = [file for file in build.sources_of(target) if f'"{header}"' in (self.copy / file).read_text()]
                if files and not target.endswith("_checked"):
                    near_first.append((not any(file.startswith(mirror) for file in files), target))
            own = [target for _, target in sorted(near_first)]
            near += [(build, target) for target in own]
            if source.endswith(CUDA):
                checked += [(build, f"{target}_checked") for target in own if f"{target}_checked" in build.tests]
            wider += [(build, target) for rule in self.wider if re.fullmatch(rule["sources"], source)
                      and rule["preset"] == build.preset for target in rule["targets"]]
        return list(dict.fromkeys(near + checked + wider))

    @functools.cache
    def tests_hash(self, source):
        """Of the tests' sources: what survives these may be killed by others."""
        return self.hash_of(file for build, target in self.targets_of(source) for file in build.sources_of(target))

    def hash_of(self, files):
        digest = hashlib.sha256()
        for file in files:
            digest.update((self.copy / file).read_bytes())
        return digest.hexdigest()[:16]

    def judge(self, mutant):
        lines = (self.copy / mutant.path).read_text().splitlines(keepends=True)
        lines[mutant.line] = mutant.after + "\n"
        variant = Variant(self.folder / "mutant", mutant.path, "".join(lines))
        is_judged = False
        for build, target in self.targets_of(mutant.path):
            seconds = self.baseline(build, target, mutant.path)
            if not seconds:
                continue
            is_judged = True
            try:
                program = variant.program(build, target)
            except BuildError as error:
                return Verdict("invalid", error.line)
            for test in sorted((t for t in build.tests[target] if t.name in seconds), key=lambda t: seconds[t.name]):
                limit = SECONDS_AT_LEAST + TIMES_AS_LONG * seconds[test.name]
                code, output, _ = build.execute(test, target, program, limit)
                if code not in (0, SKIPPED):
                    return Verdict("killed", f"{build.preset}/{test.name}: {failure_in(code, output)}")
        if not is_judged:
            raise UserError(f"no test of {mutant.path} passes without a change, so none can judge one")
        return Verdict("survived")

    def baseline(self, build, target, source):
        """Test -> seconds with the source unchanged, but compiled and linked as mutants are: only tests that pass so judge."""
        key = f"{build.preset} {target} {source} {self.hash_of([source, *build.sources_of(target)])}"
        if key not in self.baselines:
            if self.unchanged is None or self.unchanged.source != source:
                self.unchanged = Variant(self.folder / "unchanged", source, (self.copy / source).read_text())
            program = self.unchanged.program(build, target)
            passed = {}
            for test in build.tests[target]:
                code, output, seconds = build.execute(test, target, program, 600)
                if code == 0:
                    passed[test.name] = seconds
                elif code != SKIPPED:
                    print(f"mutate: {build.preset}/{test.name} fails with {source} unchanged, so it judges none of its "
                          f"mutants: {failure_in(code, output)}", flush=True)
            self.baselines[key] = passed
            self.baselines_file.write_text(json.dumps(self.baselines, indent=1))
        return self.baselines[key]
