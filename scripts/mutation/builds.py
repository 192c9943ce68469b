"""Builds of a private copy of the tree: which objects a source becomes, which tests a program holds, and a program linked
with other objects in the place of some. The builds themselves stay those of the unchanged copy.
"""

import functools
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

# What a mutant does outside its memory must show: its object alone is instrumented, which a program allows that is linked
# with the sanitizers' run-time. The fibers of simulated CUDA are unknown to them; there the checked variant sees the same.
SANITIZED_PRESET = "cpu"
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
ENVIRONMENT = {"ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0", "CCACHE_DISABLE": "1", "GTEST_BRIEF": "1"}
SKIPPED = 77
SECONDS_TO_END = 5  # between SIGTERM, which mpirun passes on to its ranks, and SIGKILL


class UserError(Exception):
    """One line that says what to do."""


class BuildError(UserError):
    """A command that must succeed has failed: `line` is the first of its output that speaks of an error."""

    def __init__(self, command, folder, output):
        self.line = next((line for line in output.splitlines() if "error" in line), output[-2000:])
        super().__init__(f"{self.line} (`{' '.join(command)[:200]}` in {folder})")


@dataclass
class Test:
    name: str
    command: list
    environment: dict
    folder: str
    labels: list


def run(command, folder, limit, environment=None):
    """Exit code, output and seconds of a command; the exit code is None if it did not end within the limit."""
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
                               env={**os.environ, **ENVIRONMENT, **(environment or {})})
    code, output = None, ""
    for end in (limit, SECONDS_TO_END, SECONDS_TO_END):
        try:
            output, _ = process.communicate(timeout=end)
            code = process.returncode if end is limit else None
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM if end is limit else signal.SIGKILL)
    return code, output, time.monotonic() - start


def synchronise(root, copy):
    """Makes the copy hold exactly the files of root that git knows or does not ignore; equal files keep their times."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=root, capture_output=True, text=True,
                            check=True).stdout.split("\0")
    wanted = {path for path in listed if path and (root / path).is_file()}
    for path in wanted:
        source, target = root / path, copy / path
        if not target.is_file() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            shutil.copymode(source, target)
    for folder, folders, names in os.walk(copy):
        relative = Path(folder).relative_to(copy)
        folders[:] = [name for name in folders if (relative / name) != Path("build")]
        for name in names:
            if (relative / name).as_posix() not in wanted:
                (Path(folder) / name).unlink()


class Build:
    """The build folder of one preset in the copy."""

    def __init__(self, copy, preset):
        self.copy, self.preset, self.folder = copy, preset, copy / "build" / preset
        self.must(["cmake", "--preset", preset], copy)
        self.commands = {}  # object -> (source, words of its compile command)
        for entry in json.loads((self.folder / "compile_commands.json").read_text()):
            words = shlex.split(entry["command"])
            self.commands[words[words.index("-o") + 1]] = (os.path.relpath(entry["file"], copy), words)
        self.tests = self.tests_of_targets()
        self.sanitize = SANITIZE if preset == SANITIZED_PRESET else []

    def must(self, command, folder):
        code, output, _ = run(command, folder, 7200)
        if code != 0:
            raise BuildError(command, folder, output)
        return output

    def tests_of_targets(self):
        """Target -> its tests. ctest leaves out the command of a program that is not built: such a test bears its name."""
        shown = json.loads(self.must(["ctest", "--show-only=json-v1"], self.folder))
        targets = {}
        for test in shown["tests"]:
            properties = {p["name"]: p["value"] for p in test.get("properties", [])}
            command = test.get("command", [str(self.folder / test["name"])])
            program = next((word for word in command if Path(word).parent == self.folder), None)
            labels = properties.get("LABELS", [])
            if program and not {"system", "slow"} & set(labels):
                environment = dict(setting.split("=", 1) for setting in properties.get("ENVIRONMENT", []))
                targets.setdefault(Path(program).name, []).append(
                    Test(test["name"], command, environment, properties.get("WORKING_DIRECTORY", str(self.folder)), labels))
        return targets

    def objects_of(self, source):
        return [name for name, (file, _) in self.commands.items() if file == source]

    def sources_of(self, target):
        """A checked variant of a test is made of the plain one's objects."""
        folders = [f"CMakeFiles/{name}.dir/" for name in (target, target.removesuffix("_checked"))]
        return [file for name, (file, _) in self.commands.items() if any(folder in name for folder in folders)]

    @functools.cache
    def link_command(self, output):
        """The words of the command that links a program or makes a library of the unchanged copy; builds it first."""
        self.must(["cmake", "--build", str(self.folder), "-j", "1", "--target", output], self.copy)
        command = self.must(["ninja", "-t", "commands", "-s", output], self.folder)
        return shlex.split(command.strip().removeprefix(": && ").removesuffix(" && :"))

    def objects_in(self, target, source):
        """Names of the source's objects that the target's program holds, by itself or else from a library."""
        words = self.link_command(target)
        libraries = [word for word in words if word.endswith(".a") and not Path(word).is_absolute()]
        for held in (words, [word for library in libraries for word in self.link_command(library)]):
            if names := [name for name in self.objects_of(source) if name in held]:
                return names
        return []

    def compile(self, name, source, output):
        """Compiles another source (an absolute path) as the object of that name would be."""
        original, words = self.commands[name]
        words = [str(source) if word.endswith(original) else word for word in words]
        words[words.index("-o") + 1] = str(output)
        # -O2 gives -O3's bits (fused multiply-adds begin there) sooner. Names that a change leaves unused are no mistake here.
        self.must([*words, "-O2", "-w", *self.sanitize], self.folder)

    def link(self, target, objects, output):
        """The target's program with these objects (name -> file) for its own. What it takes from a library precedes the
        library, so that the linker leaves the library's aside."""
        words = list(self.link_command(target))
        place = words.index("-o")
        words[place + 1] = str(output)
        words[place:place] = [name for name in objects if name not in words]
        self.must([str(objects.get(word, word)) for word in words] + self.sanitize, self.folder)

    def execute(self, test, target, program, limit):
        """Exit code, output and seconds of one test with that program for its own."""
        own = str(self.folder / target)
        command = [str(program) if word == own else word for word in test.command]
        settings = dict(test.environment)
        if len(command) == 1:  # a rank that ends early would leave the others waiting
            settings["GTEST_FAIL_FAST"] = "1"
        return run(command, test.folder, limit, settings)
