"""Collects some 30 MB of mixed text for compare_tokenizers.py, one file per kind, from what a machine has at hand.

  tokenizer_corpus.py --out build/tokenizers/text

Real text: documentation (english), message catalogues of gettext (german, russian, chinese, other_languages), source
code (code). Made text, from fixed seeds: every code point between other characters (code_points), emoji sequences,
combining marks and decomposed text, control and format characters, white space, numbers and contractions, special
tokens and what resembles them, long words, broken UTF-8. The same commit on the same machine gives the same bytes.
Fails if there is less than 20 MB in all or nothing of a kind.
"""

import argparse
import base64
import gettext
import gzip
import random
import sys
import sysconfig
import unicodedata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1_000_000
CATALOGUES = {
    "german": (["de", "de_DE"], 3),
    "russian": (["ru", "ru_RU"], 3),
    "chinese": (["zh_CN", "zh_TW", "zh_HK", "zh_Hans", "zh_Hant"], 3),
    "other_languages": (["ja", "ko", "ar", "he", "hi", "th", "ka", "vi", "el", "tr", "fr", "ta"], 3),
}
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000"
LOOKS_LIKE_SPACE = "\u180e\u200b\u200c\u200d\u2060\ufeff\x1c\x1d\x1e\x1f"
SPECIAL = [
    "<|endoftext|>", "<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|eot_id|>", "[INST]",
    "[/INST]", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<think>", "</think>", "<|pad|>", "<|left|>",
    "<|right|>", "word", "▁", "▁▁", "<0x0A>", "<0xFF>", "<|", "|>", "<s", "s>", "<｜", "Ġ", "Ċ",
]  # fmt: skip


def read(path):
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", errors="ignore")


def from_files(paths, limit):
    """Texts of the files, each content once, up to limit bytes and 200 kB of each file."""
    pieces, seen, size = [], set(), 0
    for path in sorted(set(paths)):
        if size >= limit or not path.is_file():
            continue
        text = read(path)[:200_000]
        if text in seen:
            continue
        seen.add(text)
        pieces.append(text)
        size += len(text.encode())
    return "\n".join(pieces)


def library(name):
    return Path(sysconfig.get_path(name))


def english():
    places = [Path("/usr/share/doc"), library("purelib"), library("stdlib") / "pydoc_data"]
    names = ("README*", "NEWS*", "changelog*.gz", "*.md", "*.rst", "METADATA", "topics.py")
    return from_files([p for place in places for name in names for p in place.rglob(name)], 4 * MEGABYTE)


def catalogue(languages, megabytes):
    places = [Path("/usr/share/locale"), library("purelib"), library("platlib")]
    folders = [f for p in places for language in languages for f in p.rglob(f"{language}/LC_MESSAGES")]
    messages, size = {}, 0  # a dict keeps the first of equal messages and the order
    for path in sorted({p for folder in folders for p in folder.glob("*.mo")}):
        if size >= megabytes * MEGABYTE:
            break
        with path.open("rb") as file:
            try:
                translations = gettext.GNUTranslations(file)._catalog
            except (OSError, ValueError, IndexError):  # not a catalogue, or one that Python cannot read
                continue
        for key, message in sorted(translations.items(), key=lambda item: str(item[0])):
            if key and message not in messages:
                messages[message] = None
                size += len(message.encode())
    return "\n".join(messages)


def code():
    patterns = ("*.cpp", "*.h", "*.cu", "*.py", "*.yaml", "*.sh", "*.txt")
    folders = [ROOT / name for name in ("csrc", "kernels", "parallel", "trainer", "scripts", "configs", "tests/csrc")]
    own = [p for folder in folders for pattern in patterns for p in folder.rglob(pattern)]
    stdlib = [p for p in library("stdlib").rglob("*.py") if "site-packages" not in p.parts]
    return "\n".join([from_files(own, 3 * MEGABYTE), from_files(stdlib, 3 * MEGABYTE)])


def code_points():
    """Every code point of the planes in use, assigned or not, between letters, digits, marks, signs and spaces."""
    around = ["a{0}b", " {0}{0}1", "é{0} .", "{0}\u0301x", "中{0}\n", "'{0}'s", "\u0600{0}7{0}", "A{0} {0}\r\n"]
    points = [*range(0x40000), *range(0xE0000, 0xE0400), *range(0xF0000, 0xF0100), *range(0x10FF00, 0x110000)]
    lines = []
    for point in points:
        if 0xD800 <= point < 0xE000:
            continue
        # There are many alike: of ideographs, private and unassigned ones every 16th goes everywhere.
        character = chr(point)
        dull = unicodedata.category(character) in ("Cn", "Co") or unicodedata.name(character, "").startswith("CJK UNI")
        chosen = around[point // 16 % 8 : point // 16 % 8 + 1] if dull and point % 16 else around
        lines.append("".join(a.format(character) for a in chosen) + unicodedata.name(character, "")[:0 if dull else 40])
    return "\n".join(lines)


def draw_text(seed, megabytes, pieces):
    """Lines of 1 to 40 pieces; a piece is a text or a function of the random generator."""
    draw, lines, size = random.Random(seed), [], 0
    while size < megabytes * MEGABYTE:
        picked = (draw.choice(pieces) for _ in range(draw.randint(1, 40)))
        line = "".join(p if isinstance(p, str) else p(draw) for p in picked)
        lines.append(line)
        size += len(line.encode()) + 1
    return "\n".join(lines)


def code_points_where(holds):
    return [chr(p) for p in range(0x110000) if not 0xD800 <= p < 0xE000 and holds(chr(p))]


def emoji():
    faces = [chr(p) for p in [*range(0x1F300, 0x1F650), *range(0x1F680, 0x1F6FD), *range(0x1F90C, 0x1FA7D)]]
    tones = [chr(p) for p in range(0x1F3FB, 0x1F400)]
    letters = [chr(p) for p in range(0x1F1E6, 0x1F200)]
    return draw_text(
        "emoji", 1,
        [
            lambda draw: draw.choice(faces),
            lambda draw: draw.choice(faces) + draw.choice(tones),
            lambda draw: "\u200d".join(draw.choices(faces, k=draw.randint(2, 4))),
            lambda draw: draw.choice(letters) + draw.choice(letters),
            lambda draw: draw.choice("0123456789#*") + "\ufe0f\u20e3",
            lambda draw: "\U0001f3f4" + "".join(chr(0xE0000 + ord(c)) for c in "gbsct") + "\U000e007f",
            "❤️", "☺", " ", "!", "so good", " привет", "谢谢",
        ],
    )  # fmt: skip


def combining(*texts):
    marks = code_points_where(lambda c: unicodedata.category(c).startswith("M"))
    jamo = [chr(p) for p in range(0x1100, 0x1200)]
    composed = code_points_where(lambda c: unicodedata.decomposition(c) and unicodedata.category(c).startswith("L"))
    made = draw_text(
        "combining", 1,
        [
            lambda draw: draw.choice("aeiouzAEq ") + "".join(draw.choices(marks, k=draw.randint(1, 6))),
            lambda draw: "".join(draw.choices(jamo, k=draw.randint(1, 5))),
            lambda draw: draw.choice(composed) + draw.choice(marks),
            lambda draw: unicodedata.normalize("NFD", draw.choice(composed)),
            " ", "word", "é", "e\u0301", "Ä", ".", "5",
        ],
    )  # fmt: skip
    return made + "\n" + "\n".join(unicodedata.normalize("NFD", text[:150_000]) for text in texts)


def control():
    signs = code_points_where(lambda c: unicodedata.category(c) in ("Cc", "Cf", "Co"))[:1000]
    return draw_text("control", 1, [lambda draw: draw.choice(signs), "\x00", "\x1b[31m", "\ufeff", "\u202e", "\u200d",
                                    "\x7f", "text", " ", "1", "中", "\r", "ы", "."])  # fmt: skip


def white_space():
    return draw_text(
        "white space", 1,
        [
            lambda draw: "".join(draw.choices(WHITE_SPACE, k=draw.randint(1, 8))),
            lambda draw: draw.choice(" \n\t\r") * draw.randint(1, 40),
            lambda draw: draw.choice(LOOKS_LIKE_SPACE),
            "\r\n", "\n\n", "  ", "x", "two words", "7", "...", "\r\n\r\n", "日本",
        ],
    )  # fmt: skip


def numbers():
    digits = code_points_where(lambda c: unicodedata.category(c).startswith("N"))
    suffixes = ["'s", "'S", "'t", "'re", "'RE", "'ve", "'m", "'LL", "'ll", "'d", "'ſ", "’s", "'", "''s", "'sa"]
    return draw_text(
        "numbers", 1,
        [
            lambda draw: str(draw.randrange(10 ** draw.randint(1, 20))),
            lambda draw: "".join(draw.choices(digits, k=draw.randint(1, 7))),
            lambda draw: draw.choice(["it", "We", "ÜBER", "они", "x", "1", " ", "ß"]) + draw.choice(suffixes),
            " ", ",", ".", "-", "$", "€", "e", "_", "/", "\n", "=",
        ],
    )  # fmt: skip


def special():
    return draw_text("special", 1, [lambda draw: draw.choice(SPECIAL), " ", "  ", "a", "\n", "é", "1", "Hello", " word",
                                    lambda draw: draw.choice(SPECIAL)[: draw.randint(1, 6)]])  # fmt: skip


def long_words(*texts):
    draw, lines = random.Random("long words"), []
    for part in ["a", "ab", "=", "-", " ", "7", "é", "日", "日本", "😀", "\u0301", "the", "\x00", "'s", "A", "aA", "\t"]:
        lines += [part * count for count in (3, 30, 300, 3000, 20_000)]
    lines += [base64.b64encode(draw.randbytes(n)).decode() for n in (30, 300, 3000, 30_000, 90_000)]
    lines += [draw.randbytes(n).hex() for n in (30, 300, 3000, 30_000)]
    lines += ["".join(text[:120_000].split()) for text in texts]
    return "\n".join(lines)


def broken(*texts):
    """Bytes: real text with bytes lost, put in and changed, and every kind of sequence that is not UTF-8."""
    draw, lines = random.Random("broken"), []
    # Overlong, surrogates, above U+10FFFF, cut off, bytes that begin nothing or go on with nothing.
    parts = [bytes.fromhex(p) for p in (
        "c0af e080bf f0808080 eda080 edbfbf f4908080 f5808080 f09f98 e282 e4b8 efbf c3 ff fe 80 bf".split()
    )]  # fmt: skip
    for line in "\n".join(text[:200_000] for text in texts).encode().split(b"\n"):
        line = bytearray(line)
        for _ in range(draw.randint(0, 3)):
            at = draw.randint(0, len(line))
            change = draw.randrange(4)
            if change == 0:
                line[at : at + 1] = b""
            elif change == 1:
                line[at:at] = draw.choice(parts)
            elif change == 2:
                line[at : at + 1] = draw.randbytes(1).replace(b"\n", b"\xff")
            else:
                line[at:at] = draw.randbytes(draw.randint(1, 8)).replace(b"\n", b"\x80")
        lines.append(bytes(line))
    return b"\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    real = {"english": english(), **{kind: catalogue(*which) for kind, which in CATALOGUES.items()}, "code": code()}
    empty = [kind for kind, text in real.items() if not text]
    if empty:
        sys.exit(f"tokenizer_corpus: no text for {', '.join(empty)}: gettext catalogues are looked for in "
                 "/usr/share/locale, documentation in /usr/share/doc, both in Python's packages")  # fmt: skip
    texts = list(real.values())
    made = {"code_points": code_points(), "emoji": emoji(), "combining": combining(*texts), "control": control(),
            "white_space": white_space(), "numbers": numbers(), "special": special(), "long_words": long_words(*texts)}
    files = {kind: text.encode() for kind, text in {**real, **made}.items()} | {"broken": broken(*texts)}
    total = sum(map(len, files.values()))
    if total < 20 * MEGABYTE:
        sys.exit(f"tokenizer_corpus: only {total / MEGABYTE:.1f} MB of text here, 20 are wanted")
    out.mkdir(parents=True, exist_ok=True)
    for kind, data in files.items():
        (out / f"{kind}.txt").write_bytes(data)
        print(f"{kind:>16} {len(data) / MEGABYTE:6.2f} MB")
    print(f"{'in all':>16} {total / MEGABYTE:6.2f} MB in {out}")


if __name__ == "__main__":
    main()
