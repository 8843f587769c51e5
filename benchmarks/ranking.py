"""Measures the ranking against the methods in use today, on what real readers kept.

    python benchmarks/ranking.py --data ../shared/data --set all

A reader is known by k papers they kept; a pool of 1,000 papers they had not seen holds 3 to 10
that they kept later. Every method ranks the same pools in one run. In a second task the reader is
known by one line, the title of one kept paper, as a topic that somebody typed. Prints JSON; needs
neither Django nor the network. docs/ranking.md explains the protocol and shows a run.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from tqdm import tqdm

from digest import profile, ranking
from papers.vectors import Bag, DocumentFrequencies, WordEncoder, word_ids

SEED = 20261122
POOL, BACKGROUND, CUT = 1000, 2000, 10
SETS = ("hf-authors", "hf-submitters", "citeulike-a", "citeulike-t")
FIRST_KNOWN = {"hf-authors": 10, "hf-submitters": 5}
MIN_LIBRARY = {"hf-authors": 13, "hf-submitters": 8, "citeulike-a": 15, "citeulike-t": 15}
NOW = datetime(2026, 11, 22, tzinfo=UTC)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Library:
    """What a reader kept, as row numbers, in the order they kept it."""

    reader: str
    items: list[int]


@dataclass(frozen=True, slots=True)
class Collection:
    """The papers of a set. `days` is empty where nothing is known of time."""

    name: str
    titles: list[str]
    codes: list[bytes]
    libraries: list[Library]
    days: NDArray[np.str_]
    votes: Floats


@dataclass(frozen=True, slots=True)
class Case:
    """One question: who knows `known` (or typed `line`), which of `pool` comes next?"""

    known: Ints
    line: str
    pool: Ints
    background: Ints
    is_kept: NDArray[np.bool_]
    library: frozenset[int]


@dataclass(slots=True)
class Tally:
    ndcg: list[float] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)
    mrr: list[float] = field(default_factory=list)
    seconds: float = 0.0


Method = Callable[[Case], Floats]


def main() -> None:
    arguments = parser().parse_args()
    names = SETS if arguments.set == "all" else (arguments.set,)
    measured = {name: measure(name, arguments) for name in names}
    notes = [] if has_sklearn() else ["linear SVM left out: scikit-learn is not installed"]
    print(json.dumps({"seed": SEED, "sets": measured, "notes": notes}, indent=1))


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    found.add_argument("--data", type=Path, default=default, metavar="FOLDER", help="the data sets")
    found.add_argument("--set", choices=[*SETS, "all"], default="hf-authors")
    found.add_argument("--readers", type=int, metavar="N", help="the first N only")
    found.add_argument(
        "-k", type=int, nargs="+", default=[5, 10], help="papers a reader is known by"
    )
    return found


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    folder = arguments.data
    if not folder.is_dir():
        sys.exit(f"--data: there is no folder {folder}")
    collection = load(name, folder)
    libraries = collection.libraries[: arguments.readers]
    lab = Lab(collection)
    found: dict[str, Any] = {"readers": len(libraries)}
    for k in arguments.k:
        cases = (case_of(collection, each, k=k) for each in libraries)
        found[f"k={k}"] = run(cases, lab.by_papers(), len(libraries), label=f"{name} k={k}")
    if any(collection.titles):
        cases = (case_of(collection, each, k=1) for each in libraries)
        found["one line"] = run(cases, lab.by_line(), len(libraries), label=f"{name} one line")
    return found


def run(
    cases: Iterable[Case], methods: dict[str, Method], total: int, *, label: str
) -> dict[str, Any]:
    tallies = {name: Tally() for name in methods}
    for case in tqdm(cases, desc=label, total=total, unit="reader", file=sys.stderr, leave=False):
        for name, method in methods.items():
            started = time.process_time()
            scores = method(case)
            tallies[name].seconds += time.process_time() - started
            judge(tallies[name], scores, case)
    plain = tallies["plain TF-IDF mean"].seconds
    return {name: summary(tally, plain) for name, tally in tallies.items()}


def judge(tally: Tally, scores: Floats, case: Case) -> None:
    """Ties fall as the pool's own generator says: the order of the pool must not help."""
    jitter = np.random.default_rng(int(case.pool.sum())).random(len(scores))
    hits = case.is_kept[np.lexsort((jitter, -scores))]
    discounts = 1 / np.log2(np.arange(2, CUT + 2))
    kept = int(hits.sum())
    tally.ndcg.append(float((hits[:CUT] * discounts).sum() / discounts[: min(CUT, kept)].sum()))
    tally.recall.append(float(hits[:CUT].sum() / kept))
    tally.mrr.append(float(1 / (1 + hits.argmax())))


def summary(tally: Tally, plain_seconds: float) -> dict[str, float]:
    readers = len(tally.ndcg)
    return {
        "ndcg@10": round(float(np.mean(tally.ndcg)), 4),
        "se": round(float(np.std(tally.ndcg) / readers**0.5), 4),
        "recall@10": round(float(np.mean(tally.recall)), 4),
        "mrr": round(float(np.mean(tally.mrr)), 4),
        "cpu_ms": round(tally.seconds / readers * 1000, 2),
        "cpu_ratio": round(tally.seconds / plain_seconds, 2) if plain_seconds else 0.0,
    }


# -- methods -------------------------------------------------------------------------------


class Lab:
    """Everything that is prepared once per collection; a method's clock starts after it."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        bags = [Bag.from_bytes(code) for code in collection.codes]
        self.encoder = WordEncoder(DocumentFrequencies.count(bags))
        rows = self.encoder.rows(collection.codes)
        self.matrix, self.terms = rows.matrix, rows.terms
        self.counts = sparse.csr_array(
            (
                np.concatenate([bag.counts for bag in bags]).astype(float),
                np.searchsorted(self.terms, np.concatenate([bag.terms for bag in bags])),
                np.concatenate([[0], np.cumsum([len(bag.terms) for bag in bags])]),
            ),
            shape=(len(bags), len(self.terms)),
        )
        self.bm25 = bm25_weights(self.counts)
        self.facts = [facts_of(row, collection) for row in range(len(collection.codes))]

    def by_papers(self) -> dict[str, Method]:
        methods: dict[str, Method] = {"random": self.random}
        if self.collection.votes.any():
            methods["popularity"] = self.popularity
        methods["BM25"] = self.bm25_papers
        if has_sklearn():
            methods["linear SVM"] = self.svm
        methods["plain TF-IDF mean"] = self.plain_papers
        methods["Paperround"] = self.ours_papers
        return methods

    def by_line(self) -> dict[str, Method]:
        return {
            "random": self.random,
            "BM25": self.bm25_line,
            "plain TF-IDF mean": self.plain_line,
            "Paperround": self.ours_line,
        }

    def random(self, case: Case) -> Floats:
        return np.zeros(len(case.pool))

    def popularity(self, case: Case) -> Floats:
        own = np.isin(case.pool, list(case.library)) if not len(self.collection.days) else 0
        return self.collection.votes[case.pool] - own

    def bm25_papers(self, case: Case) -> Floats:
        query = np.asarray(self.counts[case.known].sum(axis=0)).ravel()
        scores: Floats = self.bm25[case.pool] @ query
        return scores

    def bm25_line(self, case: Case) -> Floats:
        scores: Floats = self.bm25[case.pool] @ (self._line(case.line) > 0).astype(float)
        return scores

    def svm(self, case: Case) -> Floats:
        """As arxiv-sanity-lite: one linear SVM a reader, every other paper a negative."""
        from sklearn.svm import LinearSVC

        rows = np.concatenate([case.known, case.pool, case.background])
        labels = np.arange(len(rows)) < len(case.known)
        model = LinearSVC(class_weight="balanced", C=0.01, max_iter=10_000, tol=1e-6)
        model.fit(narrow(self.capped[rows]), labels)
        scores: Floats = model.decision_function(narrow(self.capped[case.pool]))
        return scores

    @property
    def capped(self) -> Any:
        """The 20,000 most frequent terms only, as arxiv-sanity-lite keeps."""
        if not hasattr(self, "_capped"):
            frequent = np.argsort(-np.bincount(self.counts.indices), kind="stable")[:20_000]
            self._capped = sparse.csr_array(self.matrix[:, np.sort(frequent)])
        return self._capped

    def plain_papers(self, case: Case) -> Floats:
        mean = np.asarray(self.matrix[case.known].mean(axis=0)).ravel()
        scores: Floats = self.matrix[case.pool] @ mean
        return scores

    def plain_line(self, case: Case) -> Floats:
        scores: Floats = self.matrix[case.pool] @ self._line(case.line, weighted=True)
        return scores

    def ours_papers(self, case: Case) -> Floats:
        seeds = tuple(int(row) for row in case.known)
        return self._ours(profile.TopicFacts("", seeds=seeds), case)

    def ours_line(self, case: Case) -> Floats:
        return self._ours(profile.TopicFacts(case.line), case)

    def _ours(self, topic: profile.TopicFacts, case: Case) -> Floats:
        """The product's own path, from what a reader says to scores; a batch of one."""
        reader = profile.build(profile.ReaderFacts((topic,)), now=NOW)
        codes = self.collection.codes
        papers = [self.facts[row] for row in case.pool]
        reference = [codes[row] for row in case.background[:500]]
        reading = ranking.Reading.of(papers, reference=reference, encoder=self.encoder)
        named = {row: codes[row] for row in topic.seeds}
        return ranking.rank([reader], ranking.Corpus(papers, reading), codes=named)[0].score

    def _line(self, line: str, *, weighted: bool = False) -> Floats:
        bag = Bag.from_bytes(self.encoder.encode(line))
        columns = np.minimum(np.searchsorted(self.terms, bag.terms), len(self.terms) - 1)
        known = self.terms[columns] == bag.terms
        columns = columns[known]
        query = np.zeros(len(self.terms))
        weights = 1 + np.log(bag.counts[known])
        query[columns] = weights * self.encoder.frequencies.idf(bag.terms[known]) if weighted else 1
        return query


def bm25_weights(counts: Any, *, k1: float = 1.2, b: float = 0.75) -> Any:
    """Okapi BM25 (Robertson & Zaragoza, 2009): what each term of each text adds to a score."""
    texts = counts.shape[0]
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = np.log(1 + (texts - frequency + 0.5) / (frequency + 0.5))
    lengths = np.asarray(counts.sum(axis=1)).ravel()
    norm = k1 * (1 - b + b * lengths / lengths.mean())
    repeated = np.repeat(norm, np.diff(counts.indptr))
    data = idf[counts.indices] * counts.data * (k1 + 1) / (counts.data + repeated)
    return sparse.csr_array((data, counts.indices, counts.indptr), shape=counts.shape)


def narrow(matrix: Any) -> Any:
    """With the 32-bit indices that scikit-learn insists on."""
    parts = (matrix.data, matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32))
    return sparse.csr_matrix(parts, shape=matrix.shape)


def facts_of(row: int, collection: Collection) -> ranking.PaperFacts:
    return ranking.PaperFacts(
        paper_id=row,
        title=collection.titles[row],
        abstract="",
        authors=(),
        organization="",
        categories=(),
        keywords=(),
        trending=0.0,
        upvotes=0,
        age_days=0.0,
        group=None,
        code=collection.codes[row],
    )


def has_sklearn() -> bool:
    return importlib.util.find_spec("sklearn") is not None


# -- cases ---------------------------------------------------------------------------------


def case_of(collection: Collection, library: Library, *, k: int) -> Case:
    """The same reader has the same test papers for every k (pools are drawn afresh)."""
    digest = sha256(f"{SEED}:{collection.name}:{library.reader}".encode()).hexdigest()
    rng = np.random.default_rng(int(digest[:8], 16))
    items = np.array(library.items)
    others = np.setdiff1d(np.arange(len(collection.codes)), items)
    if len(collection.days):
        split = FIRST_KNOWN[collection.name]
        known, test = items[max(0, split - k) : split], items[split : split + 10]
        is_past = collection.days[others] <= collection.days[known[-1]]
        past, future = others[is_past], others[~is_past]
    else:
        rng.shuffle(items)
        size = min(10, len(items) - 10)
        test, known = items[:size], items[size : size + k]
        past = future = others
    drawn = draw(rng, future, POOL - len(test))
    pool = np.concatenate([test, drawn])
    background = draw(rng, past if len(collection.days) else np.setdiff1d(past, drawn), BACKGROUND)
    line = collection.titles[int(known[-1])].rpartition(": ")[2]
    kept = np.arange(len(pool)) < len(test)
    return Case(known, line, pool, background, kept, frozenset(library.items))


def draw(rng: np.random.Generator, rows: Ints, size: int) -> Ints:
    return rng.choice(rows, min(size, len(rows)), replace=False)


# -- data ----------------------------------------------------------------------------------


def load(name: str, folder: Path) -> Collection:
    if name.startswith("hf-"):
        return load_hf(name, folder / "recsys-hf-daily")
    return load_citeulike(name, folder / name)


def load_hf(name: str, folder: Path) -> Collection:
    papers = list(json_lines(folder / "papers.jsonl.gz"))
    row_of = {paper["id"]: row for row, paper in enumerate(papers)}
    texts = [f"{paper['title']}\n{paper['abstract']}" for paper in papers]
    users = json_lines(folder / f"{name.removeprefix('hf-')}_dev.jsonl.gz")
    libraries = [Library(str(u["u"]), [row_of[id] for id in u["items"]]) for u in users]
    return Collection(
        name,
        [paper["title"] for paper in papers],
        encoded(texts, label=name),
        chosen(name, libraries),
        np.array([paper["day"] for paper in papers]),
        np.array([paper["up"] or 0 for paper in papers], float),
    )


def load_citeulike(name: str, folder: Path) -> Collection:
    users = json_lines(folder / "users_dev.jsonl.gz")
    libraries = [Library(str(u["u"]), list(u["items"])) for u in users]
    if name == "citeulike-a":
        titles = lines(folder / "titles.txt.gz")
        codes = encoded(titles, label=name)
    else:
        codes = counted(lines(folder / "mult.dat.gz"), lines(folder / "vocabulary.txt.gz"))
        titles = [""] * len(codes)
    votes = np.zeros(len(codes))
    for library in libraries:
        votes[library.items] += 1
    return Collection(name, titles, codes, chosen(name, libraries), np.array([], str), votes)


def chosen(name: str, libraries: Iterable[Library]) -> list[Library]:
    """Readers with enough papers, in an order that nobody picked."""
    enough = [each for each in libraries if len(each.items) >= MIN_LIBRARY[name]]
    return sorted(enough, key=lambda each: sha256(f"{SEED}:{each.reader}".encode()).hexdigest())


def encoded(texts: Sequence[str], *, label: str) -> list[bytes]:
    encoder = WordEncoder(DocumentFrequencies.count([]))
    bar = tqdm(texts, desc=f"{label} encode", unit="text", file=sys.stderr, leave=False)
    return [encoder.encode(text) for text in bar]


def counted(texts: Sequence[str], vocabulary: Sequence[str]) -> list[bytes]:
    """Of texts that are known only as `n term:count …`: words without order, so no pairs."""
    ids = [next(iter(word_ids(word)), None) for word in vocabulary]
    codes = []
    for text in texts:
        found: dict[int, int] = {}
        for pair in text.split()[1:]:
            term, _, count = pair.partition(":")
            if (known := ids[int(term)]) is not None:
                found[known] = found.get(known, 0) + int(count)
        terms = sorted(found)
        counts = np.array([found[term] for term in terms], np.uint16)
        codes.append(Bag(np.array(terms, np.uint64), counts).to_bytes())
    return codes


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in lines(path))


def lines(path: Path) -> list[str]:
    try:
        return gzip.decompress(path.read_bytes()).decode().rstrip("\n").split("\n")
    except OSError as error:
        sys.exit(f"--data: cannot read {path}: {error.strerror}")


if __name__ == "__main__":
    main()
