"""A query -> the stored papers that answer it. Asks no source."""

from __future__ import annotations

import json

from django.db.models import Case, Q, QuerySet, TextField, When
from django.db.models.functions import Cast

from .models import Paper
from .records import arxiv_id

MAX_QUERY_LENGTH = 200
MAX_WORDS = 12


def search(query: str, *, limit: int) -> list[Paper]:
    """At most `limit` papers: the one that an arXiv id or link names, else those with all words.

    Words are looked for in title, abstract and authors, without regard to case (beyond ASCII
    only where the database can); papers with all of them in the title come first, then the
    newest. Withdrawn papers are found by their id alone. What is beyond MAX_QUERY_LENGTH
    characters or MAX_WORDS words is not looked at.
    """
    query = query[:MAX_QUERY_LENGTH].replace("\x00", " ")
    try:
        return list(_light(Paper.objects.filter(arxiv_id=arxiv_id(query))))
    except ValueError:
        words = query.split()[:MAX_WORDS]
    return list(_with_all(words)[:limit]) if words else []


def _with_all(words: list[str]) -> QuerySet[Paper]:
    anywhere = in_title = Q()
    for word in words:
        in_title &= Q(title__icontains=word)
        anywhere &= Q(title__icontains=word) | Q(abstract__icontains=word) | _in_authors(word)
    found = Paper.objects.filter(withdrawn_at__isnull=True)
    found = found.annotate(author_text=Cast("authors", TextField())).filter(anywhere)
    return _light(found).order_by(Case(When(in_title, then=0), default=1), "-published_at", "-id")


def _in_authors(word: str) -> Q:
    """SQLite keeps JSON as it was written, with escapes for all that is not ASCII."""
    if not any(character.isalnum() for character in word):
        return Q()  # brackets, quotes and backslashes are JSON's own
    escaped = json.dumps(word)[1:-1]
    return Q(author_text__icontains=word) | Q(author_text__icontains=escaped)


def _light(papers: QuerySet[Paper]) -> QuerySet[Paper]:
    return papers.defer("vector")
