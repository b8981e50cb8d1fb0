"""A PostgreSQL server of a test's own: begun in a folder that is thrown away, and ended with the test."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("initdb", "pg_ctl", "postgres")


def missing() -> str:
    """Why no server can be started here; empty if one can."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"{absent[0]} of PostgreSQL is not installed"
    return "" if os.geteuid() or _servant() else "PostgreSQL refuses to run as root, and there is no other user"


def _servant() -> str:
    """A user who may run a server where root may not."""
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), "")


@contextmanager
def server() -> Iterator[str]:
    """Run a server; its URL for SQLAlchemy."""
    folder = Path(tempfile.mkdtemp(prefix="postgres"))
    user = None if os.geteuid() else _servant()
    if user:
        shutil.chown(folder, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(*words: str) -> None:
        done = subprocess.run(words, user=user, cwd=folder, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()

    data, options = str(folder / "data"), f"-k {folder} -p {port} -c listen_addresses=127.0.0.1 -c fsync=off"
    try:
        run("initdb", "-D", data, "-U", "tester", "-A", "trust", "--no-sync")
        run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
