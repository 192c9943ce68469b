"""Runs `switchyard tokenize` and the `tokenizers` library over the same texts with real tokenizer files.

  compare_tokenizers.py --switchyard build/cpu/switchyard --tokenizer a/tokenizer.json [...] --text corpus.txt [...]

Each text is cut into documents of about --document-bytes, broken UTF-8 read as U+FFFD by both. Prints the first
difference if there is one (exit code 1), and the speed of both on one core. Timings of the library exclude Python's
reading of the file; ours include reading, writing and starting the program.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import Tokenizer  # noqa: E402  (reads the variables above)

DTYPES = {4: ("i", 4), 8: ("H", 2)}


def documents_of(path, document_bytes):
    """The file's lines in pieces of about document_bytes."""
    text = path.read_bytes().decode("utf-8", errors="replace")
    documents, piece, size = [], [], 0
    for line in text.splitlines(keepends=True):
        piece.append(line)
        size += len(line.encode())
        if size >= document_bytes:
            documents.append("".join(piece))
            piece, size = [], 0
    if piece:
        documents.append("".join(piece))
    return documents


def read_corpus(prefix):
    """Token ids of each sequence of a .bin/.idx pair."""
    index, data = Path(f"{prefix}.idx").read_bytes(), Path(f"{prefix}.bin").read_bytes()
    code, = struct.unpack_from("<B", index, 17)
    count, _ = struct.unpack_from("<QQ", index, 18)
    letter, width = DTYPES[code]
    position, sequences = 0, []
    for length in struct.unpack_from(f"<{count}i", index, 34):
        sequences.append(struct.unpack_from(f"<{length}{letter}", data, position))
        position += length * width
    return sequences


def compare(switchyard, tokenizer_file, documents, folder):
    """Number of differing documents; prints the first difference and both speeds."""
    source = folder / "documents.jsonl"
    source.write_text("".join(json.dumps({"text": d}, ensure_ascii=False) + "\n" for d in documents), encoding="utf-8")
    command = [switchyard, "tokenize", "--input", str(source), "--output-prefix", str(folder / "ours"), "--tokenizer",
               str(tokenizer_file), "--no-append-eod", "--overwrite"]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    our_seconds = time.perf_counter() - start
    ours = read_corpus(folder / "ours")

    reference = Tokenizer.from_file(str(tokenizer_file))
    reference.no_truncation()
    start = time.perf_counter()
    theirs = [reference.encode(d, add_special_tokens=False).ids for d in documents]
    their_seconds = time.perf_counter() - start

    wrong = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if list(a) != b]
    if wrong:
        a, b = list(ours[wrong[0]]), theirs[wrong[0]]
        at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        around = reference.decode(b[max(0, at - 5) : at + 5], skip_special_tokens=False)
        print(f"  first difference: document {wrong[0]}, token {at}, near {around!r}: ours {a[at : at + 8]} "
              f"reference {b[at : at + 8]}")
    count = sum(map(len, theirs))
    megabytes = sum(len(d.encode()) for d in documents) / 1e6
    print(f"  {megabytes:.1f} MB, {len(documents)} documents, {count} tokens, {len(wrong)} documents differ; "
          f"tokens/s per core: ours {count / our_seconds:.0f}, reference {count / their_seconds:.0f} "
          f"({their_seconds / our_seconds:.1f} times as fast)")
    return len(wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--switchyard", required=True)
    parser.add_argument("--tokenizer", type=Path, nargs="+", required=True)
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--document-bytes", type=int, default=10_000)
    arguments = parser.parse_args()
    # A JSONL record without text is no document to the program.
    documents = [d for path in arguments.text for d in documents_of(path, arguments.document_bytes) if d]
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for file in arguments.tokenizer:
            print(file)
            wrong += compare(arguments.switchyard, file, documents, Path(folder))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
