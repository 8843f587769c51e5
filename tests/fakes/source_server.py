"""A stand-in for every source: a real HTTP server on loopback that says what it is told.

It serves Hugging Face's API and pages, arXiv's feed, query API and OAI-PMH, and Semantic Scholar's
batches, in the shapes that were recorded; and it can misbehave on the wire.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes import arxiv
from tests.fakes.arxiv import Submission

__all__ = ["SourceServer", "Submission", "entry", "packed", "page", "paper"]


def entry(number: int, *, day: str = "2026-11-23", **paper: Any) -> dict[str, Any]:
    """An entry in the API's shape; `paper` changes or, by None, removes fields of the paper."""
    listed_at = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(hours=1)
    published_at = listed_at - timedelta(days=1)
    fields = {
        "id": f"2611.{number:05}",
        "authors": [{"_id": "a1", "name": f"Ada Example{number}", "hidden": False}],
        "publishedAt": f"{published_at:%Y-%m-%dT%H:%M:%S}.000Z",
        "submittedOnDailyAt": f"{listed_at:%Y-%m-%dT%H:%M:%S}.000Z",
        "title": f"Paper number {number}",
        "summary": f"What paper {number} is about,\ntold in wrapped lines.\n  And a second part.",
        "upvotes": number,
        "discussionId": "d1",
        "submittedOnDailyBy": {"user": f"lister{number}", "fullname": "Some Body", "type": "user"},
    } | paper
    return {
        "paper": {key: value for key, value in fields.items() if value is not None},
        # As the real one does: New York's clock, written as if it were UTC.
        "publishedAt": f"{published_at - timedelta(hours=5):%Y-%m-%dT%H:%M:%S}.000Z",
        "title": fields["title"] or "",
        "numComments": 1,
    }


def paper(number: int, **fields: Any) -> dict[str, Any]:
    """What `/api/papers/<id>` answers: the inner object by itself, and what hangs on it."""
    return entry(number, **fields)["paper"] | {
        "numTotalModels": 0,
        "numTotalDatasets": 0,
        "numTotalSpaces": 0,
        "linkedModels": [],
        "linkedDatasets": [],
        "linkedSpaces": [],
    }


def page(day: str, entries: list[Any], *, period: str = "day") -> bytes:
    """A page of papers in the layout of 2026, as far as its data goes: what its script is given."""
    props = json.dumps({"periodType": period, "dateString": day, "dailyPapers": entries})
    place = f"{'date' if period == 'day' else period}/{day}"
    if period == "trending":
        place = period
    return (
        "<!doctype html><html><head><title>Daily Papers - Hugging Face</title>"
        f'<meta property="og:url" content="https://huggingface.co/papers/{place}"></head>'
        '<body><div class="SVELTE_HYDRATER contents" data-target="DailyPapers" '
        f'data-props="{escape(props)}"></div></body></html>'
    ).encode()


@dataclass
class Answer:
    """What is said to one request.

    chunks: the body is sent chunked, in that many parts. cut_after: so many bytes of the body, then
    the line is cut. endless: the body is repeated until the other side goes. raw: all of what is
    sent, headers included.
    """

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    chunks: int = 0
    cut_after: int | None = None
    endless: bool = False
    raw: bool = False


UNKNOWN = Answer(b'{"error":"Sorry, we can\'t find the page you are looking for."}', status=404)
PAPER = "/api/papers/"
PERIODS = ("date", "week", "month", "sort")


@dataclass
class Request:
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""
    at: float = 0.0  # time.monotonic()


class SourceServer:
    """Hugging Face answers `[]` to a day it was told nothing of, as it really does for a weekend.

    A paper or a page that it was not told of is not found. arXiv has announced nothing, on Monday
    2026-11-23, and knows no paper.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.arxiv = arxiv.ArXiv()
        self.has_etags = False
        self._scripts: dict[tuple[str, int], list[Answer]] = defaultdict(list)
        self._next_for: dict[str, list[Answer]] = defaultdict(list)
        self._always: dict[str, Answer] = {}
        self._listing: dict[str, list[Any]] = {}
        self._papers: dict[str, Answer] = {}
        self._numbers: dict[str, dict[str, Any]] = {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    # -- what it is told -------------------------------------------------------------------

    def list_papers(self, day: str, entries: list[Any]) -> None:
        """The list from now on, paged by the `limit` that is asked for.

        day: 2026-11-23; or 2026-W48, 2026-11, trending.
        """
        self._listing[day] = entries

    def answer_once(self, day: str, body: Any, *, page: int = 0, **answer: Any) -> None:
        """The next answer for that day and page; more than one are given in their order."""
        self._scripts[day, page].append(_answer(body, answer))

    def answer_paper(self, arxiv_id: str, body: Any, **answer: Any) -> None:
        """What `/api/papers/<arxiv_id>` answers from now on."""
        self._papers[arxiv_id] = _answer(body, answer)

    def answer_next(self, path: str, body: Any, **answer: Any) -> None:
        """The next answer to whatever path begins so; more than one are given in their order."""
        self._next_for[path].append(_answer(body, answer))

    def answer_always(self, path: str, body: Any, **answer: Any) -> None:
        """What every path that begins so answers from now on, unless an `answer_next` is left."""
        self._always[path] = _answer(body, answer)

    def forget(self, path: str) -> None:
        """Undoes `answer_always`: that part works again."""
        self._always.pop(path, None)

    def show_page(self, day: str, entries: list[Any], *, shown_for: str = "") -> None:
        """The page of that day from now on; `shown_for`: it stands at another day's address."""
        self.answer_always(f"/papers/date/{shown_for or day}", page(day, entries))

    def cite(self, arxiv_id: str, citations: int | None, tldr: str = "") -> None:
        """What Semantic Scholar says of that paper from now on."""
        self._numbers[arxiv_id] = {
            "paperId": hashlib.sha1(arxiv_id.encode()).hexdigest(),
            "externalIds": {"ArXiv": arxiv_id, "CorpusId": 1},
            "citationCount": citations,
            "tldr": {"model": "tldr@v2.0.0", "text": tldr} if tldr else None,
        }

    # -- what it was asked -----------------------------------------------------------------

    def days_asked(self) -> list[str]:
        return [request.query["date"] for request in self.requests if "date" in request.query]

    def paths_asked(self) -> list[str]:
        return [request.path for request in self.requests]

    # -- the server ------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator[SourceServer]:
        thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()

    def _next(self, request: Request) -> Answer:
        path, query = request.path, request.query
        for told in sorted(self._next_for, key=len, reverse=True):
            if path.startswith(told) and self._next_for[told]:
                return self._next_for[told].pop(0)
        for told in sorted(self._always, key=len, reverse=True):
            if path.startswith(told):
                return self._always[told]
        if path == "/api/daily_papers":
            return self._list(query)
        if path.startswith(PAPER):
            return self._papers.get(path.removeprefix(PAPER), UNKNOWN)
        if path == "/graph/v1/paper/batch":
            return self._batch(request.body)
        if (said := self.arxiv.answer(path, query)) is not None:
            status, body = said
            return Answer(body, status=status, headers={"Content-Type": "text/xml; charset=utf-8"})
        return UNKNOWN

    def _list(self, query: dict[str, str]) -> Answer:
        period = next(query[name] for name in PERIODS if name in query)
        number, limit = int(query.get("p", 0)), int(query.get("limit", 50))
        if period.endswith("-W53"):
            return Answer(b'{"error":"Invalid week"}', status=400)
        if script := self._scripts[period, number]:
            return script.pop(0)
        entries = self._listing.get(period, [])[number * limit : (number + 1) * limit]
        return Answer(json.dumps(entries).encode())

    def _batch(self, body: bytes) -> Answer:
        asked = [name.removeprefix("ARXIV:") for name in json.loads(body)["ids"]]
        found = [self._numbers.get(arxiv_id) for arxiv_id in asked]
        if not any(found):
            return Answer(b'{"error":"No valid paper ids given"}', status=400)
        return Answer(json.dumps(found).encode())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Headers and body go in two writes; the second would wait for the first's receipt.
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                at = time.monotonic()
                parts = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(parts.path, query, dict(self.headers), body, at)
                server.requests.append(request)
                answer = server._next(request)
                time.sleep(answer.delay_seconds)
                # The other side may have given up, as the test wants.
                with suppress(ConnectionError):
                    self._say(answer)

            do_POST = do_GET

            def _say(self, answer: Answer) -> None:
                headers = dict(answer.headers)
                if server.has_etags and answer.status == 200:
                    headers["ETag"] = f'"{hashlib.sha1(answer.body).hexdigest()}"'
                    if self.headers.get("If-None-Match") == headers["ETag"]:
                        answer = Answer(b"", status=304)
                if answer.raw:
                    self.wfile.write(answer.body)
                    self.close_connection = True
                    return
                if answer.endless:
                    self.close_connection = True
                elif answer.chunks:
                    headers["Transfer-Encoding"] = "chunked"
                else:
                    headers.setdefault("Content-Length", str(len(answer.body)))
                self.send_response(answer.status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self._send(answer)

            def _send(self, answer: Answer) -> None:
                while answer.endless:
                    self.wfile.write(answer.body)
                body = answer.body if answer.cut_after is None else answer.body[: answer.cut_after]
                if answer.chunks:
                    size = -(-len(answer.body) // answer.chunks)
                    for start in range(0, len(body), size):
                        part = body[start : start + size]
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                    self.wfile.write(b"0\r\n\r\n" if answer.cut_after is None else b"")
                else:
                    self.wfile.write(body)
                if answer.cut_after is not None:
                    self.close_connection = True

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


def _answer(body: Any, options: dict[str, Any]) -> Answer:
    return Answer(body if isinstance(body, bytes) else json.dumps(body).encode(), **options)


def packed(body: Any) -> dict[str, Any]:
    """The body and headers of a gzip answer, for `answer_once(day, **packed(…))`."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return {"body": gzip.compress(raw), "headers": {"Content-Encoding": "gzip"}}
