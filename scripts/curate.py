"""Browse results and decide on cells in a web browser: `make curate RESULTS=results`.

A server on this machine alone, for as long as the command runs. It needs the folder of results and nothing else, and
works while a run is at work on it.
"""

import argparse
import getpass
import os
import shlex
import signal
import socket
import sys
import webbrowser
from pathlib import Path

from celltraces.curate import app, scan, security
from celltraces.curate.decide import Author, user_name
from celltraces.curate.views import Results
from celltraces.errors import UserError
from celltraces.paths import Layout
from celltraces.pictures.web import CURATION_PORT
from celltraces.runs import job

HOST = "127.0.0.1"
# Memory of larger arrays is given back at once: with frames of 4096 x 4096, 120 MB less. Not that of labels of
# 2048 x 2048, which are read in half the time into memory that is there.
KEPT_BYTES = 12 << 20
REPOSITORY = Path(__file__).parents[1]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Browse results and decide on cells in a web browser.")
    parser.add_argument("results", metavar="RESULTS", type=Path, help="the folder of results, output_dir of the config")
    parser.add_argument(
        "--port", type=int, help=f"port on this machine; {CURATION_PORT}, or a free one, unless told otherwise"
    )
    parser.add_argument("--author", help="whose decisions they are; the name of your account unless told otherwise")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    return parser.parse_args()


def listen(port: int | None) -> socket.socket:
    """A socket on this machine alone. None: the usual port, so that links of reports lead here, or any free one."""
    for wanted in (CURATION_PORT, 0) if port is None else (port,):
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, wanted))
            server.listen()  # so that a browser that is quicker than the server waits for it
            return server
        except (OSError, OverflowError) as error:
            server.close()
            if port is not None:
                reason = getattr(error, "strerror", None) or error
                raise UserError(f"--port {port}: cannot be used ({reason}); name another, from 1024 to 65535") from None
    raise UserError("there is no free port on this machine; end other programs")


def command_for(results: Path) -> str:
    """What a person types to take the decisions into the tables, where the results do not say how they were made."""
    here = results.resolve() == (REPOSITORY / "results").resolve()
    return "snakemake --cores 2" + ("" if here else " --configfile my.yaml")


def serve(options: argparse.Namespace) -> None:
    import uvicorn

    from celltraces.curate import connections

    job.keep_memory(KEPT_BYTES, shared=True)
    author = user_name(getpass.getuser()) if options.author is None else options.author
    folder = Path(os.path.abspath(options.results))
    if not folder.is_dir():
        raise UserError(f"{options.results}: there is no such folder; name the folder of results")
    scan.scan(folder)  # before a folder of edits is made in one that holds no results
    results = Results(folder, Author(Path(Layout(folder.as_posix()).edits), author), command_for(folder))
    listening = listen(options.port)
    port = listening.getsockname()[1]
    token = security.new_token()
    config = uvicorn.Config(
        app.make_app(results, token),
        log_level="error",  # its warnings are about what is refused, in words for those who write servers
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        http=connections.Connection,
        backlog=connections.AT_ONCE,
        loop="asyncio",
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    # A Ctrl-C ends it in the same way before the server listens to signals itself.
    signal.signal(signal.SIGINT, lambda *_: setattr(server, "should_exit", True))
    address = f"http://{HOST}:{port}/#token={token}"
    print(f"Results in a browser: {address}")
    if "SSH_CONNECTION" in os.environ:
        host = os.environ["SSH_CONNECTION"].split()[2:3] or [socket.gethostname()]
        print(f"On your own machine: ssh -L {port}:{HOST}:{port} {shlex.quote(getpass.getuser())}@{host[0]}")
    print(results.author.why_not or f"Decisions are saved at once, in {results.author.file}")
    print("Ctrl-C ends it.", flush=True)
    if not options.no_browser and "SSH_CONNECTION" not in os.environ:
        webbrowser.open(address)
    server.run(sockets=[listening])


if __name__ == "__main__":
    try:
        serve(arguments())
    except UserError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass
    print("\rEnded. Decisions that the page showed as saved are in the folder of results.")
