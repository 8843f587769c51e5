"""What real readers kept, and the questions that are made of it.

The sets are those of the data folder: papers, and readers' libraries as lines of JSON. A `Case` is
one question: who kept `known` also kept some papers of `pool`; which? All that is drawn for a
reader follows from the seed, the set's name and the reader's own, so that another file of the same
format asks the same of the readers it shares. docs/ranking.md explains the protocol.
"""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from tqdm import tqdm

from papers.vectors import Bag, DocumentFrequencies, WordEncoder, word_ids

SETS = ("citeulike-a", "citeulike-t", "hf-authors", "hf-submitters")
POOL, BACKGROUND, MOST_TESTS = 1000, 2000, 10
FIRST_KNOWN = {"hf-authors": 10, "hf-submitters": 5}
MIN_LIBRARY = {"hf-authors": 13, "hf-submitters": 8, "citeulike-a": 15, "citeulike-t": 15}
MEANINGS = "minilm_int8.npy"

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Library:
    """What a reader kept, as row numbers, in the order they kept it."""

    reader: str
    items: list[int]


@dataclass(frozen=True, slots=True, eq=False)
class Papers:
    """The papers of a set, one a row.

    texts: title and abstract; empty where only `counts`, (papers, words), are known. titles: as
    texts. codes: what the product's encoder stores. days: ISO; empty where nothing is known of
    time. votes: first upvotes, not a number where unknown; empty where there are none. meanings:
    (papers, 384) int8; None where the set has none.
    """

    titles: Sequence[str]
    texts: Sequence[str]
    codes: Sequence[bytes]
    days: NDArray[np.str_]
    votes: Floats
    counts: Any = None
    meanings: NDArray[np.int8] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Collection:
    """A set: its papers and those readers who kept enough of them, in an order nobody picked.

    votes: what is popular, for each paper: upvotes, or in how many libraries it is.
    """

    name: str
    seed: int
    papers: Papers
    libraries: Sequence[Library]
    votes: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One question. All but `line` are rows of papers, or stand beside those of `pool`.

    background: papers that the reader did not keep. is_kept: what the answer is held against.
    ties: what decides between equal scores, the reader's own draw. own: in how many of the votes
    the reader's own library counts. line: instead of `known`, a title as a topic that they typed.
    """

    known: Ints
    pool: Ints
    background: Ints
    is_kept: NDArray[np.bool_]
    ties: Floats
    own: Floats
    line: str = ""


def case_of(collection: Collection, library: Library, *, k: int, is_line: bool = False) -> Case:
    """The same reader has the same pool for every k."""
    rng = own_generator(collection, library)
    days, items = collection.papers.days, np.array(library.items)
    others = np.setdiff1d(np.arange(len(collection.papers.codes)), items)
    if len(days):
        split = FIRST_KNOWN[collection.name]
        known, test = items[max(split - k, 0) : split], items[split : split + MOST_TESTS]
        is_past = days[others] <= days[known[-1]]
        past, future = others[is_past], others[~is_past]
    else:
        rng.shuffle(items)
        tests = min(MOST_TESTS, len(items) - 10)
        test, known = items[:tests], items[tests : tests + k]
        past = future = others
    drawn = draw(rng, future, POOL - len(test))
    background = draw(rng, np.setdiff1d(past, drawn), BACKGROUND)
    pool = np.concatenate([test, drawn])
    is_kept = np.arange(len(pool)) < len(test)
    own = is_kept.astype(float) if not len(days) else np.zeros(len(pool))
    line = collection.papers.titles[int(known[-1])].rpartition(": ")[2] if is_line else ""
    return Case(known, pool, background, is_kept, rng.random(len(pool)), own, line)


def own_generator(collection: Collection, library: Library) -> np.random.Generator:
    said = f"{collection.seed}:{collection.name}:{library.reader}"
    return np.random.default_rng(int(sha256(said.encode()).hexdigest()[:8], 16))


def draw(rng: np.random.Generator, rows: Ints, size: int) -> Ints:
    return rng.choice(rows, min(size, len(rows)), replace=False)


# -- sets ----------------------------------------------------------------------------------


def load(name: str, folder: Path, *, users: Path | None, seed: int) -> Collection:
    """The set of that name in the data folder. users: the readers, instead of the set's own.

    Exits, naming the file, where one is missing or says what cannot be read.
    """
    if name.startswith("hf-"):
        folder = folder / "recsys-hf-daily"
        rows = list(json_lines(folder / "papers.jsonl.gz"))
        papers = described(rows, folder, label=name)
        row_of = {row["id"]: number for number, row in enumerate(rows)}
        users = users or folder / f"{name.removeprefix('hf-')}_dev.jsonl.gz"
        libraries = libraries_of(users, row_of)
        known = papers.votes[~np.isnan(papers.votes)]
        # Unknown is not zero: such a paper stands in the middle.
        votes = np.nan_to_num(papers.votes, nan=float(np.median(known)) if len(known) else 0.0)
    else:
        folder = folder / name
        papers = titled(folder, name) if name == "citeulike-a" else bare(folder)
        row_of = {row: row for row in range(len(papers.codes))}
        libraries = libraries_of(users or folder / "users_dev.jsonl.gz", row_of)
        votes = np.zeros(len(papers.codes))
        for library in libraries:
            votes[library.items] += 1
    return Collection(name, seed, papers, chosen(name, libraries, seed=seed), votes)


def described(rows: Sequence[dict[str, Any]], folder: Path, *, label: str) -> Papers:
    """Papers with title and abstract, perhaps of a day and with votes."""
    texts = [f"{row['title']}\n{row['abstract'] or ''}" for row in rows]
    votes = [np.nan if row.get("up") is None else row["up"] for row in rows]
    return Papers(
        [row["title"] for row in rows],
        texts,
        encoded(texts, label=label),
        np.array([row["day"] for row in rows if "day" in row], np.str_),
        np.array(votes, float),
        meanings=meanings_in(folder, len(rows)),
    )


def titled(folder: Path, label: str) -> Papers:
    titles = lines(folder / "titles.txt.gz")
    codes = encoded(titles, label=label)
    nothing = np.array([], np.str_), np.array([], float)
    return Papers(titles, titles, codes, *nothing, meanings=meanings_in(folder, len(codes)))


def bare(folder: Path) -> Papers:
    """Papers of which only `n term:count …` is known: words without order, so no pairs."""
    vocabulary = lines(folder / "vocabulary.txt.gz")
    texts = lines(folder / "mult.dat.gz")
    cells = [
        (row, *map(int, pair.split(":")))
        for row, line in enumerate(texts)
        for pair in line.split()[1:]
    ]
    rows, columns, counts = np.array(cells, np.int64).reshape(-1, 3).T
    matrix = sparse.csr_array(
        (counts.astype(float), (rows, columns)), shape=(len(texts), len(vocabulary))
    )
    nothing = np.array([], np.str_), np.array([], float)
    return Papers([], [], counted(matrix, vocabulary), *nothing, counts=matrix)


def libraries_of(path: Path, row_of: dict[Any, int]) -> list[Library]:
    found = []
    for user in json_lines(path):
        try:
            items = [row_of[item] for item in user["items"]]
        except (KeyError, TypeError) as error:
            sys.exit(f"{path}: reader {user.get('u')!r}: the set has no {error}")
        found.append(Library(str(user["u"]), items))
    return found


def chosen(name: str, libraries: Iterable[Library], *, seed: int) -> list[Library]:
    """Readers with enough papers, in an order that nobody picked."""
    enough = [each for each in libraries if len(each.items) >= MIN_LIBRARY[name]]
    return sorted(enough, key=lambda each: in_no_order(each.reader, seed))


def in_no_order(reader: str, seed: int) -> str:
    return sha256(f"{seed}:{reader}".encode()).hexdigest()


# -- files ---------------------------------------------------------------------------------


def encoded(texts: Sequence[str], *, label: str) -> list[bytes]:
    encoder = WordEncoder(DocumentFrequencies.count([]))
    bar = tqdm(texts, desc=f"{label} encode", unit="text", file=sys.stderr, leave=False)
    return [encoder.encode(text) for text in bar]


def counted(matrix: Any, vocabulary: Sequence[str]) -> list[bytes]:
    """Codes of texts that are known only by how often they have which words."""
    ids = np.array([next(iter(word_ids(word)), 0) for word in vocabulary], np.uint64)
    codes = []
    for start, end in zip(matrix.indptr, matrix.indptr[1:], strict=False):
        terms, places = np.unique(ids[matrix.indices[start:end]], return_inverse=True)
        counts = np.bincount(places, matrix.data[start:end], minlength=len(terms))
        is_word = terms != 0
        codes.append(Bag(terms[is_word], counts[is_word].astype(np.uint16)).to_bytes())
    return codes


def meanings_in(folder: Path, papers: int) -> NDArray[np.int8] | None:
    """A sentence model's vectors, where the folder has them."""
    path = folder / MEANINGS
    if not path.exists():
        return None
    found: NDArray[np.int8] = np.load(path)
    if len(found) != papers:
        sys.exit(f"{path}: {len(found)} vectors for {papers} papers")
    return found


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """An object a line, gzipped or not."""
    for number, line in enumerate(lines(path), 1):
        try:
            found = json.loads(line)
        except ValueError as error:
            sys.exit(f"{path}, line {number}: {error}")
        if not isinstance(found, dict):
            sys.exit(f"{path}, line {number}: not an object")
        yield found


def lines(path: Path) -> list[str]:
    try:
        raw = path.read_bytes()
        text = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        return text.decode().rstrip("\n").split("\n")
    except OSError as error:
        sys.exit(f"cannot read {path}: {error.strerror or error}")
    except (EOFError, UnicodeDecodeError, zlib.error) as error:
        sys.exit(f"cannot read {path}: {error}")
