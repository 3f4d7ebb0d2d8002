"""Stands where Snakemake starts Python for a script: has the server of scripts run it, and ends as the script did.

Run as `python -I -S script_client.py SERVER SCRIPT`. What it imports, every job of the tests pays for.
"""

import marshal
import os
import sys
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket
from array import array


def main(server, script):
    """Hand standard input and output, folder, environment and umask over; exit with the status of the script."""
    umask = os.umask(0)
    request = marshal.dumps((script, os.getcwd(), {**os.environ}, umask))
    connection = socket(AF_UNIX, SOCK_STREAM)
    connection.connect(f"\0{server}")
    files = [(SOL_SOCKET, SCM_RIGHTS, array("i", [0, 1, 2]))]
    connection.sendmsg([len(request).to_bytes(4, "little")], files)
    connection.sendall(request)
    answer = connection.recv(16)
    status = int(answer) if answer else -9  # the server itself was killed
    if status < 0:
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
