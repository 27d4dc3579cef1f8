"""A real HTTP server that speaks the chat completions protocol as a test scripts it."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Reply = str | tuple[int, Any]
"""The judge's words, or an HTTP status with the body of an error."""


class JudgeServer:
    """`reply` gets each request's body; `requests` keeps them all."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[dict[str, Any]] = []
        self.reply: Callable[[dict[str, Any]], Reply] = lambda request: say("A")

    @property
    def prompts(self) -> list[str]:
        return [request["messages"][0]["content"] for request in self.requests]


def say(closer: str) -> str:
    return json.dumps({"reason": "it sounds so", "closer": closer})


def quoted(request: dict[str, Any], name: str) -> str:
    """The text that a prompt quotes under `name`."""
    prompt = request["messages"][0]["content"]
    found = re.search(rf"^<{name} (\w+)>\n(.*?)\n</{name} \1>$", prompt, re.DOTALL | re.MULTILINE)
    assert found, prompt
    return found[2]


def prefer(keyword: str) -> Callable[[dict[str, Any]], str]:
    """A fair judge: whatever the order, the text with the keyword is closer."""

    def reply(request: dict[str, Any]) -> str:
        in_a, in_b = (keyword in quoted(request, name) for name in "AB")
        return say("tie" if in_a == in_b else "A" if in_a else "B")

    return reply


@contextmanager
def serve_judge() -> Iterator[JudgeServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(200, {"object": "list", "data": [{"id": "tiny", "object": "model"}]})

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            judge.requests.append(request)
            reply = judge.reply(request)
            if isinstance(reply, tuple):
                self.answer(*reply)
                return
            message = {"role": "assistant", "content": reply}
            self.answer(200, {"choices": [{"index": 0, "message": message}]})

        def answer(self, status: int, body: Any) -> None:
            body = body if isinstance(body, str) else json.dumps(body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body.encode())))
            self.send_header("Retry-After-Ms", "1")  # tests need not wait
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None: ...  # a client that hung up

    server = Server(("127.0.0.1", 0), Handler)
    judge = JudgeServer(f"http://127.0.0.1:{server.server_port}/v1")
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
