"""Which encoder is in use, and the vectors it stores: one id for all processes."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import resources

import numpy as np
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from .models import Paper, Vocabulary
from .vectors import Bag, DocumentFrequencies, Encoder, WordEncoder, near_duplicates, term_id

SHIPPED_TABLE = "data/document_frequencies.tsv.gz"
ENCODE_BATCH = 500


def encoder() -> Encoder:
    """The encoder that settings.ENCODER names, over the newest Vocabulary.

    A new installation has some thirty papers, so until one is fitted the document frequencies
    that the package ships are used (counted over two years of Hugging Face Daily Papers).
    """
    if settings.ENCODER != "words-1":
        raise ImproperlyConfigured(f"ENCODER must be words-1, not {settings.ENCODER!r}.")
    newest = Vocabulary.objects.filter(encoder=settings.ENCODER).order_by("id").values_list("id")
    return _fitted(newest.last())


def encode_missing(paper_ids: Sequence[int] | None = None) -> int:
    """Encodes the papers whose vector is absent, outdated or another encoder's; how many."""
    current = encoder()
    missing = Paper.objects.without_vector(current.id)
    if paper_ids is not None:
        missing = missing.filter(id__in=paper_ids)
    encoded = 0
    while batch := list(missing.only("id", "title", "abstract")[:ENCODE_BATCH]):
        codes = {paper.pk: (paper.text, current.encode(paper.text)) for paper in batch}
        encoded += _store(codes, current.id)
    return encoded


def duplicate_groups(paper_ids: Sequence[int]) -> dict[int, int]:
    """Paper id -> number of its group, for papers that say nearly the same as another one."""
    vectors = dict(Paper.objects.filter(id__in=paper_ids).values_list("id", "vector"))
    ids = sorted(vectors)
    groups = near_duplicates(encoder().rows([bytes(vectors[id]) for id in ids]).matrix)
    return {ids[row]: number for number, group in enumerate(groups, 1) for row in group}


def fit(paper_ids: Iterable[int] | None = None) -> Vocabulary:
    """Counts document frequencies over the stored vectors and makes them the current table.

    Refuses to trade the shipped table for one counted over fewer papers (ValueError).
    """
    papers = Paper.objects.filter(encoder=settings.ENCODER)
    if paper_ids is not None:
        papers = papers.filter(id__in=paper_ids)
    codes = papers.values_list("vector", flat=True).iterator()
    counted = DocumentFrequencies.count((Bag.from_bytes(bytes(c)) for c in codes), at_least=2)
    if counted.documents < shipped_frequencies().documents:
        raise ValueError(
            f"{counted.documents} papers are stored; the shipped table was counted over "
            f"{shipped_frequencies().documents} and is the better one until there are more."
        )
    return Vocabulary.objects.create(
        encoder=settings.ENCODER, documents=counted.documents, table=counted.to_bytes()
    )


@transaction.atomic
def _store(codes: Mapping[int, tuple[str, bytes]], encoder: str) -> int:
    """codes: (text, its vector). A paper that says something else by now is left for another turn.

    Rows are locked in the order in which a reading locks them.
    """
    rows = Paper.objects.filter(id__in=codes).order_by("id").select_for_update(no_key=True)
    same = [paper for paper in rows.only("title", "abstract") if paper.text == codes[paper.pk][0]]
    for paper in same:
        paper.encoder, paper.vector = encoder, codes[paper.pk][1]
    Paper.objects.bulk_update(same, ["encoder", "vector"], batch_size=100)
    return len(same)


@lru_cache(maxsize=1)
def shipped_frequencies() -> DocumentFrequencies:
    """The table in the package: a line `documents<TAB>N`, then `term<TAB>df`, gzipped."""
    packed = resources.files("papers").joinpath(SHIPPED_TABLE).read_bytes()
    head, *lines = gzip.decompress(packed).decode().splitlines()
    pairs = [line.split("\t") for line in lines]
    terms = np.array([term_id(term) for term, _ in pairs], np.uint64)
    counts = np.array([int(count) for _, count in pairs], np.uint32)
    order = np.argsort(terms)
    return DocumentFrequencies(int(head.split("\t")[1]), terms[order], counts[order])


@lru_cache(maxsize=2)
def _fitted(vocabulary: tuple[int] | None) -> Encoder:
    """Cached by the row's id: rows are never edited, a new fit makes a new row."""
    if vocabulary is None:
        return WordEncoder(shipped_frequencies(), id=settings.ENCODER)
    row = Vocabulary.objects.get(id=vocabulary[0])
    table = DocumentFrequencies.from_bytes(bytes(row.table), documents=row.documents)
    return WordEncoder(table, id=settings.ENCODER)
