"""A mail provider's API on loopback, in the recorded shape of Resend, that answers as told."""

from __future__ import annotations

import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: object = None  # None: the success of Resend, with an id of its own
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    resets: str = ""  # "before" any of the answer, or in its "middle"


def accepted() -> Answer:
    return Answer()


def refused(status: int, name: str, message: str, **headers: str) -> Answer:
    body = {"statusCode": status, "name": name, "message": message}
    return Answer(status, body, {key.replace("_", "-"): value for key, value in headers.items()})


class FakeProvider:
    """Answers in the order given, then with success. `taken` holds what it really accepted."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[dict] = []
        self.taken: list[dict] = []
        self._over = threading.Event()

    def __enter__(self) -> FakeProvider:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        poll = {"poll_interval": 0.01}
        threading.Thread(target=self._server.serve_forever, kwargs=poll, daemon=True).start()
        return self

    def __exit__(self, *_exception) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def ids(self) -> list[str]:
        return [f"re_{number}" for number in range(1, len(self.taken) + 1)]


def _handler(provider: FakeProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet, or each answer waits 40 ms for an ACK

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            provider.requests.append(request)
            answer = provider.answers.pop(0) if provider.answers else accepted()
            if answer.hangs:
                provider._over.wait()
                self.close_connection = True
            elif answer.resets == "before":
                self.reset()
            else:
                self.answer(answer, request)

        def answer(self, answer: Answer, request: dict) -> None:
            body = answer.body
            if body is None:
                provider.taken.append(request)
                body = {"id": provider.ids()[-1]}
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if answer.resets == "middle":
                self.wfile.write(content[:5])
                self.reset()
            else:
                self.wfile.write(content)

        def reset(self) -> None:
            self.wfile.flush()
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.rfile.close()
            self.connection.close()

        def finish(self) -> None:
            if not self.rfile.closed:
                super().finish()

        def log_message(self, *args: object) -> None:
            pass

    return Handler
