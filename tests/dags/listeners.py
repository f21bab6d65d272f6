"""Small servers on loopback that keep what they are sent: mail, HTTP, StatsD, traces."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_string
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Heard:
    """What a server was sent, and on which port it listens."""

    port: int
    items: list[Any] = field(default_factory=list)


@contextmanager
def mail_server() -> Iterator[Heard]:
    """A mail server that takes everything; items are messages with their recipient."""
    heard = Heard(0)

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 here")
            to = ""
            while line := self.rfile.readline().decode().strip():
                word = line.upper()
                if word.startswith("RCPT"):
                    to = line.partition("<")[2].partition(">")[0]
                if word == "DATA":
                    self.say("354 go on")
                    heard.items.append((to, self.message()))
                self.say("221 bye" if word == "QUIT" else "250 ok")

        def message(self) -> Message:
            lines = iter(lambda: self.rfile.readline().decode(), ".\r\n")
            return message_from_string("".join(lines))

        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
    # A client whose login failed may leave its connection open.
    server.daemon_threads = True
    with _serving(server) as port:
        heard.port = port
        yield heard


def body_of(message: Message) -> str:
    """The text of a mail, decoded."""
    parts = [part for part in message.walk() if part.get_content_maintype() == "text"]
    return "".join(bytes(part.get_payload(decode=True)).decode() for part in parts)


@contextmanager
def http_server(answers: list[int] | None = None, busy_seconds: int = 1) -> Iterator[Heard]:
    """An HTTP server; items are (path, body). It answers `answers` in turn, then 200.

    Where it is busy (429) it says to come back in `busy_seconds`.
    """
    heard = Heard(0)
    left = list(answers or [])

    class Session(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            heard.items.append((self.path, json.loads(body)))
            # Slack's webhooks say "ok", its web API a JSON object.
            said = b"ok" if "hook" in self.path else b'{"ok": true}'
            code = left.pop(0) if left else 200
            self.send_response(code)
            if code == 429:
                self.send_header("Retry-After", str(busy_seconds))
                said = b"busy" if "hook" in self.path else b'{"ok": false, "error": "ratelimited"}'
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            pass

    with _serving(ThreadingHTTPServer(("127.0.0.1", 0), Session)) as port:
        heard.port = port
        yield heard


@contextmanager
def silent_server() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield int(listening.getsockname()[1])


@contextmanager
def statsd_server() -> Iterator[Heard]:
    """A StatsD sink; items are lines such as `airflow.winnow.prompts,campaign=small:2|c`."""
    heard = Heard(0)

    class Datagram(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            heard.items.extend(self.request[0].decode().splitlines())

    with _serving(socketserver.UDPServer(("127.0.0.1", 0), Datagram)) as port:
        heard.port = port
        yield heard


@contextmanager
def trace_server() -> Iterator[Heard]:
    """A collector of OTLP over HTTP; items are (scope, span) as OpenTelemetry's protobuf says."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    heard = Heard(0)

    class Session(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    heard.items.extend((scope.scope.name, span) for span in scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with _serving(ThreadingHTTPServer(("127.0.0.1", 0), Session)) as port:
        heard.port = port
        yield heard


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[int]:
    with server:
        thread = threading.Thread(target=lambda: server.serve_forever(0.05), daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
