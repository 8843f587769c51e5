"""Which encoder is in use, and the vectors it stores: one id for all processes."""

from __future__ import annotations

import gzip
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
import structlog
from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.utils import timezone

from . import endpoint, onnx_model, static_meaning
from .models import Paper, PaperQuerySet, Phrase, Vocabulary
from .vectors import (
    Bag,
    Discriminant,
    DocumentFrequencies,
    Encoder,
    Model,
    ModelError,
    Sense,
    WordEncoder,
    near_duplicates,
    packed,
    term_id,
    unpacked,
)

log = structlog.get_logger(__name__)

SHIPPED_TABLE = "data/document_frequencies.tsv.gz"
ENCODE_BATCH = 500

FITTED_ON, LEAST_FITTED_ON = 3_000, 1_000  # papers
MEANINGS_AT_ONCE = 32  # papers, kept together: three seconds of one processor
PORTION_SECONDS = 40.0  # of a beat's minute
PHRASES_AT_ONCE = 64  # that one call has the model make: half a second
PHRASES_KEPT = 20_000  # in a process: about 15 MB
PHRASES_KEPT_DAYS = 60  # in the database, after somebody asked for them last
REST_SECONDS, LONGEST_REST_SECONDS = 60.0, 3600.0  # for a model that failed
RESTS = "papers.encoding.rests"


def encoder() -> Encoder:
    """The encoder that settings.ENCODER names, over the newest Vocabulary.

    A new installation has some thirty papers, so until one is fitted the document frequencies
    that the package ships are used (counted over two years of Hugging Face Daily Papers).
    """
    if settings.ENCODER != "words-1":
        raise ImproperlyConfigured(f"ENCODER must be words-1, not {settings.ENCODER!r}.")
    newest = Vocabulary.objects.filter(encoder=settings.ENCODER).order_by("id").values_list("id")
    return _fitted(newest.last())


def chosen_model() -> Model:
    """What settings.SEMANTIC_MODEL names, else the table that ships. Raises ModelError."""
    name = settings.SEMANTIC_MODEL
    if not name:
        return static_meaning.shipped()
    if name == "minilm":
        return _minilm()
    if name.startswith(("http://", "https://")):
        return _endpoint(name, settings.SEMANTIC_MODEL_NAME, settings.SEMANTIC_API_KEY)
    return _folder(name)


def meaning_model() -> Model | None:
    """The same, or None while it cannot be had: then words alone decide."""
    try:
        return None if _rests("model") else chosen_model()
    except ModelError as error:
        _let_rest("model", error)
        return None


def encode_missing(paper_ids: Sequence[int] | None = None, *, with_meaning: bool = True) -> int:
    """Encodes the papers whose vector is absent, outdated or another encoder's; how many.

    with_meaning: their meanings too, unless the model fails. What must not wait for one goes
    without: `encode_due` makes up for it within minutes.
    """
    encoded = _encode_words(paper_ids)
    if with_meaning:
        for _made in _until_it_fails(meanings(paper_ids)):
            pass
    return encoded


def encode_due(
    now: datetime, *, seconds: float = PORTION_SECONDS, clock: Callable[[], float] = time.monotonic
) -> int:
    """A portion of what is missing, the newest papers first; how many. Raises nothing of a model's.

    seconds: after these no further batch is begun.
    """
    prune(now.date())
    began, made = clock(), 0
    for batch in _until_it_fails(meanings()):
        made += batch
        if clock() - began >= seconds:
            break
    if made:
        left = missing_meanings().count()
        log.info("meanings made", papers=made, left=left, seconds=round(clock() - began, 1))
    return made


def meanings(
    paper_ids: Sequence[int] | None = None, *, batch: int = MEANINGS_AT_ONCE
) -> Iterator[int]:
    """Makes the meanings that are missing, whole batches at a time; how many each time.

    What is yielded is kept: whoever stops between two batches loses nothing, and whoever comes
    later goes on there. Raises ModelError.
    """
    model = chosen_model()
    missing, last = missing_meanings(paper_ids), None
    if not missing.exists():  # nearly always, and by the index alone
        return
    while papers := list(_before(missing, last).only("id", "title", "abstract")[:batch]):
        last = papers[-1].pk
        rows = model.encode([paper.text for paper in papers])
        pairs = zip(papers, rows, strict=True)
        yield _store(
            {
                paper.pk: (paper.text, {"meaning_by": model.id, "meaning": packed(row)})
                for paper, row in pairs
            }
        )


def missing_meanings(paper_ids: Sequence[int] | None = None) -> PaperQuerySet:
    """Papers without the meaning of the model in use, the newest first; none without a model.

    Raises ModelError where it cannot be had.
    """
    model = chosen_model()
    if model is None:
        return Paper.objects.none()
    missing = Paper.objects.without_meaning(model.id).order_by("-id")
    return missing if paper_ids is None else missing.filter(id__in=paper_ids)


def forget_meanings() -> int:
    """As if the model in use had made none yet; how many papers and phrases had one."""
    model = chosen_model()
    Phrase.objects.filter(model=model.id).delete()
    _phrases.clear()
    _endpoint.cache_clear()
    return Paper.objects.filter(meaning_by=model.id).update(meaning_by="", meaning=b"")


def keeps_phrases() -> bool:
    """Whether what the model makes of words is worth keeping."""
    return _table() is None


def _table() -> static_meaning.StaticModel | None:
    """The model in use, where it is the table that ships."""
    return None if settings.SEMANTIC_MODEL else static_meaning.shipped()


def sense(today: date | None = None) -> Sense | None:
    """Of the model in use, by the papers stored before `today`: the same for all processes."""
    model = meaning_model()
    if model is None:
        return None
    return _sense(model.id, model.dimensions, model.reach, today or timezone.now().date())


def meanings_of(
    texts: Iterable[str], *, today: date | None = None, is_kept: bool = True
) -> dict[str, bytes]:
    """Text -> its meaning, packed. Those that cannot be had now are absent.

    What this process knows, what is stored, and of the rest at most PHRASES_AT_ONCE by the model,
    which are then stored. is_kept: what nobody follows need not be; the process still knows it.
    """
    model, today = meaning_model(), today or timezone.now().date()
    wanted = {text: _hash(text) for text in texts if text.strip()}
    if model is None or not wanted:
        return {}
    if isinstance(model, static_meaning.StaticModel):  # made sooner than looked up
        rows = model.encode(list(wanted))
        return {text: packed(row) for text, row in zip(wanted, rows, strict=True)}
    hashes = set(wanted.values())
    found = {each: _phrases[key] for each in hashes if (key := (model.id, each, today)) in _phrases}
    found |= _stored_phrases(hashes.difference(found), model.id, today)
    new = {each: text for text, each in wanted.items() if each not in found}
    made = _made_phrases(dict(list(new.items())[:PHRASES_AT_ONCE]), model)
    if is_kept:
        _keep(made, model, today)
    found |= made
    if len(_phrases) + len(found) > PHRASES_KEPT:
        _phrases.clear()
    _phrases.update({(model.id, each, today): code for each, code in found.items()})
    return {text: found[each] for text, each in wanted.items() if each in found}


def prune(today: date) -> int:
    """Drops the phrases that nobody has asked for in a long time; how many."""
    forgotten = Phrase.objects.filter(used_on__lt=today - timedelta(days=PHRASES_KEPT_DAYS))
    dropped, _of_each = forgotten.exclude(text_hash=_hash(endpoint.PROBE)).delete()
    return dropped


def _encode_words(paper_ids: Sequence[int] | None) -> int:
    current = encoder()
    missing = Paper.objects.without_vector(current.id)
    if paper_ids is not None:
        missing = missing.filter(id__in=paper_ids)
    encoded = 0
    table = _table()
    while batch := list(missing.only("id", "title", "abstract")[:ENCODE_BATCH]):
        codes = [current.encode(paper.text) for paper in batch]
        made: list[dict[str, str | bytes]]
        made = [{"encoder": current.id, "vector": code} for code in codes]
        if table is not None:
            # It reads the words that were counted: nobody waits for it.
            for each, row in zip(made, table.of(map(Bag.from_bytes, codes)), strict=True):
                each |= {"meaning_by": table.id, "meaning": packed(row)}
        pairs = zip(batch, made, strict=True)
        encoded += _store({paper.pk: (paper.text, each) for paper, each in pairs})
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
def _store(made: Mapping[int, tuple[str, dict[str, str | bytes]]]) -> int:
    """made: (text, columns and what was made of it). A paper that says something else by now is
    left for another turn.

    Rows are locked in the order in which a reading locks them.
    """
    rows = Paper.objects.filter(id__in=made).order_by("id").select_for_update(no_key=True)
    same = [paper for paper in rows.only("title", "abstract") if paper.text == made[paper.pk][0]]
    for paper in same:
        for column, value in made[paper.pk][1].items():
            setattr(paper, column, value)
    if same:
        Paper.objects.bulk_update(same, list(made[same[0].pk][1]), batch_size=100)
    return len(same)


def _before(papers: PaperQuerySet, last: int | None) -> PaperQuerySet:
    """Each once in a run, also one whose text is changed again and again."""
    return papers if last is None else papers.filter(id__lt=last)


# -- the model -----------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _sense(model: str, dimensions: int, reach: float, today: date) -> Sense:
    midnight = datetime.combine(today, datetime.min.time(), UTC)
    papers = Paper.objects.filter(meaning_by=model, first_seen_at__lt=midnight)
    newest = papers.order_by("-first_seen_at", "-id").values_list("meaning", flat=True)
    codes = [bytes(code) for code in newest[:FITTED_ON]]
    discriminant = Discriminant.of(unpacked(codes)) if len(codes) >= LEAST_FITTED_ON else None
    return Sense(dimensions, reach, discriminant)


@lru_cache(maxsize=1)
def _minilm() -> Model:
    return onnx_model.minilm()


@lru_cache(maxsize=1)
def _folder(path: str) -> Model:
    return onnx_model.from_folder(Path(path))


@lru_cache(maxsize=1)
def _endpoint(base: str, name: str, key: str) -> Model:
    """How long its vectors are is remembered: while it is away, what it made is of use."""
    probe = Phrase.objects.filter(text_hash=_hash(endpoint.PROBE)).order_by("-id")
    for known in probe.filter(model__startswith=f"{name[-48:]}-"):
        model = endpoint.EndpointModel(base, name, key=key, dimensions=len(known.meaning))
        if model.id == known.model:
            return model
    model = endpoint.found(base, name, key=key)
    probe_meaning = _made_phrases({_hash(endpoint.PROBE): endpoint.PROBE}, model)
    _keep(probe_meaning, model, timezone.now().date())
    return model


def _until_it_fails(batches: Iterator[int]) -> Iterator[int]:
    """While the model rests after a failure there are none; a failure is one line in the log."""
    if meaning_model() is None or _rests("asking"):
        return
    try:
        yield from batches
    except ModelError as error:
        _let_rest("asking", error)


def _rests(part: str) -> bool:
    """part: `model` where it cannot even be had, `asking` where it gives no vectors."""
    return bool(settings.SEMANTIC_MODEL) and cache.get(f"{RESTS}.{part}") is not None


def _let_rest(part: str, error: ModelError) -> None:
    seconds = min(max(error.retry_after, REST_SECONDS), LONGEST_REST_SECONDS)
    cache.set(f"{RESTS}.{part}", 1, seconds)
    log.warning("no meanings", part=part, error=str(error), again_in_seconds=round(seconds))


# -- phrases -------------------------------------------------------------------------------

# (model, hash, day) -> its meaning. The day, so that what is in use is marked so once a day.
_phrases: dict[tuple[str, str, date], bytes] = {}


def _hash(text: str) -> str:
    return hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).hexdigest()


def _stored_phrases(hashes: Iterable[str], model: str, today: date) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    asked = sorted(hashes)
    for start in range(0, len(asked), ENCODE_BATCH):
        rows = Phrase.objects.filter(model=model, text_hash__in=asked[start : start + ENCODE_BATCH])
        found.update((each, bytes(code)) for each, code in rows.values_list("text_hash", "meaning"))
        if rows.filter(used_on__lt=today).exists():
            rows.filter(used_on__lt=today).update(used_on=today)
    return found


def _made_phrases(texts: Mapping[str, str], model: Model) -> dict[str, bytes]:
    """By hash; none where the model fails, or rests after it did."""
    if not texts or _rests("asking"):
        return {}
    try:
        rows = model.encode([" ".join(text.split()) for text in texts.values()])
    except ModelError as error:
        _let_rest("asking", error)
        return {}
    return {each: packed(row) for each, row in zip(texts, rows, strict=True)}


def _keep(made: Mapping[str, bytes], model: Model, today: date) -> None:
    Phrase.objects.bulk_create(
        [
            Phrase(model=model.id, text_hash=each, meaning=code, used_on=today)
            for each, code in made.items()
        ],
        ignore_conflicts=True,
    )


# -- the table of words --------------------------------------------------------------------


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
