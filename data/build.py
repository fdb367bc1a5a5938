"""Build the shipped corpus from the pairs in pairs/: drop repeats, hold a part out that has no near-duplicate.

``python data/build.py`` writes zh-en.tsv and zh-en-held-out.tsv next to itself, the same bytes every time;
``python data/build.py --check`` says whether they are up to date, and ``--statistics`` prints counts of their content.

Two pairs are near-duplicates if their English or their Chinese sides are: equal once case, punctuation and
contractions are taken away, or with an edit similarity of at least `ALIKE` (1 - distance / longer length; words of
English, characters of Chinese). Near-duplicates, directly or through others, stay on one side of the split.
"""

from __future__ import annotations

import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).parent
CREDIT = "jaxseq authors, CC0"
ALIKE = 0.8
"""Least edit similarity of near-duplicates."""
HELD_OUT = 500
"""Pairs held out."""
MOST_TOGETHER = 3
"""Groups of near-duplicates larger than this are always trained on."""
COMMON, OFTEN = 1200, 5
"""The statistics say how often the COMMON-th word is met, and how many words are met at least OFTEN times."""
ELSEWHERE = (
    ("What is your name?", "你叫什么名字？"),
    ("She does not like to drink coffee, but she likes to drink tea.", "她不喜欢喝咖啡，但是她喜欢喝茶。"),
    ("I am the most handsome!", "我最帅!"),
)
"""Pairs that the guide shows translated, and that must therefore not be in the corpus, nor anything like them."""

Pair = tuple[str, str]
_CONTRACTED = (
    (r"\bcannot\b|\bcan't\b", "can not"), (r"\bwon't\b", "will not"), (r"n't\b", " not"), (r"\blet's\b", "let us"),
    (r"'m\b", " am"), (r"'re\b", " are"), (r"'ve\b", " have"), (r"'ll\b", " will"), (r"'d\b", " would"),
    (r"\b(it|he|she|that|what|where|who|there|here|how)'s\b", r"\1 is"),
)  # fmt: skip


def english(sentence: str) -> tuple[str, ...]:
    """Return the words of an English sentence, without case and punctuation, contractions written out."""
    text = sentence.lower()
    for short, long in _CONTRACTED:
        text = re.sub(short, long, text)
    return tuple(re.findall(r"[\w']+", text))


def chinese(sentence: str) -> tuple[str, ...]:
    """Return the characters of a Chinese sentence, without punctuation and spaces; a Latin word is one character."""
    return tuple(re.findall(r"[a-z0-9]+|[^\W_]", sentence.lower()))


def read(folder: Path = HERE / "pairs") -> list[Pair]:
    """Return all written pairs, without those that repeat another or that must not be in the corpus."""
    pairs, seen = [], set[tuple[tuple[str, ...], tuple[str, ...]]]()
    elsewhere = [(english(en), chinese(zh)) for en, zh in ELSEWHERE]
    for path in sorted(folder.glob("*.tsv")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            cells = line.split("\t")
            if len(cells) != 2 or not all(cell == cell.strip() != "" for cell in cells):
                raise SystemExit(f"{path}, line {number}: expected English<TAB>Chinese, got {line!r}")
            keys = english(cells[0]), chinese(cells[1])
            if any(alike(a, b) for other in elsewhere for a, b in zip(keys, other, strict=True)):
                raise SystemExit(f"{path}, line {number}: too like a pair that must not be in the corpus: {line!r}")
            if keys not in seen:
                seen.add(keys)
                pairs.append((cells[0], cells[1]))
    return pairs


def alike(a: Sequence[str], b: Sequence[str]) -> bool:
    """Return whether two sentences are near-duplicates of each other."""
    most = int((1 - ALIKE) * max(len(a), len(b)) + 1e-9)  # edits that they may differ by
    return a == b or (abs(len(a) - len(b)) <= most and distance(a, b) <= most)


def distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the edit distance (Levenshtein's)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def near(sentences: Sequence[tuple[str, ...]]) -> Iterator[tuple[int, int]]:
    """Yield the numbers of sentences that are near-duplicates, each two once.

    Two sentences that differ by at most k edits share all but k tokens of the longer one: one of its k + 1 rarest is in
    both, so that only sentences with such a token in common are compared.
    """
    counts = Counter(token for sentence in sentences for token in sentence)
    holding: dict[str, list[int]] = defaultdict(list)
    for n in sorted(range(len(sentences)), key=lambda n: len(sentences[n])):
        tokens = sorted(sentences[n], key=lambda token: (counts[token], token))
        rarest = tokens[: int((1 - ALIKE) * len(tokens) + 1e-9) + 1]
        for other in sorted({m for token in rarest for m in holding[token]}):
            if alike(sentences[n], sentences[other]):
                yield other, n
        for token in set(tokens):
            holding[token].append(n)


def groups(pairs: Sequence[Pair]) -> list[list[int]]:
    """Return the numbers of pairs that are near-duplicates, directly or through others, together."""
    parent = list(range(len(pairs)))

    def root(n: int) -> int:
        while parent[n] != n:
            parent[n] = n = parent[parent[n]]
        return n

    for cut, side in ((english, 0), (chinese, 1)):
        for one, other in near([cut(pair[side]) for pair in pairs]):
            parent[root(other)] = root(one)
    found: dict[int, list[int]] = defaultdict(list)
    for n in range(len(pairs)):
        found[root(n)].append(n)
    return list(found.values())


def split(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs to train on and those held out, both in a drawn order."""
    rng = random.Random(1949)
    small = [group for group in groups(pairs) if len(group) <= MOST_TOGETHER]
    rng.shuffle(small)
    held: list[int] = []
    for group in small:
        held += group if len(held) + len(group) <= HELD_OUT else []
    chosen = set(held)
    rest = [n for n in range(len(pairs)) if n not in chosen]
    rng.shuffle(rest)
    return [pairs[n] for n in rest], [pairs[n] for n in held]


def statistics(train: Iterable[Pair], held: Iterable[Pair]) -> Iterator[str]:
    """Yield lines on how many words there are, how often they are met, and which of the held-out part are new."""
    for name, cut, side in (("English words", english, 0), ("Chinese characters", chinese, 1)):
        counts = Counter(token for pair in train for token in cut(pair[side]))
        met = [token for pair in held for token in cut(pair[side])]
        new = sorted({token for token in met if token not in counts})
        yield (
            f"{name}: {sum(counts.values()):,} in training, {len(counts):,} different, "
            f"{sum(n >= OFTEN for n in counts.values()):,} at least {OFTEN} times; number {COMMON} is met "
            f"{counts.most_common(COMMON)[-1][1]} times. Held out: {len(met):,}, of which "
            f"{sum(token in new for token in met)} ({len(new)} different) are not in training: {' '.join(new)}"
        )


def main() -> int:
    """Write the files, or check them."""
    train, held = split(read())
    parts = {"zh-en.tsv": train, "zh-en-held-out.tsv": held}
    files = {name: "".join(f"{en}\t{zh}\t{CREDIT}\n" for en, zh in pairs) for name, pairs in parts.items()}
    if "--statistics" in sys.argv[1:]:
        print(*statistics(train, held), sep="\n")
        return 0
    if "--check" in sys.argv[1:]:
        wrong = [name for name, text in files.items() if (HERE / name).read_text(encoding="utf-8") != text]
        print(f"out of date: {', '.join(wrong)}" if wrong else "as built")
        return bool(wrong)
    for name, text in files.items():
        (HERE / name).write_text(text, encoding="utf-8", newline="\n")
        print(f"{name}: {text.count(chr(10))} pairs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
