"""Runs `switchyard tokenize` and the `tokenizers` library over the same texts: equal ids? which is faster?

  compare_tokenizers.py --switchyard build/cpu/switchyard --tokenizer a/tokenizer.json [...] --text corpus.txt [...]

Texts are cut at line ends into documents of about --document-bytes. Our program reads their bytes as they are; the
library takes str only, so it gets them decoded with errors="replace". Ids are compared one by one, and the first
difference is printed if there is one (exit code 1). Then --rounds times in turn both are timed on one core, and medians
printed. The library is timed in its fastest call (encode_batch_fast), without reading files and without making Python
lists of ids; ours from the start of the program to its end, reading, writing and the tokenizer's file included.

With --results FOLDER every tokenizer's row is kept there; started again, the command measures only those rows whose
texts, tokenizer or program have changed.
"""

import argparse
import array
import hashlib
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import Tokenizer  # noqa: E402  (reads the variables above)

DTYPES = {4: "i", 8: "H"}
SEPARATOR = b"<<<document compare_tokenizers>>>"
BATCH = 64  # documents whose tokens the library holds at a time
HEADER = ("| tokenizer | MB | tokens | documents that differ | ours MB/s | tokenizers MB/s | times as fast |\n"
          "| --- | ---: | ---: | ---: | ---: | ---: | ---: |")  # fmt: skip


def documents_of(path, document_bytes):
    """The file's lines in pieces of about document_bytes, as bytes."""
    documents, piece, size = [], [], 0
    for line in path.read_bytes().split(b"\n"):
        piece.append(line)
        size += len(line) + 1
        if size >= document_bytes:
            documents.append(b"\n".join(piece) + b"\n")
            piece, size = [], 0
    return [d for d in [*documents, b"\n".join(piece)] if d]  # one without text is no document to the program


def read_corpus(prefix):
    """Token ids of each sequence of a .bin/.idx pair."""
    index, data = Path(f"{prefix}.idx").read_bytes(), Path(f"{prefix}.bin").read_bytes()
    letter = DTYPES[index[17]]
    (count,) = struct.unpack_from("<Q", index, 18)
    lengths = struct.unpack_from(f"<{count}i", index, 34)
    ids, position = array.array(letter, data).tolist(), 0
    for length in lengths:
        yield ids[position : position + length]
        position += length


class Ours:
    def __init__(self, switchyard, tokenizer, documents, folder):
        source, self.prefix = folder / "documents.txt", folder / "ours"
        source.write_bytes(b"".join(d + b"\n" + SEPARATOR + b"\n" for d in documents))
        paths = ["--input", source, "--output-prefix", self.prefix, "--tokenizer", tokenizer]
        options = ["--document-separator", SEPARATOR.decode(), "--no-append-eod", "--overwrite"]
        self.command = [switchyard, "tokenize", *paths, *options]

    def run(self):
        done = subprocess.run(self.command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        if done.returncode != 0:
            sys.exit(done.stderr)

    def ids(self):
        self.run()
        yield from read_corpus(self.prefix)


class Library:
    def __init__(self, tokenizer, documents):
        self.tokenizer = Tokenizer.from_file(str(tokenizer))
        self.texts = [d.decode("utf-8", errors="replace") for d in documents]

    def batches(self):
        for i in range(0, len(self.texts), BATCH):
            yield self.tokenizer.encode_batch_fast(self.texts[i : i + BATCH], add_special_tokens=False)

    def run(self):
        for _ in self.batches():
            pass

    def ids(self):
        for batch in self.batches():
            for encoding in batch:
                yield encoding.ids


def difference(ours, library, index, a, b):
    """The first differing place of two lists of ids of one document."""
    at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    decode = lambda ids: ascii(library.tokenizer.decode(ids, skip_special_tokens=False))  # noqa: E731
    return (f"document {index}, token {at}: after {decode(b[max(0, at - 5) : at])} ours {a[at : at + 6]} "
            f"{decode(a[at : at + 6])}, the library {b[at : at + 6]} {decode(b[at : at + 6])}")  # fmt: skip


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(switchyard, tokenizer, documents, rounds, folder):
    ours, library = Ours(switchyard, tokenizer, documents, folder), Library(tokenizer, documents)
    tokens, wrong, first = 0, 0, None
    for index, (a, b) in enumerate(zip(ours.ids(), library.ids(), strict=True)):
        tokens += len(b)
        if a != b:
            wrong += 1
            first = first or difference(ours, library, index, a, b)
    times = {"ours": [], "library": []}
    for number in range(rounds):
        for name, side in (("ours", ours), ("library", library)):
            times[name].append(seconds(side.run))
            print(f"  round {number + 1} of {rounds}: {name} {times[name][-1]:.2f} s", file=sys.stderr, flush=True)
    return {"megabytes": sum(map(len, documents)) / 1e6, "tokens": tokens, "documents": len(documents),
            "different": wrong, "first": first, "seconds": times}  # fmt: skip


def digest(*paths):
    return hashlib.sha256(b"".join(hashlib.sha256(Path(p).read_bytes()).digest() for p in paths)).hexdigest()


def row(name, result):
    ours, library = (result["megabytes"] / statistics.median(s) for s in result["seconds"].values())
    return (f"| {name} | {result['megabytes']:.1f} | {result['tokens']} | {result['different']} | {ours:.1f} | "
            f"{library:.1f} | {ours / library:.2f} |")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--switchyard", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, nargs="+", required=True)
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--document-bytes", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, help="folder that keeps finished rows")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # of this process and of those it starts
    documents = [d for path in arguments.text for d in documents_of(path, arguments.document_bytes)]
    if any(SEPARATOR in d for d in documents):
        sys.exit(f"compare_tokenizers: a text holds {SEPARATOR.decode()}, which separates documents here")
    settings = f"{arguments.document_bytes} {arguments.rounds} {digest(arguments.switchyard, *arguments.text)}"
    print(HEADER)
    is_different = False
    for file in arguments.tokenizer:
        name = file.parent.name if file.name == "tokenizer.json" else file.stem
        kept = arguments.results / f"{name}.json" if arguments.results else None
        key = f"{settings} {digest(file)}"
        result = json.loads(kept.read_text()) if kept and kept.exists() else {}
        if result.get("key") != key:
            with tempfile.TemporaryDirectory() as folder:
                result = {"key": key} | compare(arguments.switchyard, file, documents, arguments.rounds, Path(folder))
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(result) + "\n")
        print(row(name, result), flush=True)
        if result["different"]:
            print(f"  {name}: {result['first']}", file=sys.stderr, flush=True)
            is_different = True
    sys.exit(1 if is_different else 0)


if __name__ == "__main__":
    main()
