"""What anybody on the machine can send to the curation page's server, byte by byte; without a browser."""

import json
import re
import socket
import subprocess
import time

import pytest
from conftest import PYTHON, ROOT
from made_results import label_movie, write_dataset

MOST_FILES = 256  # that the server may have open: a usual bound is 1024


class Server:
    """The command, with few files to open, and all that it prints."""

    def __init__(self, folder):
        self.folder, self.printed = folder, folder.parent / "printed"
        command = [PYTHON, ROOT / "scripts/curate.py", folder, "--no-browser", "--port", "0", "--author", "anna"]
        with open(self.printed, "w") as output:
            self.process = subprocess.Popen(
                ["sh", "-c", f'ulimit -n {MOST_FILES}; exec "$@"', "sh", *command], stdout=output, stderr=output
            )
        while "Ctrl-C" not in self.printed.read_text():
            assert self.process.poll() is None, self.printed.read_text()
            time.sleep(0.05)
        found = re.search(r"http://127.0.0.1:(\d+)/#token=(\S+)", self.printed.read_text())
        self.port, self.token = int(found[1]), found[2]

    def connection(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def ask(self, first, *headers, body=b"", token=True):
        """Send a question of these lines; the status and all that is answered."""
        lines = [first, f"Host: 127.0.0.1:{self.port}", *headers, "Connection: close"]
        lines += [f"X-Celltraces-Token: {self.token}"] * token
        with self.connection() as open_one:
            open_one.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
            answer = b""
            try:
                while part := open_one.recv(65536):
                    answer += part
            except ConnectionResetError:
                pass  # of what it did not want to read
        return int(answer.split()[1]), answer

    def edits(self):
        file = self.folder / "edits/anna.jsonl"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("connections") / "results"
    write_dataset(folder, "one", label_movie(3, 64, 4))
    running = Server(folder)
    yield running
    running.process.terminate()
    running.process.wait()
    printed = running.printed.read_text()
    assert "Traceback" not in printed
    assert printed.count("\n") <= 4, printed  # the address and what is said of it: nobody else writes to the terminal


BODY = json.dumps({"dataset": "one", "fov": 0, "op": "seen", "cell": 1, "frame": 0}).encode()
JSON = "Content-Type: application/json"


def test_only_a_body_of_one_named_length_is_read(server):
    before = len(server.edits())
    length = f"Content-Length: {len(BODY)}"
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    for headers, body, status in (
        ([length, "Transfer-Encoding: chunked"], BODY, 411),  # two that differ is how a question is hidden in another
        ([length, "Transfer-Encoding: chunked"], chunked, 411),
        (["Transfer-Encoding: chunked"], chunked, 411),
        ([], b"", 411),
        ([length, "Content-Length: 5"], BODY, 400),
        (["Content-Length: -5"], BODY, 400),
        (["Content-Length: 64001"], b"x" * 64001, 413),
        ([length, "X-Celltraces-Token: another"], BODY, 401),
    ):
        assert server.ask("POST /api/edit HTTP/1.1", JSON, *headers, body=body)[0] == status, headers
    assert len(server.edits()) == before
    assert server.ask("POST /api/edit HTTP/1.1", JSON, length, body=BODY)[0] == 200
    assert len(server.edits()) == before + 1


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "FOO"])
def test_other_methods_tell_and_change_nothing(server, method):
    before = server.edits()
    assert server.ask(f"{method} /api/results HTTP/1.1", token=False)[0] == 401
    assert server.ask(f"{method} /api/edit HTTP/1.1", JSON, f"Content-Length: {len(BODY)}", body=BODY)[0] == 405
    assert server.edits() == before


@pytest.mark.parametrize(
    "path",
    [
        *("/../../etc/passwd", "/page/../app.py", "/page/%2e%2e/app.py", "/page/..%2fapp.py", "/page/..%5capp.py"),
        *("//page/page.js", "/page/", "/page/page.html%00.js", "/.git/config", "http://evil.example/page/../app.py"),
    ],
)
def test_there_is_no_way_out_of_the_page(server, path):
    status, answer = server.ask(f"GET {path} HTTP/1.1", token=False)
    assert status == 404
    assert answer.partition(b"\r\n\r\n")[2].lower() == b"not found"


@pytest.mark.parametrize(
    "path", ["/api/results", "/api//results", "/%61pi/results", "/api%2fresults", "/api/../page/page.js"]
)
def test_no_spelling_of_a_path_does_without_the_token(server, path):
    assert server.ask(f"GET {path} HTTP/1.1", token=False)[0] == 401


def test_no_other_protocol_is_spoken(server):
    upgrade = ["Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]
    assert server.ask("GET /api/results HTTP/1.1", *upgrade, token=False)[0] == 401
    assert server.ask("GET / HTTP/1.1", *upgrade, token=False)[0] == 200  # the page, which all may have
    for sent in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes(range(256)) * 4, b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000):
        with server.connection() as open_one:
            try:
                open_one.sendall(sent)
                answer = open_one.recv(65536)
            except ConnectionResetError:
                continue
        assert answer.split()[1] in (b"400", b"403")


def test_connections_that_ask_nothing_keep_nobody_out(server):
    """More of them than the server may open files, as another user of the machine can make."""
    started = b"POST /api/edit HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    length = f"Content-Length: {len(BODY)}\r\n".encode()
    slow = (
        started
        + JSON.encode()
        + b"\r\nX-Celltraces-Token: "
        + server.token.encode()
        + b"\r\n"
        + length
        + b"\r\n"
        + BODY[:9]
    )
    before = len(server.edits())
    held = []
    for sent, count in ((b"", MOST_FILES), (b"GET / HT", MOST_FILES), (started + length, MOST_FILES), (slow, 20)):
        for _ in range(count):
            held.append(server.connection())
            held[-1].sendall(sent)
    assert server.ask("GET /api/results HTTP/1.1")[0] == 200
    length = f"Content-Length: {len(BODY)}"
    assert server.ask("POST /api/edit HTTP/1.1", JSON, length, body=BODY)[0] == 200
    for one in held:
        one.close()
    assert server.ask("GET /api/results HTTP/1.1")[0] == 200
    assert len(server.edits()) == before + 1  # none of what was not sent to its end
