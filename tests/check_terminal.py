#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""redmutex at an interactive prompt: jobs, the wait that is shown, and the live screen."""

import os
import sys

sys.dont_write_bytecode = True
import terminal
from terminal import Terminal, redmutex, until

PROMPT = r"READY> $"
ESCAPE = "\033"


def prompt():
    """A shell with job control."""
    shell = Terminal("bash", "--norc", "--noprofile", "--noediting", "-i")
    shell.type("PS1='REA''DY> '\n")
    shell.see(PROMPT)
    return shell


def locked():
    return redmutex("exists", "m").returncode == 0


def state_of(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rsplit(")", 1)[1].split()[0]


def see_status(shell, status):
    shell.type("echo status=$?.\n")
    shell.see(rf"\nstatus={status}\.")
    shell.see(PROMPT)


def start_job(shell):
    """A command that holds the lock. Return: its pid."""
    shell.type("redmutex run m -- sh -c 'echo job=$$.; exec sleep 600'\n")
    pid = int(shell.see(r"\njob=(\d+)\.").group(1))
    until("the terminal for the command", lambda: shell.foreground() == pid)
    return pid


def stop_job(shell, pid):
    shell.type("\x1a")
    shell.see("Stopped")
    shell.see(PROMPT)
    assert state_of(pid) == "T" and shell.foreground() != pid
    assert locked(), "the lock is kept while the command is stopped"


def a_job_stops_and_goes_on_and_is_interrupted(shell):
    pid = start_job(shell)
    for _ in range(2):
        stop_job(shell, pid)
        shell.type("fg\n")
        until("the foreground", lambda: shell.foreground() == pid and state_of(pid) != "T")
    shell.type("\x03")
    shell.see(PROMPT)
    see_status(shell, 130)
    assert not locked()


def a_job_goes_on_in_the_background(shell):
    pid = start_job(shell)
    stop_job(shell, pid)
    shell.type("bg\n")
    shell.see(PROMPT)
    until("the command to go on", lambda: state_of(pid) != "T")
    assert shell.foreground() != pid and locked()
    shell.type("kill %1; wait %1\n")
    shell.see(PROMPT)
    see_status(shell, 143)
    until("the release", lambda: not locked())


def a_wait_is_shown_and_can_be_interrupted(shell):
    lock = redmutex("acquire", "--detach", "m").stdout.strip()
    for command in ("redmutex run m true", "redmutex acquire --pid $$ m"):
        shell.type(command + "\n")
        shell.see(r"\rwaiting for m, place 1 of 1: held here by pid \d+")
        shell.type("\x03")
        shell.see(r"\r\033\[K")
        shell.see(PROMPT)
        see_status(shell, 130)
    redmutex("release", "m", lock)


def the_wait_is_one_line_that_is_kept_up_to_date_and_then_gone(shell):
    lock = redmutex("acquire", "--detach", "m").stdout.strip()
    first = Terminal("client/redmutex", "run", "m", "true")
    first.see("place 1 of 1: ")
    shell.type("redmutex run m echo d''one\n")
    shell.see("place 2 of 2: ")
    held = int(shell.see(r" for (\d+)\.\d s").group(1))
    shell.see(rf" for ({held + 1}|{held + 2})\.\d s")
    # The queue is not held up by who gives up.
    first.end()
    shell.see("place 1 of 1: ")
    # It never goes on to a second line.
    shell.resize(24, 30)
    shell.seen = ""
    shell.see(r"\rwaiting for m, place 1 of 1: \033\[K")
    # Nor is it in the way while others use the terminal.
    shell.type("\x1a")
    shell.see(r"\r\033\[K")
    shell.see(PROMPT)
    shell.type("bg; sleep 1.5; echo no''thing\n")
    shell.see("nothing")
    assert "waiting for" not in shell.seen, shell.seen
    shell.see(PROMPT)
    shell.type("fg\n")
    shell.see("waiting for m")
    shell.seen = ""
    assert redmutex("release", "m", lock).returncode == 0
    shell.see(r"\r\033\[Kdone")
    shell.see(PROMPT)


def a_wait_is_shown_to_a_person_only(shell):
    lock = redmutex("acquire", "--detach", "m").stdout.strip()
    log = f"{terminal.folder}/wait"
    shell.type(f"redmutex run -w 1.5 m true 2>{log}; TERM=dumb redmutex run -w 1.5 m true\n")
    shell.see("true\r\n" + PROMPT)
    with open(log, encoding="utf-8") as file:
        assert file.read() == ""
    redmutex("release", "m", lock)


def top_is_live_and_gives_the_terminal_back(shell):
    shell.type("redmutex top -d 0.1\n")
    shell.see(r"\[\?1049h[^~]*2 mutexes, 0 in use")
    lock = redmutex("acquire", "--detach", "m").stdout.strip()
    shell.see(r"1 in use, 0 waiting")
    shell.see(r"/s granted, .*/s passed on, .*/s released")
    shell.see(r"m  +here +0 +\d+ s  by pid ")
    redmutex("release", "m", lock)
    shell.type("\x1a")
    shell.see(r"\[\?1049l")
    shell.see("Stopped")
    shell.see(PROMPT)
    shell.type("fg\n")
    shell.see(r"\[\?1049h[^~]*0 in use")
    shell.type("q")
    shell.see(r"\[\?25h.*\[\?1049l")
    shell.see(PROMPT)
    see_status(shell, 0)
    shell.type("redmutex top\n")
    shell.see("0 in use")
    shell.type("\x03")
    shell.see(r"\[\?1049l")
    shell.see(PROMPT)
    see_status(shell, 130)
    shell.type("stty -a\n")
    shell.see(r"[^-]icanon")
    shell.see(r"[^-]echo ")


def colours_are_for_terminals(shell):
    shell.see(PROMPT)
    shell.type("redmutex list\n")
    shell.see(r"\033\[1mNAME")
    shell.see(PROMPT)
    shell.type("NO_COLOR=1 redmutex list\n")
    shell.see("other")
    shell.see(PROMPT)
    assert ESCAPE + "[1m" not in shell.seen
    for words in (("list",), ("top",), ("top", "-n", "2", "-d", "0.1"), ("info", "m")):
        assert ESCAPE not in redmutex(*words).stdout, words


terminal.start_daemon("[defaults]\nurl = local:\n[mutex m]\nkey = m\n[mutex other]\nkey = o\n")
for test in (
    a_job_stops_and_goes_on_and_is_interrupted,
    a_job_goes_on_in_the_background,
    a_wait_is_shown_and_can_be_interrupted,
    the_wait_is_one_line_that_is_kept_up_to_date_and_then_gone,
    a_wait_is_shown_to_a_person_only,
    top_is_live_and_gives_the_terminal_back,
    colours_are_for_terminals,
):
    shell = prompt()
    test(shell)
    shell.end()
    print(test.__name__)
