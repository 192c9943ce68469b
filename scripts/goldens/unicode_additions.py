"""Prints the table of csrc/io/tokenizers/unicode_additions.cpp: characters that the `tokenizers` library's regular
expressions know and Unicode 14 does not, with their general categories. Needs Python 3.11, whose Unicode is 14."""

import sys
import unicodedata

from tokenizers import Regex, pre_tokenizers

CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So".split()


def ranges_of(points):
    """[first, last] of each run of consecutive code points."""
    runs = []
    for point in points:
        if runs and runs[-1][1] == point - 1:
            runs[-1][1] = point
        else:
            runs.append([point, point])
    return runs


def main():
    if unicodedata.unidata_version != "14.0.0":
        sys.exit(f"unicode_additions: this Python has Unicode {unicodedata.unidata_version}, not 14.0.0")
    every = [chr(p) for p in range(0x110000) if not 0xD800 <= p < 0xE000]
    for category in CATEGORIES:
        split = pre_tokenizers.Split(Regex(rf"\p{{{category}}}+"), "removed", invert=True)
        found = {c for piece, _ in split.pre_tokenize_str("".join(every)) for c in piece}
        added = sorted(ord(c) for c in found if unicodedata.category(c) == "Cn")
        print("".join(f'{{0x{a:04x}, 0x{b:04x}, "{category}"}}, ' for a, b in ranges_of(added)))


if __name__ == "__main__":
    main()
