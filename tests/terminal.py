# SPDX-License-Identifier: MIT
"""A daemon, and shells at a terminal of their own, for the tests that type as a person does.

All waiting is for something to be seen, for as long as a very busy machine may take.
"""

import atexit
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

WAIT_S = 60
SRCDIR = os.path.abspath(os.environ.get("srcdir", "."))
folder = tempfile.mkdtemp(prefix="rmx")
children = []


def clean_up():
    for pid in reversed(children):
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
    shutil.rmtree(folder, ignore_errors=True)


atexit.register(clean_up)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def until(what, true):
    end = time.monotonic() + WAIT_S
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come in {WAIT_S} s")
        time.sleep(0.02)


def start_daemon(sections):
    """Serves those mutexes to this process's children, who find `redmutex` in PATH."""
    ini, path = os.path.join(folder, "ini"), os.path.join(folder, "sock")
    with open(ini, "w", encoding="utf-8") as file:
        file.write(f"[redmutexd]\nsocket = {path}\n{sections}")
    log = open(os.path.join(folder, "log"), "w", encoding="utf-8")
    children.append(subprocess.Popen(["daemon/redmutexd", "-c", ini], stderr=log).pid)
    os.environ["REDMUTEX_SOCKET"] = path
    os.environ["PATH"] = os.path.abspath("client") + ":" + os.environ["PATH"]
    os.environ["TERM"] = "xterm"
    os.environ.pop("NO_COLOR", None)
    until("the daemon", lambda: redmutex("ping").returncode == 0)


def redmutex(*words):
    return subprocess.run(
        ["client/redmutex", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


class Terminal:
    """A program at a terminal of 24 lines and 80 columns."""

    def __init__(self, *argv):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            # Not as Python has them, nor as a shell starts what goes to its background.
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            os.execvp(argv[0], argv)
        children.append(self.pid)
        self.resize(24, 80)
        self.seen = ""

    def resize(self, lines, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, text):
        """What was seen before is forgotten."""
        self.seen = ""
        os.write(self.fd, text.encode())

    def see(self, pattern):
        """Waits until the pattern is on the terminal."""
        end = time.monotonic() + WAIT_S
        while not re.search(pattern, self.seen):
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            assert ready, f"{pattern} did not come in {WAIT_S} s: {self.seen!r}"
            try:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")
            except OSError as error:
                raise AssertionError(f"the program ended before {pattern}: {self.seen!r}") from error
        return re.search(pattern, self.seen)

    def foreground(self):
        """The process group that the keys go to."""
        return os.tcgetpgrp(self.fd)

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.close(self.fd)
