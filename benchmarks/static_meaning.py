"""Makes the table of static word vectors in the package, papers/data/static_meaning.bin.

    python -m benchmarks.static_meaning --papers ../shared/data/recsys-hf-daily/papers.jsonl.gz

Words: the stems of the papers given, if three of them have it or the model has a piece of its own
for it. A stem's vector is what the model makes of its commonest spellings, each read alone, less
what all words have in common (their mean and first principal component; Mu & Viswanath, 2018); plus
what it makes of the papers that use it, less what it makes of any: so the table learns what LLM or
NeRF are, which the model has never met, from their company. Turned to the 128 strongest directions
and rounded to whole numbers of a byte. Nothing of the papers is kept but which words they use, in
how many of them each stands, and these numbers. Needs the extra `semantic`; a minute of one
processor with --meanings, the papers' vectors ready made, and a quarter of an hour without.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from papers import onnx_model, vectors
from papers.static_meaning import DIMENSIONS, MIDDLE, SHIPPED_TABLE, StaticModel

Floats = NDArray[np.float64]

AT_LEAST = 3  # papers; rarer words are mostly names and slips
SPELLINGS = 3
COMPANY_WEIGHT = 3.0  # of what the papers with a word mean, beside the word itself
COMPANY_PRIOR = 10.0  # papers; a word of few papers is hardly known by them
READ_AT_ONCE = 512


def main() -> None:
    arguments = parser().parse_args()
    texts = read(arguments.papers)
    words = Words.of(texts, pieces())
    alone = meanings_of_words(words.spellings)
    among = ready(arguments.meanings, texts) if arguments.meanings else meanings(texts)
    made = table(words, alone, company(words, texts, among), documents=len(texts))
    made = with_middle(made, texts)
    arguments.out.write_bytes(made.to_bytes())
    print(f"{len(made.terms) - 1} words, {arguments.out.stat().st_size} bytes: {arguments.out}")


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    out = Path(__file__).resolve().parent.parent / "papers" / SHIPPED_TABLE
    found.add_argument("--papers", type=Path, required=True, help="title and abstract, JSON lines")
    found.add_argument(
        "--meanings", type=Path, metavar="FILE", help="of the papers, by the same model: .npy"
    )
    found.add_argument("--out", type=Path, default=out, metavar="FILE", help=f"default: {out}")
    return found


class Words:
    """The stems of the table, in how many texts each stands, and how it is spelled."""

    def __init__(self, frequency: Counter[str], spelled: dict[str, Counter[str]]) -> None:
        self.stems = sorted(spelled)
        self.frequencies = np.array([frequency[stem] for stem in self.stems], np.float64)
        self.spellings = [
            [word for word, _ in spelled[stem].most_common(SPELLINGS)] for stem in self.stems
        ]

    @classmethod
    def of(cls, texts: Iterable[str], pieces: Iterable[str]) -> Words:
        frequency: Counter[str] = Counter()
        spelled: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for text in texts:
            stems = set()
            for stem, word in each_word(text):
                spelled[stem][word] += 1
                stems.add(stem)
            frequency.update(stems)
        own = set()
        for piece in pieces:
            for stem, word in each_word(piece):
                spelled[stem][word] += 1
                own.add(stem)
        kept = {stem for stem in spelled if frequency[stem] >= AT_LEAST or stem in own}
        return cls(frequency, {stem: spelled[stem] for stem in kept})


def each_word(text: str) -> list[tuple[str, str]]:
    """(stem, spelling) of every word that counts."""
    words = (word.lower() for word in vectors.WORD.findall(vectors.composed(text)))
    counted = (word for word in words if vectors.word_ids(word))
    return [(vectors.stem(word), word) for word in counted]


def meanings(texts: Sequence[str]) -> Floats:
    """(texts, the model's dimensions): unit rows."""
    model = onnx_model.minilm()
    starts = range(0, len(texts), READ_AT_ONCE)
    bar = tqdm(starts, unit="text", unit_scale=READ_AT_ONCE, file=sys.stderr)
    read = [model.encode(texts[start : start + READ_AT_ONCE]) for start in bar]
    return np.concatenate(read).astype(np.float64)


def meanings_of_words(spellings: Sequence[Sequence[str]]) -> Floats:
    """(stems, dimensions): the mean of what the model makes of each one's spellings."""
    words = sorted({word for each in spellings for word in each})
    rows, place = meanings(words), {word: row for row, word in enumerate(words)}
    return np.array([rows[[place[word] for word in each]].mean(axis=0) for each in spellings])


def company(words: Words, texts: Sequence[str], meanings: Floats) -> Floats:
    """(stems, dimensions): what the texts with each stem mean, less what any text does; shrunk
    towards nothing where they are few. meanings: (texts, dimensions).
    """
    row_of = {stem: row for row, stem in enumerate(words.stems)}
    own = meanings - meanings.mean(axis=0)
    sums = np.zeros((len(words.stems), own.shape[1]))
    for text, meaning in zip(texts, own, strict=True):
        stems = {row_of[stem] for stem, _ in each_word(text) if stem in row_of}
        sums[sorted(stems)] += meaning
    found: Floats = sums / (words.frequencies + COMPANY_PRIOR)[:, None]
    return found


def table(words: Words, alone: Floats, company: Floats, *, documents: int) -> StaticModel:
    """Without a middle yet. alone, company: (stems, any dimensions)."""
    rows = alone / np.linalg.norm(alone, axis=1, keepdims=True)
    rows = without_common(rows) + COMPANY_WEIGHT * company
    codes, scales = rounded(rows @ strongest(rows)[:, :DIMENSIONS])
    idf = np.log((documents + 1) / (words.frequencies + 0.5))
    terms = np.array([vectors.term_id(stem) for stem in words.stems], np.uint64)
    order = np.argsort(terms)
    weights = (np.maximum(idf, 0) * scales).astype(np.float32)
    return StaticModel(terms[order], weights[order], codes[order])


def without_common(rows: Floats) -> Floats:
    rows = rows - rows.mean(axis=0)
    common = strongest(rows)[:, :1]
    found: Floats = rows - (rows @ common) @ common.T
    return found


def strongest(rows: Floats) -> Floats:
    """(dimensions, dimensions): directions as columns, the one with the most of the rows first."""
    return np.linalg.svd(rows.T @ rows)[0]


def rounded(rows: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Whole numbers of a byte, and what each row is to be multiplied by."""
    scales = np.abs(rows).max(axis=1) / 127
    return np.rint(rows / scales[:, None]).astype(np.int8), scales


def with_middle(made: StaticModel, texts: Sequence[str]) -> StaticModel:
    """Its first row is what the texts mean on average."""
    middle = made.encode(texts).mean(axis=0, keepdims=True).astype(np.float64)
    code, scale = rounded(middle)
    return StaticModel(
        np.concatenate([np.array([MIDDLE], np.uint64), made.terms]),
        np.concatenate([scale.astype(np.float32), made.weights]),
        np.concatenate([code, made.rows]),
    )


def read(papers: Path) -> list[str]:
    try:
        lines = gzip.decompress(papers.read_bytes()).decode().splitlines()
    except OSError as error:
        sys.exit(f"--papers: cannot read {papers}: {error}")
    found = [json.loads(line) for line in lines]
    return [f"{paper['title']}\n{paper['abstract']}" for paper in found]


def ready(file: Path, texts: Sequence[str]) -> Floats:
    """Raises SystemExit where it does not hold one row for each text."""
    try:
        rows = np.load(file).astype(np.float64)
    except (OSError, ValueError) as error:
        sys.exit(f"--meanings: cannot read {file}: {error}")
    if rows.ndim != 2 or len(rows) != len(texts):
        sys.exit(f"--meanings: {file} holds {rows.shape}, not a row for each of {len(texts)} texts")
    unit: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def pieces() -> list[str]:
    """The model's own whole words."""
    packed = resources.files("papers").joinpath(onnx_model.WORDPIECES).read_bytes()
    every = gzip.decompress(packed).decode().splitlines()
    return [piece for piece in every if re.fullmatch(r"[a-z]{2,}", piece)]


if __name__ == "__main__":
    main()
