"""The places of the sources at which one change makes a mutant, and the order in which mutants are taken.

Kinds: comparison (< becomes <=), barrier (a wait is dropped), bound (+ 1 is dropped, a loop starts at 1), index (row * width
+ column with its ends swapped, / becomes %), sum (+= becomes =), logic (&& becomes ||).
"""

import hashlib
import random
import re
from dataclasses import dataclass

SWAPPED = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "&&": "||", "||": "&&", "+=": "=", "-=": "+=",
           "/": "%", "%": "/"}
WAITS = r"wait|barrier|meet|synchronize|wait_for_earlier_kernels|copy_async_wait|mbarrier_wait|named_barrier"
# What a caller may pass, a template's brackets and compile-time facts are no behaviour of the code that runs.
NO_PLACE = re.compile(r"^\s*#|\btemplate\b|\boperator\b|static_assert|SY_KERNEL_CHECK")


@dataclass(frozen=True)
class Mutant:
    path: str
    text_hash: str  # of the whole file, so that results of another version are not taken for this one's
    line: int  # from 0
    kind: str
    before: str
    after: str

    @property
    def key(self):
        return hashlib.sha256(f"{self.path} {self.text_hash} {self.line} {self.after}".encode()).hexdigest()[:16]

    def __str__(self):
        return f"{self.path}:{self.line + 1} {self.kind}: `{self.before.strip()}` -> `{self.after.strip()}`"


def code_of(line):
    """The line with strings and comments blanked out, every other character at its place."""
    blank = re.sub(r'"(\\.|[^"\\])*"', lambda m: '"' + " " * (len(m.group()) - 2) + '"', line)
    code = blank.partition("//")[0]
    return code + " " * (len(line) - len(code))


def changes_of(line):
    """(kind, changed line) for every change that this line allows."""
    code = code_of(line)

    def replaced(match, text, group=0):
        return line[:match.start(group)] + text + line[match.end(group):]

    for m in re.finditer(r" (<|<=|>|>=|==|!=) ", code):
        yield "comparison", replaced(m, SWAPPED[m[1]], 1)
    for m in re.finditer(rf"(?<![\w.:>])(__sync(?:threads|warp)\([^()]*\)|(?:[\w.\[\]]+(?:\.|->))?(?:{WAITS})\([^()]*\));", code):
        if not re.search(r"\w +$", code[:m.start()]):  # a declaration
            yield "barrier", replaced(m, "(void)0", 1)
    for m in re.finditer(r" [+-] 1\b(?![.\w])", code):
        yield "bound", replaced(m, "")
    for m in re.finditer(r"\b(?:int|int64_t|int32_t|std::size_t) \w+ = (0)[;,]", code):
        yield "bound", replaced(m, "1", 1)
    for m in re.finditer(r"(?<![\w.>])([A-Za-z_]\w*) \* ([\w.]+) \+ ([A-Za-z_]\w*)\b(?![(.<\[]| \*)", code):
        if m[1] != m[3]:
            yield "index", replaced(m, f"{m[3]} * {m[2]} + {m[1]}")
    for m in re.finditer(r"\[([a-z]\w*)\]\[([a-z]\w*)\]", code):
        if m[1] != m[2]:
            yield "index", replaced(m, f"[{m[2]}][{m[1]}]")
    for m in re.finditer(r"(?<=\w) ([/%]) (?=[a-z_])", code):
        yield "index", replaced(m, SWAPPED[m[1]], 1)
    for m in re.finditer(r" (&&|\|\|) ", code):
        yield "logic", replaced(m, SWAPPED[m[1]], 1)
    if "for (" not in code:  # there it is the step, without which the loop does not end
        for m in re.finditer(r" (\+=|-=) ", code):
            yield "sum", replaced(m, SWAPPED[m[1]], 1)


def mutants_of(root, path):
    text = (root / path).read_text()
    text_hash = hashlib.sha256(text.encode()).hexdigest()[:16]
    continues_directive = False
    for number, line in enumerate(text.splitlines()):
        is_directive = continues_directive or line.lstrip().startswith("#")
        continues_directive = is_directive and line.endswith("\\")
        if is_directive or NO_PLACE.search(line):
            continue
        for kind, after in changes_of(line):
            yield Mutant(path, text_hash, number, kind, line, after)


def in_turn(piles):
    """One of each pile, then the second of each ..."""
    return [pile[i] for i in range(max(map(len, piles), default=0)) for pile in piles if i < len(pile)]


def in_order(root, paths, seed):
    """All mutants: files in turn, within a file the kinds in turn. A change of one file does not reorder another's."""
    files = []
    for path in sorted(paths):
        generator = random.Random(f"{seed} {path}")
        of_kind = {}
        for mutant in mutants_of(root, path):
            of_kind.setdefault(mutant.kind, []).append(mutant)
        kinds = list(of_kind.values())
        generator.shuffle(kinds)
        for pile in kinds:
            generator.shuffle(pile)
        files.append(in_turn(kinds))
    return in_turn(files)
