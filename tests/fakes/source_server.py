"""A stand-in for Hugging Face's API: a real HTTP server on loopback that says what it is told."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


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


@dataclass
class Answer:
    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0


UNKNOWN = Answer(b'{"error":"Sorry, we can\'t find the page you are looking for."}', status=404)
PAPER = "/api/papers/"


@dataclass
class Request:
    path: str
    query: dict[str, str]
    headers: dict[str, str]


class SourceServer:
    """Answers `[]` to a day it was told nothing of, as the real one does for a weekend.

    A paper that it was not told of is not found.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._scripts: dict[tuple[str, int], list[Answer]] = defaultdict(list)
        self._listing: dict[str, list[Any]] = {}
        self._papers: dict[str, Answer] = {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def list_papers(self, day: str, entries: list[Any]) -> None:
        """The day's list from now on, paged by the `limit` that is asked for."""
        self._listing[day] = entries

    def answer_once(self, day: str, body: Any, *, page: int = 0, **answer: Any) -> None:
        """The next answer for that day and page; more than one are given in their order."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._scripts[day, page].append(Answer(raw, **answer))

    def answer_paper(self, arxiv_id: str, body: Any, **answer: Any) -> None:
        """What `/api/papers/<arxiv_id>` answers from now on."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._papers[arxiv_id] = Answer(raw, **answer)

    def days_asked(self) -> list[str]:
        return [request.query["date"] for request in self.requests]

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

    def _next(self, path: str, query: dict[str, str]) -> Answer:
        if path.startswith(PAPER):
            return self._papers.get(path.removeprefix(PAPER), UNKNOWN)
        day, page, limit = query["date"], int(query["p"]), int(query["limit"])
        if script := self._scripts[day, page]:
            return script.pop(0)
        entries = self._listing.get(day, [])[page * limit : (page + 1) * limit]
        return Answer(json.dumps(entries).encode())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                server.requests.append(Request(parts.path, query, dict(self.headers)))
                answer = server._next(parts.path, query)
                time.sleep(answer.delay_seconds)
                try:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(answer.body)))
                    self.end_headers()
                    self.wfile.write(answer.body)
                except ConnectionError:
                    pass  # the client gave up waiting, as the test wants

            def log_message(self, *args: Any) -> None:
                pass

        return Handler
