#!/bin/bash
# SPDX-License-Identifier: MIT
#
# systemd takes the units as they are, with the daemon that was just built, and finds their sandbox
# tight. Skipped where there is no systemd-analyze.
set -euo pipefail
export LC_ALL=C

srcdir=${srcdir:-.}
command -v systemd-analyze >/dev/null || {
	echo "systemd-analyze is not installed"
	exit 77
}
# It makes folders there even to read units, which a user in a root without systemd may not.
[ -d /run/systemd ] || [ -w /run ] || {
	echo "there is no /run/systemd, and it can't be made"
	exit 77
}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

for unit in redmutexd.service redmutexd.socket; do
	sed -e "s|@sbindir@|$PWD/daemon|g" -e "s|@sysconfdir@|/etc|g" \
		"$srcdir/systemd/$unit.in" >"$tmp/$unit"
done
if grep -n '@[a-z]*@' "$tmp"/*; then
	echo "a placeholder was left"
	exit 1
fi
# Of other units on this machine it may complain as much as it likes.
systemd-analyze verify --man=no "$tmp/redmutexd.service" "$tmp/redmutexd.socket" \
	>"$tmp/verify" 2>&1 || {
	cat "$tmp/verify"
	exit 1
}
if grep redmutexd "$tmp/verify"; then
	exit 1
fi
# In tenths; the whole list is worth reading only when this fails.
if systemd-analyze security --offline=yes --threshold=18 --no-pager "$tmp/redmutexd.service" \
	>"$tmp/security"; then
	tail -n 1 "$tmp/security"
else
	cat "$tmp/security"
	exit 1
fi
