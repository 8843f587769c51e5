"""The index of all papers' words, in the database itself: SQLite's FTS5, PostgreSQL's tsvector.

Triggers keep it, so that it is right however a paper was written, and only where the words
changed: votes come all day and touch nothing. Withdrawn papers are not in it. All forms of an
English word meet (FTS5 is asked for each of them), accents are folded; a title's word weighs
more than an author's, and that more than an abstract's.

    SQLite      papers_words (FTS5, contentless), papers_dated (when each appeared, its title's
                key), papers_spellings (the words of the former)
    PostgreSQL  papers_words (a row a paper, GIN), no extension

What is neither text nor date is in the index as a made-up word (`fact`). Both know a Match as SQL
that gives `paper_id`; nothing of what visitors typed is ever part of a statement.
"""

# ruff: noqa: S608  statements are put together of names and marks alone

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Protocol

from django.core.cache import cache
from django.db import OperationalError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from .query import Asked, Query, forms, words_of
from .vectors import unaccented

Phrase = tuple[str, ...]
_NOT_PLAIN = re.compile("[^a-z0-9]+")

# What a word counts by where it stands: title, authors, organization and keywords, abstract.
TITLE, AUTHORS, KEYWORDS, ABSTRACT = 8.0, 5.0, 3.0, 1.0
HAS_CODE = "xxhascode"
FORMS = 5
FORMS_SECONDS = 600
KEY_LENGTH = 200
KEYS_AT_ONCE = 500
PATIENCE_SECONDS = 1  # with one statement; PostgreSQL reads every text for a phrase of common words
CANCELLED = "57014"  # its SQLSTATE of a statement that took too long


class TooCostly(Exception):
    """The index was asked for something that takes it too long."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Papers with all of `every`, one of `some` (if there are any) and none of `unwanted`.

    title, authors, organization: as `every`, but in that place alone. facts: made-up words. spelt:
    one of these words as it stands. begins: what a word begins with. as_spelt: other forms of the
    words need not be met, which is faster where there are many.
    """

    every: Sequence[Phrase] = ()
    some: Sequence[Phrase] = ()
    unwanted: Sequence[Phrase] = ()
    title: Sequence[Phrase] = ()
    authors: Sequence[Phrase] = ()
    organization: Sequence[Phrase] = ()
    facts: Sequence[str] = ()
    spelt: Sequence[str] = ()
    begins: str = ""
    as_spelt: bool = False
    since: date | None = None
    until: date | None = None
    source: str = ""

    @property
    def has_words(self) -> bool:
        return bool(
            self.every
            or self.some
            or self.title
            or self.authors
            or self.organization
            or self.facts
            or self.spelt
            or self.begins
        )


def wanted(asked: Asked, query: Query) -> Wanted:
    """All words of the query, under the search's filters."""
    organization = tuple(words_of(asked.organization))
    return Wanted(
        every=query.wanted,
        unwanted=query.unwanted,
        organization=(organization,) if organization else (),
        facts=[*([category_fact(asked.category)] if asked.category else []),
               *([HAS_CODE] if asked.has_code else [])],
        since=asked.since,
        until=asked.until,
        source=asked.source,
    )  # fmt: skip


def category_fact(category: str) -> str:
    """cs.CL -> xxincscl: a word that no text has."""
    return "xxin" + "".join(words_of(category))


def by_relevance(wanted: Wanted, *, limit: int, weights: Sequence[float] = ()) -> list[int]:
    """Ids of papers, the best first. weights: of each phrase of `some`, where not all count alike
    (FTS5 knows by itself how rare a word is). Where more than RANKED_AT_MOST have the words, they
    are too common to rank by: those that have them in the title, then the newest.
    """
    index = _index()
    if index.count(wanted, index.RANKED_AT_MOST + 1) <= index.RANKED_AT_MOST:
        return index.ranked(wanted, limit, weights)
    in_title = replace(wanted, every=(), title=(*wanted.title, *wanted.every))
    first = index.ranked(in_title, limit, weights) if wanted.every else []
    if len(first) < limit:
        first += index.by_date(wanted, limit, 0)
    return list(dict.fromkeys(first))[:limit]


def by_date(wanted: Wanted, *, limit: int, offset: int = 0) -> list[int]:
    """Ids of papers, the newest first."""
    return _index().by_date(wanted, limit, offset)


def count(wanted: Wanted, *, most: int) -> int:
    """How many there are; it stops at `most`."""
    return _index().count(wanted, most)


def some_of(wanted: Wanted, *, limit: int) -> list[int]:
    """Any of them, whichever is found first."""
    return _index().some(wanted, limit)


def known(spellings: Sequence[str]) -> list[str]:
    """Those that papers have. PostgreSQL, which keeps stems, takes any form of a word for it, and
    its own function words, which it does not keep, for known.
    """
    found: list[str] = []
    for start in range(0, len(spellings), KEYS_AT_ONCE):
        found += _index().known(spellings[start : start + KEYS_AT_ONCE])
    return found


def titled(titles: Iterable[str]) -> list[int]:
    """Papers that may have one of these titles: all that do, but for case, accents and signs, and
    a few that do not. A title without a plain letter or digit is nobody's.
    """
    keys = sorted({_key(title) for title in titles} - {""})
    return _index().titled(keys) if keys else []


def _key(title: str) -> str:
    """What two spellings of a title have in common, beginning with its first letter."""
    return _NOT_PLAIN.sub("", unaccented(title).lower())[:KEY_LENGTH]


def create(on: BaseDatabaseWrapper) -> None:
    """The index with its triggers, filled from the papers that are stored."""
    _run(on, _index(on).CREATE)


def drop(on: BaseDatabaseWrapper) -> None:
    _run(on, _index(on).DROP)


def _run(on: BaseDatabaseWrapper, statements: Iterable[str]) -> None:
    with on.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


class _Index(Protocol):
    CREATE: Sequence[str]
    DROP: Sequence[str]

    RANKED_AT_MOST: int

    def ranked(self, wanted: Wanted, limit: int, weights: Sequence[float]) -> list[int]: ...

    def by_date(self, wanted: Wanted, limit: int, offset: int) -> list[int]: ...

    def count(self, wanted: Wanted, most: int) -> int: ...

    def some(self, wanted: Wanted, limit: int) -> list[int]: ...

    def known(self, spellings: Sequence[str]) -> list[str]: ...

    def titled(self, keys: Sequence[str]) -> list[int]: ...


def _index(on: BaseDatabaseWrapper | None = None) -> _Index:
    vendor = (on or connection).vendor
    return _Postgresql() if vendor == "postgresql" else _Sqlite()


def _ids(sql: str, params: Sequence[Any]) -> list[int]:
    return [int(row[0]) for row in _rows(sql, params)]


def _rows(sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def _begin(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


@dataclass(slots=True)
class _Where:
    """Conditions and their parameters, in order."""

    sql: list[str] = field(default_factory=list)
    params: list[Any] = field(default_factory=list)

    def add(self, condition: str, *params: Any) -> None:
        self.sql.append(condition)
        self.params.extend(params)

    def __str__(self) -> str:
        return " AND ".join(self.sql) or "TRUE"


def _is_listed(where: _Where, source: str, paper: str) -> None:
    where.add(
        "EXISTS (SELECT 1 FROM papers_entry e JOIN papers_source s ON s.id = e.source_id"
        f" WHERE e.paper_id = {paper} AND s.slug = %s)",
        source,
    )


# -- SQLite --------------------------------------------------------------------------------


def _column_values(row: str) -> str:
    """The indexed texts of a row of papers_paper; JSON's escapes are undone."""

    def texts(column: str) -> str:
        return f"(SELECT group_concat(value, ' / ') FROM json_each({row}.{column}))"

    facts = (
        f"(SELECT group_concat('xxin' || replace(replace(value, '.', ''), '-', ''), ' ')"
        f" FROM json_each({row}.categories))"
        f" || CASE WHEN {row}.code_url <> '' THEN ' {HAS_CODE}' ELSE '' END"
    )
    facts = f"coalesce({facts}, CASE WHEN {row}.code_url <> '' THEN '{HAS_CODE}' ELSE '' END)"
    return (
        f"{row}.title, coalesce({texts('authors')}, ''),"
        f" {row}.organization || ' / ' || coalesce({texts('keywords')}, ''),"
        f" {row}.abstract, {row}.organization, {facts}"
    )


_COLUMNS = "title, authors, keywords, abstract, organization, facts"

_TITLE_SIGNS = " -:,.()'?!/\"$&"  # its parser follows no fifty into each other


def _key_value(row: str) -> str:
    """As _key, but for what SQLite does not know: accents stay in it, and rare signs do."""
    key = f"lower({row}.title)"
    for sign in _TITLE_SIGNS:
        quoted = sign.replace("'", "''")
        key = f"replace({key}, '{quoted}', '')"
    return f"substr({key}, 1, {KEY_LENGTH})"


_HAS_ODD_SIGNS = "title_key GLOB '*[^a-z0-9]*'"
_PUT = (
    f"INSERT INTO papers_words (rowid, {_COLUMNS}) SELECT new.id, {_column_values('new')}"
    " WHERE new.withdrawn_at IS NULL;"
    " INSERT INTO papers_dated (paper_id, published_at, title_key)"
    f" SELECT new.id, new.published_at, {_key_value('new')} WHERE new.withdrawn_at IS NULL;"
)
# FTS5 forgets a row by the very words that it was given.
_TAKE = (
    f"INSERT INTO papers_words (papers_words, rowid, {_COLUMNS})"
    f" SELECT 'delete', old.id, {_column_values('old')} WHERE old.withdrawn_at IS NULL;"
    " DELETE FROM papers_dated WHERE paper_id = old.id;"
)
_WATCHED = (
    "title", "abstract", "authors", "organization", "keywords", "categories", "code_url",
    "withdrawn_at", "published_at",
)  # fmt: skip


def _compared(column: str) -> str:
    """What of it matters: of two columns, only whether there is something."""
    if column.endswith("code_url"):
        return f"{column} = ''"
    return f"{column} IS NULL" if column.endswith("withdrawn_at") else column


class _Sqlite:
    CREATE: Sequence[str] = (
        f"CREATE VIRTUAL TABLE papers_words USING fts5({_COLUMNS}, content='',"
        ' tokenize="unicode61 remove_diacritics 2")',
        "CREATE VIRTUAL TABLE papers_spellings USING fts5vocab(papers_words, 'row')",
        "CREATE TABLE papers_dated (paper_id integer PRIMARY KEY, published_at datetime NOT NULL,"
        " title_key text NOT NULL)",
        f"INSERT INTO papers_words (rowid, {_COLUMNS}) SELECT p.id, {_column_values('p')}"
        " FROM papers_paper p WHERE p.withdrawn_at IS NULL",
        f"INSERT INTO papers_dated SELECT p.id, p.published_at, {_key_value('p')}"
        " FROM papers_paper p WHERE p.withdrawn_at IS NULL",
        "CREATE INDEX papers_dated_title ON papers_dated (title_key)",
        f"CREATE INDEX papers_dated_odd ON papers_dated (title_key) WHERE {_HAS_ODD_SIGNS}",
        f"CREATE TRIGGER papers_words_insert AFTER INSERT ON papers_paper BEGIN {_PUT} END",
        f"CREATE TRIGGER papers_words_delete AFTER DELETE ON papers_paper BEGIN {_TAKE} END",
        f"CREATE TRIGGER papers_words_update AFTER UPDATE OF {', '.join(_WATCHED)} ON papers_paper"
        " WHEN "
        + " OR ".join(
            f"({_compared(f'old.{each}')}) IS NOT ({_compared(f'new.{each}')})" for each in _WATCHED
        )
        + f" BEGIN {_TAKE} {_PUT} END",
    )
    DROP: Sequence[str] = (
        "DROP TRIGGER IF EXISTS papers_words_insert",
        "DROP TRIGGER IF EXISTS papers_words_delete",
        "DROP TRIGGER IF EXISTS papers_words_update",
        "DROP TABLE IF EXISTS papers_spellings",
        "DROP TABLE IF EXISTS papers_words",
        "DROP TABLE IF EXISTS papers_dated",
    )
    RANKED_AT_MOST = 20_000
    # bm25's weights of the columns; an organization's name is counted among the keywords.
    WEIGHTS = f"{TITLE}, {AUTHORS}, {KEYWORDS}, {ABSTRACT}, 0.0, 0.0"

    def ranked(self, wanted: Wanted, limit: int, weights: Sequence[float]) -> list[int]:
        where = self._where(wanted)
        return _ids(
            f"SELECT papers_words.rowid FROM papers_words{self._dated(wanted)} WHERE {where}"
            f" ORDER BY bm25(papers_words, {self.WEIGHTS}), papers_words.rowid DESC LIMIT %s",
            [*where.params, limit],
        )

    def by_date(self, wanted: Wanted, limit: int, offset: int) -> list[int]:
        where = self._where(wanted)
        tables = "papers_words JOIN papers_dated d ON d.paper_id = papers_words.rowid"
        tables = tables if wanted.has_words else "papers_dated d"
        return _ids(
            f"SELECT d.paper_id FROM {tables} WHERE {where}"
            " ORDER BY d.published_at DESC, d.paper_id DESC LIMIT %s OFFSET %s",
            [*where.params, limit, offset],
        )

    def count(self, wanted: Wanted, most: int) -> int:
        where = self._where(wanted)
        tables = f"papers_words{self._dated(wanted)}" if wanted.has_words else "papers_dated d"
        (number,) = _ids(
            f"SELECT count(*) FROM (SELECT 1 FROM {tables} WHERE {where} LIMIT %s)",
            [*where.params, most],
        )
        return number

    def some(self, wanted: Wanted, limit: int) -> list[int]:
        where = self._where(wanted)
        return _ids(
            f"SELECT papers_words.rowid FROM papers_words{self._dated(wanted)}"
            f" WHERE {where} LIMIT %s",
            [*where.params, limit],
        )

    def known(self, spellings: Sequence[str]) -> list[str]:
        marks = ", ".join(["%s"] * len(spellings))
        sql = f"SELECT term FROM papers_spellings WHERE term IN ({marks})"
        return [str(term) for (term,) in _rows(sql, spellings)]

    def titled(self, keys: Sequence[str]) -> list[int]:
        found: list[int] = []
        for start in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[start : start + KEYS_AT_ONCE]
            marks = ", ".join(["%s"] * len(some))
            found += _ids(f"SELECT paper_id FROM papers_dated WHERE title_key IN ({marks})", some)
        return found + self._oddly_titled(frozenset(keys))

    def _oddly_titled(self, keys: frozenset[str]) -> list[int]:
        """Of the few titles that SQLite cannot fold, an index of their own is read through."""
        sql = f"SELECT paper_id, title_key FROM papers_dated WHERE {_HAS_ODD_SIGNS}"
        return [paper for paper, spelt in _rows(sql, []) if _key(spelt) in keys]

    def _dated(self, wanted: Wanted) -> str:
        is_dated = wanted.since or wanted.until
        return " JOIN papers_dated d ON d.paper_id = papers_words.rowid" if is_dated else ""

    def _where(self, wanted: Wanted) -> _Where:
        where = _Where()
        if wanted.has_words:
            where.add("papers_words MATCH %s", self._expression(wanted))
        if wanted.since:
            where.add("d.published_at >= %s", self._moment(wanted.since))
        if wanted.until:
            where.add("d.published_at < %s", self._moment(wanted.until + timedelta(days=1)))
        if wanted.source:
            paper = "papers_words.rowid" if wanted.has_words else "d.paper_id"
            _is_listed(where, wanted.source, paper)
        return where

    def _moment(self, day: date) -> str:
        return str(connection.ops.adapt_datetimefield_value(_begin(day)))

    def _expression(self, wanted: Wanted) -> str:
        """FTS5's language; every word stands in quotes, and a word has letters and digits only."""
        said = _quoted if wanted.as_spelt else _any_form
        parts = [said(phrase) for phrase in wanted.every]
        parts += [f"title : {said(phrase)}" for phrase in wanted.title]
        parts += [f"authors : {_quoted(phrase)}" for phrase in wanted.authors]
        parts += [f"organization : {_quoted(phrase)}" for phrase in wanted.organization]
        parts += [f'facts : "{fact}"' for fact in wanted.facts]
        if wanted.some:
            parts.append(f"({' OR '.join(map(said, wanted.some))})")
        if wanted.spelt:
            parts.append(f"({' OR '.join(_quoted((word,)) for word in wanted.spelt)})")
        if wanted.begins:
            parts.append(f'"{wanted.begins}" *')
        found = " AND ".join(parts)
        if wanted.unwanted:
            found = f"({found}) NOT ({' OR '.join(map(said, wanted.unwanted))})"
        return found


def _any_form(phrase: Phrase) -> str:
    """Of its last word: robots that learn, learns, learned."""
    *before, last = phrase
    return f"({' OR '.join(_quoted((*before, form)) for form in _known_forms(last))})"


def _known_forms(word: str) -> list[str]:
    """Those of the word that papers use, itself first. Every form costs each answer a little, so
    they are few, and looked up once in a while.
    """
    key = f"forms:{word}"
    if (kept := cache.get(key)) is None:
        others = forms(word)[1:]
        marks = ", ".join(["%s"] * len(others))
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT term FROM papers_spellings WHERE term IN ({marks})"
                " ORDER BY doc DESC, term LIMIT %s",
                [*others, FORMS],
            )
            kept = [word, *(term for (term,) in cursor.fetchall())]
        cache.set(key, kept, FORMS_SECONDS)
    return list(kept)


def _quoted(phrase: Phrase) -> str:
    return f'"{" ".join(phrase)}"'


# -- PostgreSQL ----------------------------------------------------------------------------

# Signs as gaps: PostgreSQL's parser sees numbers with their signs, paths, hosts and addresses
# where others see words.
_SIGNS = "-/.:@_'\"\\$%&+=#~^<>{}[]()|*`!?,;"
# As Python's unaccented().
_PLAIN = f"""
CREATE FUNCTION papers_plain(given text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT translate(
    CASE WHEN octet_length(given) = length(given) THEN given
    ELSE regexp_replace(normalize(given, NFKD), U&'[\\0300-\\036F]', '', 'g') END,
    '{_SIGNS.replace("'", "''")}', '{" " * len(_SIGNS)}')
$$
"""


def _vectors(row: str) -> str:
    """Title (again by itself), authors, organization and the rest, as A, B, C and D."""

    def vector(text: str) -> str:
        return f"to_tsvector('english', papers_plain({row}.{text}))"

    title = f"setweight({vector('title')}, 'A')"
    facts = (
        f"ARRAY(SELECT 'xxin' || replace(replace(lower(name), '.', ''), '-', '')"
        f" FROM jsonb_array_elements_text({row}.categories) AS name)"
        f" || CASE WHEN {row}.code_url <> '' THEN ARRAY['{HAS_CODE}'] ELSE ARRAY[]::text[] END"
    )
    return (
        f"{title}, {title} || setweight({vector('authors::text')}, 'B')"
        f" || setweight({vector('organization')}, 'C') || {vector('keywords::text')}"
        f" || {vector('abstract')} || array_to_tsvector({facts})"
    )


def _plain_key(row: str) -> str:
    """As _key. Only A to Z have a small letter in the collation C, whatever the database's is."""
    small = f'lower(papers_plain({row}.title) COLLATE "C")'
    return f"left(regexp_replace({small}, '[^a-z0-9]+', '', 'g'), {KEY_LENGTH})"


_KEEP = f"""
CREATE FUNCTION papers_words_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    DELETE FROM papers_words;
    RETURN NULL;
  END IF;
  IF TG_OP <> 'INSERT' THEN
    DELETE FROM papers_words WHERE paper_id = OLD.id;
  END IF;
  IF TG_OP <> 'DELETE' AND NEW.withdrawn_at IS NULL THEN
    INSERT INTO papers_words
      SELECT NEW.id, NEW.published_at, {_plain_key("NEW")}, {_vectors("NEW")};
  END IF;
  RETURN NULL;
END $$
"""


class _Postgresql:
    CREATE: Sequence[str] = (
        "CREATE TABLE papers_words (paper_id bigint PRIMARY KEY,"
        " published_at timestamptz NOT NULL, title_key text NOT NULL,"
        " title tsvector NOT NULL, words tsvector NOT NULL)",
        _PLAIN,
        _KEEP,
        f"INSERT INTO papers_words SELECT p.id, p.published_at, {_plain_key('p')}, {_vectors('p')}"
        " FROM papers_paper p WHERE p.withdrawn_at IS NULL",
        "CREATE INDEX papers_words_title ON papers_words USING gin (title)",
        "CREATE INDEX papers_words_words ON papers_words USING gin (words)",
        "CREATE INDEX papers_words_dated ON papers_words (published_at DESC, paper_id DESC)",
        "CREATE INDEX papers_words_key ON papers_words (title_key)",
        "CREATE TRIGGER papers_words_insert AFTER INSERT OR DELETE ON papers_paper"
        " FOR EACH ROW EXECUTE FUNCTION papers_words_keep()",
        f"CREATE TRIGGER papers_words_update AFTER UPDATE OF {', '.join(_WATCHED)} ON papers_paper"
        " FOR EACH ROW WHEN ("
        + " OR ".join(
            f"({_compared(f'OLD.{each}')}) IS DISTINCT FROM ({_compared(f'NEW.{each}')})"
            for each in _WATCHED
        )
        + ") EXECUTE FUNCTION papers_words_keep()",
        "CREATE TRIGGER papers_words_truncate AFTER TRUNCATE ON papers_paper"
        " EXECUTE FUNCTION papers_words_keep()",
    )
    DROP: Sequence[str] = (
        "DROP TRIGGER IF EXISTS papers_words_insert ON papers_paper",
        "DROP TRIGGER IF EXISTS papers_words_update ON papers_paper",
        "DROP TRIGGER IF EXISTS papers_words_truncate ON papers_paper",
        "DROP FUNCTION IF EXISTS papers_words_keep()",
        "DROP TABLE IF EXISTS papers_words",
        "DROP FUNCTION IF EXISTS papers_plain(text)",
    )
    # ts_rank's weights of D, C, B and A; 1: divided by 1 + ln(length).
    WEIGHTS = f"'{{{ABSTRACT / 10}, {KEYWORDS / 10}, {AUTHORS / 10}, {TITLE / 10}}}'::float4[]"
    BY_LENGTH = 1
    RANKED_AT_MOST = 2000  # ts_rank reads every text's whole vector

    def by_date(self, wanted: Wanted, limit: int, offset: int) -> list[int]:
        where = self._where(wanted)
        return self._ids(
            f"SELECT w.paper_id FROM papers_words w WHERE {where}"
            " ORDER BY w.published_at DESC, w.paper_id DESC LIMIT %s OFFSET %s",
            [*where.params, limit, offset],
        )

    def count(self, wanted: Wanted, most: int) -> int:
        where = self._where(wanted)
        (number,) = self._ids(
            f"SELECT count(*) FROM (SELECT 1 FROM papers_words w WHERE {where} LIMIT %s) AS found",
            [*where.params, most],
        )
        return number

    def some(self, wanted: Wanted, limit: int) -> list[int]:
        where = self._where(wanted)
        return self._ids(
            f"SELECT w.paper_id FROM papers_words w WHERE {where} LIMIT %s",
            [*where.params, limit],
        )

    def known(self, spellings: Sequence[str]) -> list[str]:
        sql = (
            "SELECT word FROM unnest(%s::text[]) AS word"
            " WHERE numnode(to_tsquery('english', word)) = 0 OR EXISTS"
            " (SELECT 1 FROM papers_words w WHERE w.words @@ to_tsquery('english', word))"
        )
        return [str(word) for (word,) in self._rows(sql, [list(spellings)])]

    def titled(self, keys: Sequence[str]) -> list[int]:
        return self._ids(
            "SELECT paper_id FROM papers_words WHERE title_key = ANY(%s)", [list(keys)]
        )

    def ranked(self, wanted: Wanted, limit: int, weights: Sequence[float]) -> list[int]:
        where = self._where(wanted)
        ranked = [(phrase, 1.0) for phrase in (*wanted.every, *wanted.title)]
        ranked += [
            (phrase, float(weight))
            for phrase, weight in zip(wanted.some, weights or [1.0] * len(wanted.some), strict=True)
        ]
        score = " + ".join([f"%s * ts_rank({self.WEIGHTS}, w.words, {_PHRASE}, {self.BY_LENGTH})"]
                           * len(ranked)) or "0"  # fmt: skip
        params = [part for phrase, weight in ranked for part in (weight, " ".join(phrase))]
        return self._ids(
            f"SELECT w.paper_id FROM papers_words w WHERE {where}"
            f" ORDER BY {score} DESC, w.paper_id DESC LIMIT %s",
            [*where.params, *params, limit],
        )

    def _ids(self, sql: str, params: Sequence[Any]) -> list[int]:
        return [int(row[0]) for row in self._rows(sql, params)]

    def _rows(self, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Not by reading all papers, which PostgreSQL holds for cheap where few answers are asked
        for: it does not count that long texts are unpacked one by one.
        """
        settings = ("enable_seqscan", "statement_timeout")
        changed = ", ".join(f"set_config('{name}', %s, true)" for name in settings)
        kept = ", ".join(f"current_setting('{name}')" for name in settings)
        try:
            with transaction.atomic():
                before = _rows(f"SELECT {kept}, {changed}", ["off", f"{PATIENCE_SECONDS}s"])[0][:2]
                found = _rows(sql, params)
                _rows(f"SELECT {changed}", before)
                return found
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", "") == CANCELLED:
                raise TooCostly from error
            raise

    def _where(self, wanted: Wanted) -> _Where:
        where = _Where()
        for phrase in wanted.title:
            where.add(f"w.title @@ {_PHRASE}", " ".join(phrase))
        for label, phrases in (("B", wanted.authors), ("C", wanted.organization)):
            for phrase in phrases:
                place = " <-> ".join(f"{word}:{label}" for word in phrase)
                where.add("w.words @@ to_tsquery('english', %s)", place)
        parts = [(_PHRASE, " ".join(phrase)) for phrase in wanted.every]
        parts += [("%s::tsquery", fact) for fact in wanted.facts]
        if wanted.spelt:
            parts.append(("to_tsquery('english', %s)", " | ".join(wanted.spelt)))
        if wanted.begins:
            parts.append(("to_tsquery('simple', %s)", f"{wanted.begins}:*"))
        if wanted.some:
            any_of = " | ".join("(" + " <-> ".join(phrase) + ")" for phrase in wanted.some)
            parts.append(("to_tsquery('english', %s)", any_of))
        parts += [(f"!! {_PHRASE}", " ".join(phrase)) for phrase in wanted.unwanted]
        if parts:
            query = " && ".join(sql for sql, _ in parts)
            where.add(f"w.words @@ ({query})", *(param for _, param in parts))
        if wanted.since:
            where.add("w.published_at >= %s", _begin(wanted.since))
        if wanted.until:
            where.add("w.published_at < %s", _begin(wanted.until + timedelta(days=1)))
        if wanted.source:
            _is_listed(where, wanted.source, "w.paper_id")
        return where


_PHRASE = "phraseto_tsquery('english', %s)"
