#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The examples of README.md, doc/coming-from.md and all manual pages, run as they are written.

They run against the daemon and the command line that were just built, and programs in C against the
library as it is installed, by what pkg-config says and nothing else. Only what belongs to the
reader's machine is put in place of what the page has: paths below /tmp, /etc and /run, the hosts of
Redis servers, and the names of users and groups.

What kind of example it is, is seen by how it begins, or said behind the three backticks of a block:
sh, console, session, ini, c, py and acl are ours. The rest is other products', or in NOT_RUN.
"""

import atexit
import grp
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

SRCDIR = os.path.abspath(os.environ.get("srcdir", "."))
BUILD = os.getcwd()
WAIT_S = 30
PAGES = {
    "README.md": "console",
    "doc/coming-from.md": "console",
    "client/redmutex.1": "sh",
    "client/libredmutex.3": "c",
    "daemon/conf/redmutexd.ini.5": "ini",
    "daemon/redmutexd.8": "console",
    "proto/redmutex-protocol.7": "session",
}
# Of other products: shown beside ours.
FOREIGN = ("text", "python", "elixir", "js")
# How to build and install, which other tests do or which needs root.
NOT_RUN = (
    "scripts/quickstart",
    "autoreconf -fi",
    "sudo systemd-sysusers",
)
DEFAULT_INI = "[defaults]\nurl = local:\n[mutex *]\nrenew = no\n"

tmp = tempfile.mkdtemp(prefix="rmx")
children = []
servers = {}
flags = {}


def clean_up():
    for child in reversed(children):
        if child.poll() is None:
            child.kill()
            child.wait()
    shutil.rmtree(tmp, ignore_errors=True)


atexit.register(clean_up)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def await_(what, true):
    end = time.monotonic() + WAIT_S
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come in {WAIT_S} s")
        time.sleep(0.01)


# ---------------------------------------------------------------------- examples in pages


class Example:
    def __init__(self, page, line, kind, text):
        self.page, self.line, self.kind, self.text = page, line, kind, text

    def __str__(self):
        return f"{self.page}:{self.line}"


def kind_of(text, default):
    first = text.split("\n", 1)[0]
    if first.startswith("$ socat"):
        return "session"
    if first.startswith(("$ ", "# ")) and not first.startswith("# include"):
        return "console"
    if first.startswith("["):
        return "ini"
    if first.startswith("#include"):
        return "c"
    if first.startswith("ACL "):
        return "acl"
    return default


def examples_of_markdown(page, lines):
    found, block, begin, kind = [], None, 0, None
    for number, line in enumerate(lines + [""], 1):
        if kind is not None:  # between backticks
            if line.startswith("```"):
                found.append(Example(page, begin, kind, "\n".join(block) + "\n"))
                block, kind = None, None
            else:
                block.append(line)
        elif line.startswith("```"):
            block, begin, kind = [], number, line[3:]
        elif line.startswith("    ") and (block is not None or lines[number - 2] == ""):
            if block is None:
                block, begin = [], number
            block.append(line[4:])
        elif block is not None and line == "" and lines[number:] and lines[number][:4] == "    ":
            block.append("")
        elif block is not None:
            text = "\n".join(block) + "\n"
            found.append(Example(page, begin, kind_of(text, None), text))
            block = None
    return found


def unescape(line):
    line = re.sub(r"^\\&", "", line)
    return line.replace("\\e", "\\").replace("\\&", "").replace("\\-", "-")


def examples_of_manual(page, lines, kind):
    found, block, begin, inside = [], None, 0, False
    for number, line in enumerate(lines, 1):
        if line.startswith(".Sh "):
            inside = line == ".Sh EXAMPLES"
        elif not inside:
            continue
        elif line.startswith(".Bd "):
            block, begin = [], number
        elif line == ".Ed":
            text = "\n".join(block) + "\n"
            found.append(Example(page, begin, kind_of(text, kind), text))
            block = None
        elif block is not None:
            block.append(unescape(line))
        elif line.startswith(".Dl "):
            found.append(Example(page, number, kind, unescape(line[4:]) + "\n"))
    return found


def examples_of(page, kind):
    with open(os.path.join(SRCDIR, page), encoding="utf-8") as file:
        lines = file.read().split("\n")
    if page.endswith(".md"):
        return examples_of_markdown(page, lines)
    return examples_of_manual(page, lines, kind)


# ---------------------------------------------------------------------- the reader's machine


def redis_server(host):
    """The path of a server of its own for each host that is named."""
    if host not in servers:
        path = os.path.join(tmp, f"{len(servers)}.redis")
        command = ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", tmp]
        children.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        await_(path, lambda: os.path.exists(path))
        servers[host] = path
    return servers[host]


def put_in_place(text):
    def here(match):
        word = match.group()
        if match.group("host"):
            return "unix://" + redis_server(match.group("host"))
        if word == "/run/redmutexd/redmutexd.sock":
            return SOCKET
        if word.startswith("/"):
            return tmp + word
        key = match.group("key")
        if key.startswith("allow_users"):
            return key + pwd.getpwuid(os.getuid()).pw_name
        return key + grp.getgrgid(os.getgid()).gr_name

    return re.sub(
        r"(redis:/|unix:)/(?P<host>localhost|[\w-]+(\.[\w-]+)+|/run/redis/redis-server.sock)(:\d+)?"
        r"|/run/redmutexd/redmutexd.sock|/(etc|tmp)/"
        r"|(?m:^)(?P<key>(allow_users|allow_groups|socket_group|admin_group) *= *)\S.*",
        here,
        text,
    )


class Machine:
    """A daemon with the configuration that was shown last."""

    def __init__(self):
        self.process = None
        self.path = os.path.join(tmp, "etc", "redmutexd.ini")

    def configure(self, text):
        self.stop()
        if "[redmutexd]" in text:
            text = text.replace("[redmutexd]", f"[redmutexd]\nsocket = {SOCKET}", 1)
        else:
            text = f"[redmutexd]\nsocket = {SOCKET}\n" + text
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text)
        subprocess.run([DAEMON, "-t", "-c", self.path], check=True)
        self.log = open(os.path.join(tmp, "log"), "w", encoding="utf-8")
        self.process = subprocess.Popen([DAEMON, "-c", self.path], stderr=self.log)
        children.append(self.process)
        await_("the daemon", answers)

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(WAIT_S)
            self.process = None
            self.log.close()


def answers():
    try:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(SOCKET)
            return True
    except OSError:
        return False


def executable(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


def furnish():
    for folder in ("bin", "etc", "tmp", "work"):
        os.mkdir(os.path.join(tmp, folder))
    os.symlink(os.path.join(BUILD, "client", "redmutex"), os.path.join(tmp, "bin", "redmutex"))
    os.symlink(DAEMON, os.path.join(tmp, "bin", "redmutexd"))
    # What the examples run, and whose effects are not of interest here.
    for name in ("systemctl", "nightly-report"):
        executable(os.path.join(tmp, "bin", name), "exit 0\n")
    executable(os.path.join(tmp, "work", "deploy.sh"), 'test -n "$REDMUTEX_FENCE"\n')
    os.environ["PATH"] = os.path.join(tmp, "bin") + ":" + os.environ["PATH"]
    os.environ["REDMUTEX_SOCKET"] = SOCKET
    os.environ["SHELL"] = "/bin/sh"
    os.environ.pop("MAKEFLAGS", None)
    os.environ.pop("MAKELEVEL", None)


# ---------------------------------------------------------------------- running them

LOCK = re.compile(r"(?<![\w+/])[A-Za-z0-9+/]{43}=")


def plain(line):
    """A line of output without what differs from time to time."""
    line = LOCK.sub("<lock>", line.rstrip())
    line = re.sub(r"\b(ttl|fence|pid|uid|held|version)=\S+", r"\1=", line)
    return re.sub(r"\b\d{16,}\b", "<fence>", line)


def run_sh(example, _machine):
    run_text(["bash", "-eu"], put_in_place(example.text))


def run_py(example, _machine):
    run_text([sys.executable, "-"], put_in_place(example.text))


def run_text(command, text):
    done = subprocess.run(
        command,
        input=text,
        cwd=os.path.join(tmp, "work"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, f"status {done.returncode}: {done.stdout}"
    return done.stdout


def run_console(example, machine):
    """Commands behind a prompt, each followed by what it prints."""
    commands = []
    for line in example.text.rstrip("\n").split("\n"):
        if line.startswith(("$ ", "# ")):
            commands.append((line[2:], []))
        else:
            commands[-1][1].append(re.sub(r"\s+#.*$", "", line))
    script, expected = [], []
    for number, (command, output) in enumerate(commands):
        shown = re.match(r"cat (\S+\.ini)$", command)
        if shown and shown.group(1).startswith("/etc/"):
            machine.configure(put_in_place("\n".join(output) + "\n"))
            continue
        if shown:
            with open(os.path.join(tmp, "work", shown.group(1)), "w", encoding="utf-8") as file:
                file.write(put_in_place("\n".join(output) + "\n"))
        # What a daemon logs is not what its example is about.
        quiet = re.sub("&$", "2>/dev/null &", put_in_place(command))
        script += [f"echo '=== {number}'", quiet]
        expected += [f"=== {number}"] + [plain(put_in_place(line)) for line in output]
        if command.endswith("&"):  # a person is not as fast as this
            script.append(f"until [ -S {tmp}/tmp/my.sock ]; do sleep 0.01; done")
    script.append("trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT")
    printed = run_text(["bash"], "\n".join(script) + "\n")
    got = [plain(line) for line in printed.rstrip("\n").split("\n")]
    assert got == expected, f"expected {expected}, got {got}"


def run_session(example, _machine):
    """Lines to and from the daemon; a lock string stands for the one that really comes."""
    locks, begun = {}, time.monotonic()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(WAIT_S)
        peer.connect(SOCKET)
        replies = peer.makefile("r")
        for line in example.text.rstrip("\n").split("\n"):
            if line.startswith("$ "):
                continue
            received = line.startswith("< ") or re.match(r"(OK|ERR|ITEM|EVENT)\b", line)
            line = re.sub("^[<>] ", "", line)
            if not received:
                peer.sendall(LOCK.sub(lambda m: locks[m.group()], line).encode() + b"\n")
                continue
            reply = replies.readline()
            assert plain(reply) == plain(line), f"expected {line}, got {reply}"
            for shown, real in zip(LOCK.findall(line), LOCK.findall(reply)):
                locks[shown] = real
    assert time.monotonic() - begun < WAIT_S


def run_ini(example, machine):
    machine.configure(put_in_place(example.text))


def run_acl(example, _machine):
    """The rule is enough for all that the daemon does."""
    path = redis_server("acl")
    words = example.text.split()
    done = subprocess.run(["redis-cli", "-s", path] + words, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "OK\n", done.stdout
    secret = os.path.join(tmp, "secret")
    with open(secret, "w", encoding="utf-8") as file:
        file.write("secret\n")
    os.chmod(secret, 0o600)
    own = Machine()
    own.configure(
        f"[mutex order-*]\nkey = orders:{{name}}\nurl = unix://{path}\n"
        f"username = locker\npassword_file = {secret}\nannounce = yes\n"
    )
    run_text(
        ["bash", "-eu"],
        "lock=$(redmutex acquire --detach order-1)\n"
        'redmutex extend order-1 "$lock"\n'
        "redmutex exists order-1\nredmutex info order-1\n"
        'redmutex release order-1 "$lock"\n',
    )
    own.stop()
    with open(os.path.join(tmp, "log"), encoding="utf-8") as file:
        log = file.read()
    assert "NOPERM" not in log and "no permission" not in log.lower(), log


def install():
    """Installs the library aside, and says how to use it from there."""
    if flags:
        return
    root = os.path.join(tmp, "root")
    subprocess.run(
        ["make", "-s", f"DESTDIR={root}", "install-libLTLIBRARIES", "install-includeHEADERS",
         "install-pkgconfigDATA"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    found = subprocess.run(["find", root, "-name", "redmutex.pc"], stdout=subprocess.PIPE, text=True)
    env = dict(
        os.environ,
        PKG_CONFIG_LIBDIR=os.path.dirname(found.stdout.strip()),
        PKG_CONFIG_SYSROOT_DIR=root,
        PKG_CONFIG_ALLOW_SYSTEM_CFLAGS="1",
        PKG_CONFIG_ALLOW_SYSTEM_LIBS="1",
    )
    env.pop("PKG_CONFIG_PATH", None)
    said = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "redmutex"], env=env, check=True,
        stdout=subprocess.PIPE, text=True,
    )
    flags["pkg-config"] = said.stdout.split()
    folders = [word[2:] for word in flags["pkg-config"] if word.startswith("-L")]
    os.environ["LD_LIBRARY_PATH"] = ":".join(folders)
    # A library that was built with sanitizers wants programs that are, too.
    names = subprocess.run(
        f"nm -D {folders[0]}/libredmutex.so", shell=True, stdout=subprocess.PIPE, text=True
    )
    if "__asan_init" in names.stdout:
        flags["pkg-config"].append("-fsanitize=address,undefined")


def build(source, compiler):
    install()
    program = os.path.join(tmp, "program")
    subprocess.run(
        compiler + ["-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers", source, "-o", program]
        + flags["pkg-config"],
        check=True,
    )
    return program


def run_c(example, _machine):
    source = os.path.join(tmp, "example.c")
    with open(source, "w", encoding="utf-8") as file:
        file.write(example.text)
    run_text([build(source, CC)], "")


def run_order(machine):
    """The program of libredmutex(3), which is examples/order.c, as C and as C++."""
    machine.configure(DEFAULT_INI)
    source = os.path.join(SRCDIR, "examples", "order.c")
    with open(source, encoding="utf-8") as file:
        text = file.read()
    shown = examples_of("client/libredmutex.3", "c")[0].text
    assert text.endswith(shown), "it is not what libredmutex(3) shows"
    for compiler in (CC, CXX + ["-x", "c++"], CC + ["-std=c11", "-pedantic"]):
        program = build(source, compiler)
        printed = run_text([program, "order-7"], "")
        assert [line.split()[0] for line in printed.split("\n")[:3]] == ["pack", "charge", "ship"]


RUN = {
    "sh": run_sh,
    "py": run_py,
    "console": run_console,
    "session": run_session,
    "ini": run_ini,
    "acl": run_acl,
    "c": run_c,
}

for tool in ("redis-server", "redis-cli", "pkg-config", "flock"):
    if not shutil.which(tool):
        print(f"{tool} is not installed")
        sys.exit(77)
CC = os.environ.get("CC", "cc").split()
CXX = os.environ.get("CXX", "c++").split()
SOCKET = os.path.join(tmp, "d.sock")
DAEMON = os.path.join(BUILD, "daemon", "redmutexd")

furnish()
machine = Machine()
failed = 0
for page, default in PAGES.items():
    examples = examples_of(page, default)
    count = 0
    machine.configure(DEFAULT_INI)
    for example in examples:
        if example.kind in FOREIGN or example.text.startswith(NOT_RUN):
            continue
        try:
            assert example.kind in RUN, f"an example of no known kind: {example.text}"
            if example.kind == "acl":
                machine.stop()
            RUN[example.kind](example, machine)
            count += 1
        except (AssertionError, KeyError, OSError, subprocess.SubprocessError) as error:
            print(f"{example}: {example.kind}: {error}")
            failed += 1
        if example.kind == "acl":
            machine.configure(DEFAULT_INI)
    print(f"{page}: {count} examples")
    if count == 0:
        print(f"{page} has no example that could be run")
        failed += 1
try:
    run_order(machine)
except (AssertionError, OSError, subprocess.SubprocessError) as error:
    print(f"examples/order.c: {error}")
    failed += 1
machine.stop()
sys.exit(1 if failed else 0)
