#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What bash, zsh and fish complete, by their own machinery. A shell that is missing is left out."""

import os
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
import terminal
from terminal import SRCDIR, Terminal

FILES = os.path.join(SRCDIR, "client", "completion")
# What is typed, and what must be offered for its last word.
CASES = (
    ("redmutex inf", {"info"}),
    ("redmutex info ba", {"backup"}),
    ("redmutex info o", {"orders:eu", "other"}),
    ("redmutex release back", {"backup"}),
    ("redmutex run -n ba", {"backup"}),
    ("redmutex run --ren", {"--renew"}),
    ("redmutex acquire --det", {"--detach"}),
    ("redmutex list --js", {"--json"}),
)


def ask_bash(typed):
    text = f"""
. {FILES}/redmutex.bash
COMP_LINE='{typed}' COMP_POINT=${{#COMP_LINE}}
read -ra COMP_WORDS <<<"$COMP_LINE"
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_redmutex
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "--norc", "-c", text], stdout=subprocess.PIPE, text=True)
    return {line.strip() for line in done.stdout.splitlines() if line.strip()}


def ask_fish(typed):
    text = f"source {FILES}/redmutex.fish; complete -C '{typed}'"
    env = dict(os.environ, HOME=terminal.folder)
    done = subprocess.run(["fish", "-N", "-c", text], stdout=subprocess.PIPE, text=True, env=env)
    return {line.split("\t")[0] for line in done.stdout.splitlines()}


def check_zsh():
    """It completes at a terminal only: what is unique is put in place, else there is a list."""
    shell = Terminal("zsh", "-f", "-i")
    shell.type(f"fpath=({FILES} $fpath); autoload -Uz compinit; compinit -D -u; echo lo''aded\n")
    shell.see(r"\nloaded")
    for typed, offered in CASES:
        if len(offered) > 1:
            shell.type(typed + "\t\t")
            for word in offered:
                shell.see(word)
            shell.type("\x15")
            continue
        # Its line is printed by putting `echo` in front of it.
        shell.type(typed + "\t\x01echo GOT:\n")
        shell.see(r"\n(\x1b\[J)?GOT:" + typed.rsplit(" ", 1)[0] + " " + min(offered) + r"\b")
    shell.end()


terminal.start_daemon(
    "[defaults]\nurl = local:\n[mutex backup]\nkey = b\n[mutex orders:eu]\nkey = e\n"
    "[mutex other]\nkey = o\n[mutex family-*]\nrenew = no\n"
)
for typed, offered in CASES:
    got = ask_bash(typed)
    assert got == offered, f"bash: {typed}: {got}"
print("bash")
if shutil.which("fish"):
    for typed, offered in CASES:
        got = ask_fish(typed)
        assert got == offered, f"fish: {typed}: {got}"
    print("fish")
if shutil.which("zsh"):
    check_zsh()
    print("zsh")
