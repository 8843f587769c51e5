"""A stand-in for a chat-completions endpoint: a real HTTP server on loopback."""

from __future__ import annotations

import json

from tests.fakes.source_server import Answer, Request, SourceServer

PATH = "/v1/chat/completions"


def answer(content: object) -> str:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]})


class ChatServer(SourceServer):
    """Says of each paper that it is about its title, unless told otherwise."""

    @property
    def asked(self) -> list[dict]:
        return [json.loads(request.body) for request in self.requests]

    def _next(self, request: Request) -> Answer:
        if request.path != PATH or self._next_for[PATH] or PATH in self._always:
            return super()._next(request)
        title = json.loads(request.body)["messages"][-1]["content"].partition("\n")[0]
        return Answer(answer(f"A model wrote this of {title}. It is short.").encode())
