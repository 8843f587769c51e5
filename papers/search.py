"""A query -> the stored papers that answer it, by their words and, with a model, their meaning.

The index of words (papers/words.py) says which papers hold all the words, the best first; where
these are few, those with some of the words follow. A sentence model adds what means the same in
other words: both lists are joined by reciprocal ranks (Cormack, Clarke & Büttcher 2009). The
table of single words that needs no model adds nothing, but orders those with all the words. Asks
no source.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from django.core.cache import cache
from django.db.models import QuerySet

from . import encoding, meanings, static_meaning, words
from .models import Paper
from .query import (
    MAX_WORD_LENGTH,
    Asked,
    Order,
    Query,
    distance,
    one_edit_away,
    parse,
    words_of,
)
from .records import arxiv_id
from .vectors import surfaces
from .words import Wanted

__all__ = ["Asked", "Found", "Order", "by_author", "by_title", "like", "search"]

PER_PAGE = 20
RANKED = 500  # the best so many are shown, a page at a time
COUNTED = 10_000
ENOUGH = 20  # with fewer papers that have all words, those with some of them follow
SOME_AMONG = 4000  # papers, about, that one of the words may have, lest common ones be ranked
NEAREST = 200  # by meaning
# A mean of single words tells which of the papers with a query's words are about it, but finds
# others that are not.
ORDER_ALONE = frozenset({static_meaning.ID})
RANK_SHIFT = 60  # Cormack's k

# Spelling
SHORTEST_CORRECTED = 4
TWO_EDITS_FROM = 7  # letters
SAMPLE = 200
MOST_MENDED = 3  # words of one query: whoever looks for a dozen unknown ones means no words

# More like this
TELLING = 12  # terms of a paper that its relatives are looked for by
RELATIVES = 200
LIKE_SECONDS = 3600
NAMESAKES = 2000
NEAR = 0.045  # cosine of words; of random pairs the median is .012, the 99th percentile .044


@dataclass(frozen=True, slots=True)
class Found:
    """papers: those from `offset` on. total: how many there are, or more where `is_more`.

    with_all: how many have all the words; the others have some, or mean the same. is_parted: the
    former come first. corrected: the query that was looked for instead, where its spelling was
    mended. words: what may be marked in the texts. exact: an arXiv id or link named this paper.
    is_too_costly: the answer took too long to find, and is not known.
    """

    papers: list[Paper] = field(default_factory=list)
    total: int = 0
    is_more: bool = False
    with_all: int = 0
    is_parted: bool = True
    corrected: str = ""
    words: frozenset[str] = frozenset()
    exact: Paper | None = None
    is_too_costly: bool = False

    @property
    def some(self) -> int:
        """How many have not all of the words."""
        return self.total - self.with_all


def search(asked: Asked, *, limit: int, offset: int = 0) -> Found:
    """Never raises for what somebody typed. Withdrawn papers are found by their id alone.

    Without words: all that pass the filters, the newest first; without either: nothing.
    """
    if paper := _named(asked.words):
        return Found([paper] if offset == 0 else [], 1, with_all=1, exact=paper)
    try:
        return _found(asked, parse(asked.words), limit, offset)
    except words.TooCostly:
        return Found(is_too_costly=True)


def _found(asked: Asked, query: Query, limit: int, offset: int) -> Found:
    if not query.wanted:
        may_list = asked.is_filtered and not asked.words.strip()
        return _listed(asked, query, limit, offset) if may_list else Found()
    found = _answer(asked, query, limit, offset)
    if not found.with_all and not asked.as_typed:
        mended = _mended(query)
        if mended != query:
            return replace(_answer(asked, mended, limit, offset), corrected=mended.text)
    return found


def _named(text: str) -> Paper | None:
    try:
        named = arxiv_id(text.replace("\x00", ""))
    except ValueError:
        return None
    return _light(Paper.objects.filter(arxiv_id=named)).first()


def _answer(asked: Asked, query: Query, limit: int, offset: int) -> Found:
    if asked.order == Order.DATE:
        return _listed(asked, query, limit, offset)
    wanted = words.wanted(asked, query)
    exact = words.by_relevance(wanted, limit=RANKED)
    counted = len(exact)
    if counted == RANKED:
        counted = words.count(wanted, most=COUNTED + 1)
    by_meaning = [] if query.unwanted or _quotes(query) else _by_meaning(query, wanted, exact)
    ranked = exact
    if _model() in ORDER_ALONE:
        ranked, by_meaning = joined(exact, by_meaning), []
    if len(exact) < ENOUGH:
        ranked = ranked + _with_some(wanted, query, known=exact)
    return _page(
        joined(ranked, by_meaning) if by_meaning else ranked,
        Found(
            is_more=counted > COUNTED,
            with_all=min(counted, COUNTED),
            is_parted=not by_meaning,
            words=query.words,
        ),
        limit=limit,
        offset=offset,
    )


def _listed(asked: Asked, query: Query, limit: int, offset: int) -> Found:
    """By date."""
    wanted = words.wanted(asked, query)
    total = words.count(wanted, most=COUNTED + 1)
    window = max(min(limit, RANKED - offset), 0)
    ids = words.by_date(wanted, limit=window, offset=offset) if window else []
    shown = min(total, COUNTED)
    return Found(_in_order(ids), shown, total > COUNTED, with_all=shown, words=query.words)


def _page(ranked: Sequence[int], found: Found, *, limit: int, offset: int) -> Found:
    total = max(found.with_all, len(ranked))
    return replace(
        found,
        papers=_in_order(ranked[:RANKED][offset : offset + limit]),
        total=total,
    )


def _quotes(query: Query) -> bool:
    """Somebody wants these very words, side by side."""
    return '"' in query.text


def _with_some(wanted: Wanted, query: Query, *, known: Sequence[int]) -> list[int]:
    """Papers with some of the words, rare words first; what one word alone brings is no answer to
    several, so of common words only as many are looked for as few papers have.
    """
    if len(query.wanted) < 2 or _quotes(query) or not (rare := _rare(query.wanted)):
        return []
    loose = replace(wanted, every=(), some=[phrase for phrase, _ in rare])
    weights = [weight for _, weight in rare]
    seen = set(known)
    found = words.by_relevance(loose, limit=RANKED // 2, weights=weights)
    return [pk for pk in found if pk not in seen]


def _rare(
    phrases: Iterable[tuple[str, ...]], *, most: int = SOME_AMONG
) -> list[tuple[tuple[str, ...], float]]:
    """(phrase, weight), the first of them that at most `most` papers have together."""
    counted = [(words.count(Wanted(every=(each,)), most=most), each) for each in phrases]
    kept: list[tuple[tuple[str, ...], float]] = []
    for papers, phrase in sorted(counted):
        most -= papers
        if most <= 0:
            break
        if papers:
            kept.append((phrase, float(np.log1p(SOME_AMONG / papers))))
    return kept


# -- meaning -------------------------------------------------------------------------------


def joined(*rankings: Sequence[int]) -> list[int]:
    """By the sum of 1 / (RANK_SHIFT + rank) over the rankings; the first one breaks ties."""
    scores: defaultdict[int, float] = defaultdict(float)
    for ranking in rankings:
        for rank, pk in enumerate(ranking, 1):
            scores[pk] += 1 / (RANK_SHIFT + rank)
    return sorted(scores, key=lambda pk: -scores[pk])


def _by_meaning(query: Query, wanted: Wanted, exact: Sequence[int]) -> list[int]:
    """The nearest, be they `exact` or not; empty without a model, or while it cannot be had."""
    text = " ".join(" ".join(phrase) for phrase in query.wanted)
    model = _model()
    if model is None or (code := _meaning_of(text)) is None:
        return []
    among: Sequence[int] | None = exact
    if model not in ORDER_ALONE:
        bare = replace(wanted, every=(), unwanted=())
        among = words.some_of(bare, limit=10**7) if _is_narrowed(bare) else None
    limit = NEAREST if among is not exact else RANKED
    near = meanings.stored(model).nearest(meanings.unit(code), limit=limit, among=among)
    return [pk for pk, _cosine in near]


def _is_narrowed(wanted: Wanted) -> bool:
    return bool(wanted.has_words or wanted.since or wanted.until or wanted.source)


def _model() -> str | None:
    """Its id."""
    model = encoding.meaning_model()
    return None if model is None else str(model.id)


def _meaning_of(text: str) -> bytes | None:
    found: dict[str, bytes] = encoding.meanings_of([text], is_kept=False)
    return found.get(text)


# -- spelling ------------------------------------------------------------------------------


def _mended(query: Query) -> Query:
    """With every word that no paper has put as papers spell it, where one is near enough."""
    unknown = [word for word in sorted(query.words) if _may_be_misspelt(word)]
    fixes = {word: _spelt(word) for word in unknown[:MOST_MENDED]}
    text = query.text
    for word, better in fixes.items():
        if better:
            text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", better, _plain(text))
    return parse(text) if text != query.text else query


def _plain(text: str) -> str:
    """Everything but letters and digits stays, these as the index spells them."""
    return re.sub(r"\w+", lambda word: " ".join(words_of(word[0])), text)


def _may_be_misspelt(word: str) -> bool:
    is_word = word.isalpha() and SHORTEST_CORRECTED <= len(word) < MAX_WORD_LENGTH
    return is_word and not _is_known(word)


def _is_known(word: str) -> bool:
    return bool(words.known([word]) or words.count(Wanted(every=((word,),)), most=1))


def _spelt(word: str) -> str:
    """The most frequent word of the papers one edit away, else two; empty where there is none."""
    near = words.known(sorted(one_edit_away(word)))
    seen = _nearby(word, Wanted(spelt=near), most=1) if near else Counter()
    if not seen and len(word) >= TWO_EDITS_FROM:
        # Whoever errs twice in a word seldom errs in its beginning.
        for size in (len(word) - 2, len(word) // 2, 3, 2):
            if seen := _nearby(word, Wanted(begins=word[:size]), most=2):
                break
    return min(seen, key=lambda each: (-seen[each], each), default="")


def _nearby(word: str, wanted: Wanted, *, most: int) -> Counter[str]:
    """Words of some papers that are at most so many edits from `word`, with their papers."""
    sample = words.some_of(wanted, limit=SAMPLE)
    rows = Paper.objects.filter(pk__in=sample).values_list("title", "abstract", "authors")
    seen: Counter[str] = Counter()
    for title, abstract, authors in rows:
        seen.update(set(words_of(" ".join([title, abstract, *authors]))))
    return Counter({each: n for each, n in seen.items() if distance(word, each, most=most) <= most})


# -- other ways to a paper -----------------------------------------------------------------


def like(paper: Paper, *, limit: int) -> list[Paper]:
    """The nearest papers by words; where these are too few, by meaning. None that is not near.

    Candidates are those that share the paper's most telling terms. Kept for LIKE_SECONDS: every
    paper has a page, and machines read them all.
    """
    key = f"like:{paper.pk}:{limit}"
    if (ids := cache.get(key)) is None:
        try:
            ids = _near_by_words(paper)
        except words.TooCostly:
            ids = []
        if len(ids) < limit:
            ids = list(dict.fromkeys([*ids, *_near_by_meaning(paper)]))
        ids = ids[:limit]
        cache.set(key, ids, LIKE_SECONDS)
    return _in_order(ids)


def _near_by_words(paper: Paper) -> list[int]:
    encoder = encoding.encoder()
    code = bytes(paper.vector) if paper.encoder == encoder.id else encoder.encode(paper.text)
    telling = _telling(paper.text, code)
    if not telling:
        return []
    some, weights = [phrase for phrase, _ in telling], [weight for _, weight in telling]
    wanted = Wanted(some=some, as_spelt=True)
    ids = words.by_relevance(wanted, limit=RELATIVES, weights=weights)
    return _near(code, [pk for pk in ids if pk != paper.pk])


def _telling(text: str, code: bytes) -> list[tuple[tuple[str, ...], float]]:
    """Its words with their weights, heaviest first, until SOME_AMONG papers have one. No pairs: of
    two common words PostgreSQL reads every text that has both, to see whether they are neighbours.
    """
    rows = encoding.encoder().rows([code])
    weight_of = dict(zip(rows.terms.tolist(), rows.matrix.toarray()[0].tolist(), strict=True))
    spelled = surfaces(text)
    heaviest = sorted(spelled, key=lambda term: (-weight_of.get(term, 0.0), term))
    kept: dict[tuple[str, ...], float] = {}
    among = 0
    for term in heaviest[: 4 * TELLING]:
        phrase = tuple(words_of(spelled[term]))
        if len(phrase) != 1:
            continue
        alone = Wanted(every=(phrase,), as_spelt=True)
        number = words.count(alone, most=SOME_AMONG)
        if number > 1 and among + number <= SOME_AMONG:
            kept[phrase], among = weight_of.get(term, 0.0), among + number
        if len(kept) == TELLING:
            break
    return list(kept.items())


def _near(code: bytes, ids: Sequence[int]) -> list[int]:
    encoder = encoding.encoder()
    stored = Paper.objects.filter(pk__in=ids, encoder=encoder.id).order_by("-pk")
    codes = dict(stored.values_list("pk", "vector"))
    if not codes:
        return []
    matrix = encoder.rows([code, *map(bytes, codes.values())]).matrix
    cosines = (matrix[1:] @ matrix[[0]].T).toarray().ravel()
    near = sorted(zip(cosines.tolist(), codes, strict=True), reverse=True)
    return [pk for cosine, pk in near if cosine >= NEAR]


def _near_by_meaning(paper: Paper) -> list[int]:
    model = _model()
    if model is None or paper.meaning_by != model:
        return []
    stored = meanings.stored(model)
    near = stored.nearest(meanings.unit(bytes(paper.meaning)), limit=RELATIVES)
    least = stored.seldom()
    return [pk for pk, cosine in near if pk != paper.pk and cosine >= least]


def by_author(name: str, *, limit: int) -> list[Paper]:
    """Papers of whoever has this first and last name, the newest first; a middle name counts only
    where both give one. Without a first name: nobody, for surnames have too many owners.
    """
    person = _person(name)
    if len(person) < 2 or len(person[0]) < 2:
        return []
    found: list[int] = []
    try:
        ids = words.by_date(_namesakes(name), limit=COUNTED)
    except words.TooCostly:
        return []
    for start in range(0, len(ids), RANKED):
        batch = ids[start : start + RANKED]
        authors = dict(Paper.objects.filter(pk__in=batch).values_list("pk", "authors"))
        found += [
            pk for pk in batch if any(_is_same(person, _person(n)) for n in authors.get(pk, []))
        ]
        if len(found) >= limit:
            break
    return _in_order(found[:limit])


def _person(name: str) -> list[str]:
    """Jian-Peng and Jianpeng are one."""
    return words_of(name.replace("-", ""))


def _namesakes(name: str) -> Wanted:
    """By the surname alone, if few have it: the index knows Jian-Peng as two words."""
    first, *_middle, last = words_of(name)
    alike = Wanted(authors=[(last,)])
    if words.count(alike, most=NAMESAKES) < NAMESAKES:
        return alike
    return Wanted(authors=[(first,), (last,)])


def _is_same(one: Sequence[str], other: Sequence[str]) -> bool:
    if len(other) < 2 or (one[0], one[-1]) != (other[0], other[-1]):
        return False
    return all(a[0] == b[0] for a, b in zip(one[1:-1], other[1:-1], strict=False))


def by_title(titles: Sequence[str]) -> dict[str, int]:
    """Title as it was given -> id of the paper that has it, but for case, accents and signs.

    Absent where no paper has it, or where two do.
    """
    stored: defaultdict[str, list[int]] = defaultdict(list)
    ids = words.titled(titles)
    for start in range(0, len(ids), RANKED):
        batch = Paper.objects.filter(pk__in=ids[start : start + RANKED])
        for pk, title in batch.values_list("pk", "title"):
            stored[" ".join(words_of(title))].append(pk)
    having = {title: stored.get(" ".join(words_of(title)), []) for title in titles}
    return {title: papers[0] for title, papers in having.items() if len(papers) == 1}


def _in_order(ids: Sequence[int]) -> list[Paper]:
    papers = _light(Paper.objects.filter(withdrawn_at__isnull=True)).in_bulk(list(ids))
    return [papers[pk] for pk in ids if pk in papers]


def _light(papers: QuerySet[Paper]) -> QuerySet[Paper]:
    return papers.defer("vector", "meaning")
