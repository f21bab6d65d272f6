"""docker/haproxy.cfg as it is shipped, in a real HAProxy: what comes through, and what does not.

Replaced are the ports, the servers' addresses and the certificate's place, nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import boto3
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from winnow.lake import S3Lake

from ..compose_file import DOCKER, services
from ..conftest import lacking
from . import s3_server
from .conftest import free_port

TOKEN = "a-token-of-a-link"
START_SECONDS = 20.0
CLIENT = httpx.Client(timeout=30, limits=httpx.Limits(max_keepalive_connections=0))
"""A connection for each request."""


class Echo(BaseHTTPRequestHandler):
    """Says what it was asked, and sets two cookies."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Transfer-Encoding"):
            while length := int(self.rfile.readline(), 16):
                self.rfile.read(length + 2)
            self.rfile.readline()
        told = {"path": self.path, "headers": [[k.lower(), v] for k, v in self.headers.items()]}
        body = json.dumps(told).encode()
        self.send_response(200)
        for value in ("plain=1; HttpOnly", "safe=1; secure; HttpOnly"):
            self.send_header("Set-Cookie", value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


class Backend(ThreadingHTTPServer):
    """Echoes, whatever becomes of the connection."""

    def handle_error(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Proxy:
    """A running proxy."""

    door: int
    store: int
    log: Path

    def ask(self, path: str, source: str = "", **more) -> httpx.Response:
        """The answer to a request; from `source`, where the proxy believes that."""
        headers = {"X-Forwarded-For": source} if source else {}
        method = more.pop("method", "GET")
        url = f"http://127.0.0.1:{self.door}{path}"
        return CLIENT.request(method, url, headers=headers, **more)

    def send(self, text: str) -> socket.socket:
        """A connection on which so much was sent."""
        there = socket.create_connection(("127.0.0.1", self.door), timeout=30)
        there.sendall(text.encode())
        return there

    def status(self, head: str) -> int:
        """The status of the answer to a request of which the head alone is sent."""
        with self.send(f"{head}\r\nHost: test\r\n\r\n") as there:
            return int(there.recv(100).split()[1])


@pytest.fixture(scope="module")
def program() -> str:
    # Debian's is where only root's path leads.
    found = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        lacking("no haproxy here; as root `make test` installs it")
    return found


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    server = Backend(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def proxy(program: str, echo: int, tmp_path: Path, request) -> Iterator[Proxy]:
    """A proxy with the variables that the test names, others as Compose has them."""
    with running(program, echo, tmp_path, **getattr(request, "param", {})) as it:
        yield it


def given(**variables: str):
    return pytest.mark.parametrize("proxy", [variables], indirect=True, ids=["with"])


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, **services(variables)["proxy"].environment}


@contextmanager
def running(
    program: str, echo: int, folder: Path, objects: int | None = None, **variables: str
) -> Iterator[Proxy]:
    """A proxy before the echo, and before an object store at the port `objects`."""
    door, store = free_port(), free_port()
    text = (DOCKER / "haproxy.cfg").read_text()
    for line, here in {
        "bind *:8080": f"bind 127.0.0.1:{door}",
        "bind *:8333": f"bind 127.0.0.1:{store}",
        "server-template api 4 api-server:8080": f"server api 127.0.0.1:{echo}",
        "server store object-store:8333": f"server store 127.0.0.1:{objects or echo}",
        "/run/secrets/tls.pem": variables.get("WINNOW_TLS_PEM", "none"),
    }.items():
        assert line in text
        text = text.replace(line, here)
    (folder / "haproxy.cfg").write_text(text)
    # Whatever came first is done first.
    (folder / "thread.cfg").write_text("global\n    nbthread 1\n")
    command = [program, "-f", str(folder / "thread.cfg"), "-f", str(folder / "haproxy.cfg")]
    log = folder / "haproxy.log"
    with log.open("wb") as to:
        process = subprocess.Popen(
            command, env=environment(**variables), stdout=to, stderr=subprocess.STDOUT
        )
    try:
        until = time.monotonic() + START_SECONDS
        while not _listens(store):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.01)
        yield Proxy(door, store, log)
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        # Connections of the tests' own address are counted.
        probe.bind(("127.0.0.2", 0))
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Certificate:
    """A server's certificate and key in one file, its authority's, and who trusts that."""

    pem: Path
    authority: Path
    trust: ssl.SSLContext


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder, now = tmp_path_factory.mktemp("tls"), datetime.now(UTC)

    def make(name: str, issuer: str, public, key, authority: bool) -> x509.Certificate:
        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        return (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named(issuer))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(names, critical=False)
            .sign(key, hashes.SHA256())
        )

    of_authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    text = serialization.Encoding.PEM
    root = make("authority", "authority", of_authority.public_key(), of_authority, True)
    leaf = make("server", "authority", own.public_key(), of_authority, False)
    key = own.private_bytes(text, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tls.pem").write_bytes(leaf.public_bytes(text) + key)
    (folder / "root.pem").write_bytes(root.public_bytes(text))
    trust = ssl.create_default_context(cafile=folder / "root.pem")
    return Certificate(folder / "tls.pem", folder / "root.pem", trust)


@pytest.mark.parametrize("trusted", ["", "127.0.0.1 10.0.0.0/8 fd00::/8"])
@pytest.mark.parametrize("with_tls", [False, True])
def test_the_file_is_read_without_a_warning(
    program: str, certificate: Certificate, tmp_path: Path, trusted: str, with_tls: bool
) -> None:
    variables = {"WINNOW_TRUSTED_PROXIES": trusted}
    if with_tls:
        variables["WINNOW_TLS_PEM"] = str(certificate.pem)
    shipped = (DOCKER / "haproxy.cfg").read_text()
    config = tmp_path / "haproxy.cfg"
    config.write_text(shipped.replace("/run/secrets/tls.pem", str(certificate.pem)))
    done = subprocess.run(
        [program, "-c", "-f", str(config)],
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


FORGED = {
    "X-Forwarded-For": "6.6.6.6",
    "x-forwarded-for": "6.6.6.7",
    "X_Forwarded_For": "6.6.6.6",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "1",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "for=6.6.6.6",
    "X-Real-IP": "6.6.6.6",
    "X-Client-IP": "6.6.6.6",
    "X-Original-URL": "/evil",
    "X-Rewrite-URL": "/evil",
    "True-Client-IP": "6.6.6.6",
    "CF-Connecting-IP": "6.6.6.6",
    "Proxy": "http://evil.example",
}


@given(WINNOW_TRUSTED_PROXIES="10.0.0.0/8")
def test_what_a_stranger_says_of_where_they_come_from_never_arrives(proxy: Proxy) -> None:
    headers = {"Authorization": "Bearer x", "Host": "airflow.example", **FORGED}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with proxy.send(f"GET / HTTP/1.1\r\n{lines}Connection: close\r\n\r\n") as there:
        body = there.makefile("rb").read().split(b"\r\n\r\n", 1)[1]
    assert sorted(json.loads(body)["headers"]) == [
        ["authorization", "Bearer x"],
        ["host", "airflow.example"],
        ["x-forwarded-for", "127.0.0.1"],
        ["x-forwarded-proto", "http"],
    ]


@given(WINNOW_TRUSTED_PROXIES="127.0.0.1 10.0.0.0/8")
@pytest.mark.parametrize(
    ("said", "arrives"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 10.1.1.1", "203.0.113.9"),
        ("6.6.6.6, 2001:db8::9", "2001:db8::9"),
        ("nonsense", "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
def test_a_proxy_of_the_teams_own_is_believed_and_who_is_before_it_is_not(
    proxy: Proxy, said: str, arrives: str
) -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": said}
    found = CLIENT.get(f"http://127.0.0.1:{proxy.door}/", headers=headers)
    seen = dict(found.json()["headers"])
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == (arrives, "https")
    assert_cookies_are_safe(found)


def assert_cookies_are_safe(found: httpx.Response) -> None:
    cookies = found.headers.get_list("set-cookie")
    assert cookies == ["plain=1; HttpOnly; Secure", "safe=1; secure; HttpOnly"]


def test_without_tls_cookies_are_as_airflow_sets_them(proxy: Proxy) -> None:
    found = proxy.ask("/")
    assert found.headers.get_list("set-cookie")[0] == "plain=1; HttpOnly"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["x-frame-options"] == "SAMEORIGIN"
    assert not found.headers.keys() & {"server", "strict-transport-security"}


@given(WINNOW_REQUEST_SECONDS="1")
def test_a_request_that_does_not_come_is_cut_off_and_a_quiet_client_is_not(proxy: Proxy) -> None:
    head = "POST /api/v2/dags HTTP/1.1\r\nHost: test\r\n"
    health = "GET /proxy-health HTTP/1.1\r\n\r\n"
    with ExitStack() as open_:
        quiet = open_.enter_context(proxy.send(health))
        assert quiet.recv(1000).startswith(b"HTTP/1.1 200 ")
        texts = (head, f"{head}Content-Length: 9\r\n\r\nslow")
        for there in [open_.enter_context(proxy.send(text)) for text in texts]:
            assert there.recv(100).startswith(b"HTTP/1.1 408 ")
        quiet.sendall(health.encode())
        assert quiet.recv(100).startswith(b"HTTP/1.1 200 ")


@given(WINNOW_CONNECTIONS="3")
def test_one_address_has_so_many_connections_and_no_more(proxy: Proxy) -> None:
    with ExitStack() as open_:
        for _ in range(3):
            there = open_.enter_context(proxy.send("GET /proxy-health HTTP/1.1\r\n\r\n"))
            assert there.recv(1000).endswith(b"\r\n\r\nok")
        for port in (proxy.door, proxy.store):
            with pytest.raises(httpx.TransportError):
                CLIENT.get(f"http://127.0.0.1:{port}/")


@given(WINNOW_CONNECTIONS="3", WINNOW_TRUSTED_PROXIES="127.0.0.1")
def test_a_proxy_of_the_teams_own_has_as_many_as_it_needs(proxy: Proxy) -> None:
    with ExitStack() as open_:
        for _ in range(5):
            open_.enter_context(proxy.send(""))
        assert proxy.ask("/").status_code == 200


MINUTE = {
    "WINNOW_TRUSTED_PROXIES": "127.0.0.1",
    "WINNOW_LINKS_MINUTE": "3",
    "WINNOW_WEBHOOKS_MINUTE": "3",
    "WINNOW_LOGINS_MINUTE": "3",
}


@given(**MINUTE)
@pytest.mark.parametrize(
    ("method", "paths"),
    [
        ("GET", [f"/winnow-links/{TOKEN}", "/%77innow%2Dlinks/x", "/below/winnow-links/x"]),
        ("POST", ["/winnow/webhooks/scale", "/winnow/webhook%73/simulator"]),
        ("POST", ["/auth/token", "/auth/token/cli", "/auth/login/"]),
    ],
)
def test_who_asks_too_often_waits_and_nobody_else_does(
    proxy: Proxy, method: str, paths: list[str]
) -> None:
    def statuses(source: str) -> list[int]:
        return [
            proxy.ask(paths[i % len(paths)], source, method=method).status_code for i in range(5)
        ]

    assert statuses("203.0.113.9") == [200, 200, 200, 429, 429]
    # One customer of an IPv6 network is one address.
    assert statuses("2001:db8::1") == [200, 200, 200, 429, 429]
    assert proxy.ask(paths[0], "2001:db8::2", method=method).status_code == 429
    refused = proxy.ask(paths[0], "203.0.113.9", method=method)
    assert refused.headers["retry-after"] == "60"
    for path in ("/", "/api/v2/dags", "/edge_worker/v1/jobs", "/execution/x", "/winnow/batches"):
        for _ in range(5):
            assert proxy.ask(path, "203.0.113.9", method=method).status_code == 200
    # A page of the login is no try.
    assert proxy.ask("/auth/login/", "203.0.113.9").status_code == 200
    log = proxy.log.read_text()
    assert "from 203.0.113.9: 429" in log and "from 2001:db8::: 429" in log
    assert TOKEN not in log


@given(**MINUTE)
def test_one_webhook_is_not_called_by_all_together_without_end(proxy: Proxy) -> None:
    def calls(source: str, vendor: str) -> list[int]:
        path = f"/winnow/webhooks/{vendor}"
        return [proxy.ask(path, source, method="POST").status_code for _ in range(3)]

    # What is refused to an address takes nothing from the others.
    assert calls("203.0.113.1", "scale") == [200, 200, 200]
    assert calls("203.0.113.1", "scale") == [429, 429, 429]
    assert calls("203.0.113.2", "scale") == [200, 200, 200]
    assert calls("203.0.113.3", "scale") == [429, 429, 429]
    assert calls("203.0.113.4", "simulator") == [200, 200, 200]


def test_a_body_is_no_larger_than_its_place_allows(proxy: Proxy) -> None:
    def status(path: str, told: str) -> int:
        return proxy.status(f"POST {path} HTTP/1.1\r\n{told}")

    for path, most in {
        "/edge_worker/v1/logs": 8 << 20,
        "/winnow/webhooks/scale": 1 << 20,
        "/winnow-links/x/answer": 64 << 10,
    }.items():
        assert status(path, f"Content-Length: {most + 1}") == 413, path
        # A body of full length comes through whole.
        assert proxy.ask(path, method="POST", content=b"x" * (64 << 10)).status_code == 200


def test_a_body_of_unknown_length_reaches_only_what_counts_it(proxy: Proxy) -> None:
    def status(path: str) -> int:
        return proxy.ask(path, method="POST", content=iter([b"some"])).status_code

    # A name in Airflow's own paths may hold any words.
    foreign = ("variables/a/winnow-links/b", "pools/winnow%2Fwebhooks%2Fb")
    for path in ("/api/v2/dags", "/auth/token", *(f"/api/v2/{each}" for each in foreign)):
        assert status(path) == 411, path
    for path in ("/winnow/webhooks/scale", "/airflow/winnow/webhooks/scale"):
        assert status(path) == 200, path
    with proxy.send(
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    ) as there:
        assert there.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_certificate_makes_both_doors_speak_tls_and_nothing_else(
    program: str, echo: int, tmp_path: Path, certificate: Certificate
) -> None:
    with running(program, echo, tmp_path, WINNOW_TLS_PEM=str(certificate.pem)) as proxy:
        for port in (proxy.door, proxy.store):
            found = httpx.get(f"https://127.0.0.1:{port}/x", verify=certificate.trust)
            assert found.status_code == 200
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                httpx.get(f"https://127.0.0.1:{port}/x")
            with pytest.raises(httpx.RemoteProtocolError):
                httpx.get(f"http://127.0.0.1:{port}/x")
            assert _agreed(port, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
            for version, ciphers in (
                (ssl.TLSVersion.TLSv1_1, "ALL"),
                (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256"),
            ):
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    _agreed(port, version, ciphers)
        found = httpx.get(f"https://127.0.0.1:{proxy.door}/x", verify=certificate.trust)
        assert found.headers["strict-transport-security"] == "max-age=31536000"
        assert dict(found.json()["headers"])["x-forwarded-proto"] == "https"
        assert_cookies_are_safe(found)
        # The object store's signatures hold for what was sent, so nothing of it is changed.
        sent = {"X-Forwarded-For": "6.6.6.6"}
        url = f"https://127.0.0.1:{proxy.store}/bucket/a%2Fb"
        found = httpx.get(url, verify=certificate.trust, headers=sent)
        assert found.json()["path"] == "/bucket/a%2Fb"
        assert ["x-forwarded-for", "6.6.6.6"] in found.json()["headers"]


def test_a_lake_is_kept_by_tls(
    program: str, echo: int, tmp_path: Path, certificate: Certificate
) -> None:
    if s3_server.program() is None:
        lacking("no SeaweedFS here")
    with ExitStack() as open_:
        server = open_.enter_context(s3_server.running(tmp_path))
        variables = {"WINNOW_TLS_PEM": str(certificate.pem)}
        objects = int(server.url.rsplit(":", 1)[1])
        proxy = open_.enter_context(running(program, echo, tmp_path, objects, **variables))
        client = boto3.client(
            "s3",
            endpoint_url=f"https://127.0.0.1:{proxy.store}",
            verify=str(certificate.authority),
            region_name="us-east-1",
            aws_access_key_id=server.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=server.environment["AWS_SECRET_ACCESS_KEY"],
        )
        lake, data = S3Lake(s3_server.BUCKET, "winnow", client), b"0123456789" * (1 << 20)
        assert lake.create("pools/a", data) and not lake.create("pools/a", b"other")
        assert lake.read("pools/a") == data
        client.close()


def _agreed(port: int, version: ssl.TLSVersion, ciphers: str = "ALL") -> str | None:
    """The version that a client of this one alone, and of these ciphers, agrees on."""
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    own.check_hostname, own.verify_mode = False, ssl.CERT_NONE
    own.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        own.minimum_version = own.maximum_version = version
    there = socket.create_connection(("127.0.0.1", port), timeout=30)
    with there, own.wrap_socket(there) as safe:
        return safe.version()
