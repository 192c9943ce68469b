"""Tiny tokenizers of each published form, and what the `tokenizers` library makes of difficult texts with them.

Writes tests/golden/tokenizers/<form>.json (a tokenizer.json), texts.json, broken.json (hexadecimal), and
<form>.expected.json with, for each text and each broken one, read with errors="replace", the ids, and, for seeded random
ids, the decoded text (special tokens kept). A tokenizer that is there already is kept:
the library's training breaks ties differently from run to run.
"""

import json
import random
from pathlib import Path
from typing import NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "tests" / "golden" / "tokenizers"

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
LLAMA4 = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN3 = QWEN2.replace(r"\p{L}+", r"[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
DEEPSEEK = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)

CORPUS = [
    "The quick brown fox jumps over the lazy dog. It's what they'll do; we've seen that before, haven't we?",
    "Im Anfang war das Wort, und das Wort war bei Gott. Über größere Straßen fährt man schneller.",
    "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.",
    "子曰：學而時習之，不亦說乎？有朋自遠方來，不亦樂乎？ 今日は良い天気ですね。カタカナ",
    "for (int i = 0; i < 100; ++i) {\n    if (values[i] != nullptr) return static_cast<int>(values[i]->size());\n}\n",
    "def train(step, batch):\n\tloss = model(batch)  # 2024-01-31 12345678 3.14159\n\treturn loss / 1000\n",
    "Emoji 😀 🎉 👩‍👩‍👧 and accents: é e\u0301 ñ n\u0303 ﬁne; İstanbul, ſtraße, ½ Ⅷ ٣٤",
] * 20


class Learning(NamedTuple):
    """What a tokenizer is trained on."""

    texts: list
    vocabulary: int


TEXTS = [
    "",
    " ",
    "a",
    "Hello world",
    "  leading and trailing  ",
    "It's 'S 'T 'RE we'VE I'M they'LL he'D o'clock 'ſ",
    "1 12 123 1234 12345678 3.14 ½ Ⅷ ٣٤ x1y22z333",
    "tabs\tand\nnew\r\nlines\n\n\nthree \n two  \n  end\n",
    "     five spaces,\u00a0no-break\u3000ideographic\u2003em\u180emongolian\u0085next\u2028line",
    "Größere Straßen, ÄÖÜ; e\u0301 n\u0303 Å \u212b \u1e9b\u0323 \uac00 \u1100\u1161\u11a8 q\u0307\u0323",
    "Все счастливые семьи похожи — друг на друга…",
    "子曰：學而時習之，不亦說乎？カタカナとひらがな 汉字123abc",
    "😀🎉 👩‍👩‍👧 🇩🇪 ❤️ z\u0335\u0321a\u0300\u0301\u0302lgo",
    "if (a<b && c>=d) { return x[i]->y; } // ---- ==== ####",
    "https://example.org/path?q=1&r=%20#frag user@mail.de $5,00 50% #tag @name",
    "\x00\x01\x02\x07\x1b[0m\x7f control \ufeff bom \ufffd \U0010ffff \ue000",
    "<s>text</s> <|endoftext|>after<|endoftext|><|endoftext|>",
    "a<|pad|>b <|pad|> c  <|left|>  d  <|right|>  e",
    "a word alone, swordfish words word. word_ wordé é|word|",
    "▁ ▁▁ metaspace▁inside <0x0A> <unk>",
    "supercalifragilisticexpialidocious" * 3,
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "日本語" * 30,
    # Unicode 15 and 16: letters of both cases, an ideograph, a digit, a mark, punctuation, a symbol.
    "x\ua7da\ua7dby 中\U00031350文 1\U0001e4f02 a\u0897\u0301b .\u1b7f! =\u2427+ \ua7dbword word\u1b7f",
    # Composition: marks that the library's Unicode 9 does not know, Hangul with and without a final consonant.
    "e\U0001e08f\u0301 e\u0301\u1df9\u0316 \U00011935\U00011930 q\u0307\u0323\u0301 "
    "\ud558\u11a7\u11ab \u212b \u0438\u0306",
    # Unicode 17: a digit and a number letter, which only the pre-tokenizer Digits knows.
    "'\U00011de0's x\U00011de1\U00011de2y 7\U00016ff47",
]

# Bytes that are not UTF-8: overlong, surrogates, above U+10FFFF, cut off, out of place, and the same in a text.
BROKEN = [bytes.fromhex(b) for b in (
    "c0af e080bf f0808080 eda080 edbfbf f4908080 f5808080ff f09f98 e282 e4b8 efbf c3 ff80bf c328 e2e282ac 61ff2062e28220"
).split()] + [  # fmt: skip
    "Größe — 日本語 😀 é".encode()[:-1],
    "Größe — 日本語 😀 é".encode("utf-16-le"),
    "Größe und Maße".encode("latin-1"),
    "Все счастливые".encode("koi8-r"),
    b"it\xe2\x80\x99s 12\xf03 \xe6\x97\xa5\xe6\x9c <s>\xa0<|endoftext|>\x80 \xcc\x81",
]

ADDED = [
    AddedToken("<|pad|>", special=True),
    AddedToken("<|left|>", lstrip=True),
    AddedToken("<|right|>", rstrip=True, normalized=False),
    AddedToken("word", single_word=True, normalized=True),
]


def byte_level(learning, pre_tokenizer, normalizer=None, post_processor=None, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = post_processor or processors.ByteLevel(trim_offsets=False)
    tokenizer.train_from_iterator(
        learning.texts,
        trainers.BpeTrainer(
            vocab_size=learning.vocabulary,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokenizer


def split(pattern, behavior="isolated"):
    return pre_tokenizers.Split(Regex(pattern), behavior)


def bytes_without_regex():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def sentencepiece(learning, normalizer, pre_tokenizer, decoder=None):
    """Llama-2's form: characters, 256 byte tokens for what has none."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder or decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    # Merges are learnt on words, although the finished tokenizer merges across whole texts.
    words = [word for line in learning.texts for word in line.replace(" ", " ▁").split(" ")]
    trainer = trainers.BpeTrainer(
        vocab_size=learning.vocabulary,
        limit_alphabet=learning.vocabulary // 6,
        special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)],
        show_progress=False,
    )
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    learner.train_from_iterator(words, trainer)
    model = json.loads(learner.to_str())["model"]
    whole = json.loads(tokenizer.to_str())
    whole["model"]["vocab"], whole["model"]["merges"] = model["vocab"], model["merges"]
    tokenizer = Tokenizer.from_str(json.dumps(whole))
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in ["<unk>", "<s>", "</s>"]])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def template():
    return processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|endoftext|> $A", pair="$A $B", special_tokens=[("<|endoftext|>", 0)]
            ),
        ]
    )


FORMS = {
    "gpt2": lambda learning: byte_level(learning, pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "prefix_space": lambda learning: byte_level(learning, pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "llama3": lambda learning: byte_level(
        learning,
        pre_tokenizers.Sequence([split(LLAMA3), bytes_without_regex()]), post_processor=template(), ignore_merges=True
    ),
    "qwen2": lambda learning: byte_level(
        learning,
        pre_tokenizers.Sequence([split(QWEN2), bytes_without_regex()]), normalizer=normalizers.NFC()
    ),
    "llama4": lambda learning: byte_level(
        learning, pre_tokenizers.Sequence([split(LLAMA4), bytes_without_regex()]), ignore_merges=True
    ),
    "qwen3": lambda learning: byte_level(
        learning, pre_tokenizers.Sequence([split(QWEN3), bytes_without_regex()]), normalizer=normalizers.NFC()
    ),
    "deepseek": lambda learning: byte_level(
        learning,
        pre_tokenizers.Sequence(
            [split(r"\p{N}{1,3}"), split("[一-龥\u3040-ゟ゠-ヿ]+"), split(DEEPSEEK), bytes_without_regex()]
        ),
        normalizer=normalizers.Sequence([]),
    ),
    "smollm": lambda learning: byte_level(
        learning,
        pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    ),
    "behaviors": lambda learning: byte_level(
        learning,
        pre_tokenizers.Sequence(
            [
                split(r"[,;]", "merged_with_previous"),
                split(r"[(<]", "merged_with_next"),
                split(r"=", "contiguous"),
                split(r"\t", "removed"),
                pre_tokenizers.Digits(False),
                bytes_without_regex(),
            ]
        )
    ),
    "llama2": lambda learning: sentencepiece(
        learning,
        normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None
    ),
    "mistral": lambda learning: sentencepiece(
        learning, None, pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    ),
    "metaspace": lambda learning: sentencepiece(
        learning, None, pre_tokenizers.Metaspace("▁", prepend_scheme="always", split=True), decoders.Metaspace()
    ),
}


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    write(OUT / "texts.json", TEXTS)
    write(OUT / "broken.json", [broken.hex() for broken in BROKEN])
    for form, make in FORMS.items():
        file = OUT / f"{form}.json"
        if file.exists():
            tokenizer = Tokenizer.from_file(str(file))
        else:
            tokenizer = make(Learning(CORPUS, vocabulary=420))
            tokenizer.add_tokens(ADDED)
            write(file, json.loads(tokenizer.to_str()))
        draw = random.Random(form)
        random_ids = [[draw.randrange(3, tokenizer.get_vocab_size()) for _ in range(40)] for _ in range(10)]
        write(
            OUT / f"{form}.expected.json",
            {
                "ids": [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS],
                "broken_ids": [
                    tokenizer.encode(broken.decode("utf-8", errors="replace"), add_special_tokens=False).ids
                    for broken in BROKEN
                ],
                "special": tokenizer.encode("a").ids,
                "random_ids": random_ids,
                "random_texts": [tokenizer.decode(ids, skip_special_tokens=False) for ids in random_ids],
            },
        )
    print(f"{OUT.relative_to(ROOT)}: {sum(f.stat().st_size for f in OUT.iterdir())} bytes")


if __name__ == "__main__":
    main()
