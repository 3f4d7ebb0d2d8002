"""The scripts of the tests' many short jobs: each runs in a copy of a process that has imported what is not ours.

A job of the small experiment costs half a second of a processor, most of it for the start of Python and for imports of
packages that are not ours. Nothing of the workflow is imported before the copy is made: each job reads the script and
the modules of its own folder. Snakemake starts script_client.py instead of Python with the script; that ends as the
script did.
"""

import marshal
import os
import runpy
import select
import socket
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import copies

CLIENT = Path(__file__).with_name("script_client.py")
_alive = []  # sockets; a server ends when the one that it was given is closed


def start():
    """Start the server, which has what this process imported; return its name. It ends with this process."""
    name = f"celltraces-scripts-{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"\0{name}")  # a name without a file, which Linux has
    listener.listen(64)
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        _serve(listener, theirs)
        os._exit(0)
    listener.close()
    theirs.close()
    _alive.append(ours)
    return name


def let_go():
    """In a copy of the process that started the server: it does not keep the server alive."""
    while _alive:
        _alive.pop().close()


def use(server):
    """Have Snakemake, in this process, run its Python scripts with the server of this name."""
    from snakemake.script import PythonScript

    def execute_script(self, fname, edit=False):
        assert {self.conda_env, self.container_img, self.env_modules} == {None}, "it asks for another environment"
        command = "{python:q} -I -S {client:q} {server} {fname:q}"
        self._execute_cmd(command, python=sys.executable, client=CLIENT, server=server, fname=fname)

    assert callable(PythonScript.execute_script)
    PythonScript.execute_script = execute_script


def _serve(listener, alive):
    """Make a copy of this process for each script and tell its client how it ended, until `alive` is closed."""
    assert tempfile.tempdir is None  # a job is told its own
    clients = {}  # by the file that is ready when a script has ended: its process, and the connection to its client
    while True:
        ready, _, _ = select.select([listener, alive, *clients], [], [])
        if alive in ready:
            return
        for file in ready:
            if file is listener:
                connection, _ = listener.accept()
                process = os.fork()
                if process == 0:
                    listener.close()
                    alive.close()
                    _run_for(connection)
                clients[os.pidfd_open(process)] = process, connection
            else:
                process, connection = clients.pop(file)
                os.close(file)
                status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
                with connection, suppress(OSError):  # of a client that was killed
                    connection.sendall(str(status).encode())


def _run_for(connection):
    """Run the script that a client asks for in this process, as `python SCRIPT` does, and end it."""
    length, files, _, _ = socket.recv_fds(connection, 4, 3)
    with connection, connection.makefile("rb") as stream:
        script, folder, environment, umask = marshal.loads(stream.read(int.from_bytes(length, "little")))
    sys.path[0] = str(Path(script).parent)
    sys.argv = [script]
    sys.orig_argv = [sys.executable, script]
    run = partial(runpy.run_path, script, run_name="__main__")
    copies.run_and_end(run, folder, umask, environment, files)
