#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The daemon under a real systemd, in a container of its own: started, activated by its socket,
# reloaded, watched, upgraded, stopped, and looked at in the journal. To be run as root in a build
# folder after make; skipped, with the reason, where that can't be.
#
# The container is a Debian of the host's release, made once with mmdebstrap, for which it needs the
# network, and kept in the build folder, or in $NSPAWN_CACHE. That takes two minutes, the test ten
# seconds; so it is not part of make check, but run by make check-systemd, and by .ci/run.
#
# With $DEBS, a folder of Debian packages for the release $CODENAME, it is these that are installed
# and upgraded, rather than what was built: see scripts/package.
set -euo pipefail
export LC_ALL=C

# All of it has so long.
[ -n "${NSPAWN_LIMITED:-}" ] || NSPAWN_LIMITED=yes exec timeout --kill-after=5 230 "$0" "$@"

build=$PWD
cache=${NSPAWN_CACHE:-$build/nspawn}
root=
leader=
nspawn=

skip()
{
	echo "not looked at: $*"
	exit 77
}

clean_up()
{
	# With the container's first process all others of it end, and then systemd-nspawn.
	[ -z "$leader" ] || kill -KILL "$leader" 2>/dev/null || true
	if [ -n "$nspawn" ]; then
		[ -n "$leader" ] || kill -KILL "$nspawn" 2>/dev/null || true
		wait "$nspawn" 2>/dev/null || true
	fi
	[ -z "$root" ] || rm -rf "$root"
}

[ "$(id -u)" = 0 ] || skip "this needs root"
for program in systemd-nspawn mmdebstrap nsenter unshare ldd dpkg; do
	command -v "$program" >/dev/null || skip "$program is not installed"
done
[ -n "${DEBS:-}" ] || grep -q HAVE_LIBSYSTEMD\ 1 config.h 2>/dev/null ||
	skip "built without libsystemd"
# shellcheck disable=SC1091
codename=${CODENAME:-$(. /etc/os-release && echo "${VERSION_CODENAME:-}")}
case $codename in
bookworm | trixie) ;;
*) skip "this is no Debian 12 or 13" ;;
esac
unshare --mount --pid --fork true 2>/dev/null || skip "namespaces are not allowed here"

trap clean_up EXIT
trap 'exit 1' TERM INT HUP

# ---------------------------------------------------------------------- the root
# packages of the libraries that the daemon is linked with, or that its package depends on
libraries()
{
	local libtool_exe

	if [ -n "${DEBS:-}" ]; then
		dpkg-deb --field "$DEBS"/redmutexd_*.deb Depends | tr ',' '\n' |
			sed 's/^ *//; s/ .*//' | paste -sd,
		return
	fi
	libtool_exe=$build/daemon/.libs/redmutexd
	[ -e "$libtool_exe" ] || libtool_exe=$build/daemon/redmutexd
	ldd "$libtool_exe" | awk '$3 ~ /^\// { print $3 }' | while read -r file; do
		dpkg -S "$file" 2>/dev/null || dpkg -S "$(readlink -f "$file")" 2>/dev/null ||
			dpkg -S "/usr$file" 2>/dev/null || true
	done | cut -d: -f1 | sort -u | paste -sd,
}

mkdir -p "$cache"
packages=systemd,systemd-sysv,procps,$(libraries)
# Another list of packages is another root.
image=$cache/$codename-$(echo "$packages" | cksum | cut -d' ' -f1).tar
if [ ! -e "$image" ]; then
	echo "making a root of $codename with $packages"
	timeout 180 mmdebstrap --quiet --variant=minbase --include="$packages" "$codename" \
		"${image%.tar}.new.tar" >"$cache/mmdebstrap.log" 2>&1 || {
		rm -f "${image%.tar}.new.tar"
		tail -n 3 "$cache/mmdebstrap.log"
		skip "mmdebstrap can't make a root; see nspawn/mmdebstrap.log"
	}
	mv "${image%.tar}.new.tar" "$image"
fi
root=$(mktemp -d "$cache/root.XXXXXX")
tar -x -f "$image" -C "$root" --exclude='./dev/*'
write_conf()
{
	cat >"$root$conf" <<-END
		[defaults]
		url = local:
		[mutex backup]
		key = backup
		[mutex far]
		url = unix:///nowhere/redis.sock
	END
}

if [ -n "${DEBS:-}" ]; then
	mkdir "$root/debs"
	cp "$DEBS"/redmutexd_*.deb "$root/debs/old.deb"
	# The next version differs in nothing but its number.
	dpkg-deb -R "$root/debs/old.deb" "$root/debs/next"
	sed -i 's/^Version: .*/&+next/' "$root/debs/next/DEBIAN/control"
	dpkg-deb -b "$root/debs/next" "$root/debs/next.deb" >/dev/null
	conf=/etc/redmutexd.ini
	daemon=/usr/sbin/redmutexd
	redmutex=/usr/bin/redmutex
else
	make -s install DESTDIR="$root" >"$cache/install.log" 2>&1
	prefix=$(sed -n 's/^prefix = //p' Makefile)
	unit=$(find "$root" -name redmutexd.service | head -n 1)
	conf=$(sed -n 's/^ExecStart=.* -c //p' "$unit")
	daemon=$(sed -n 's/^ExecStart=\([^ ]*\) .*/\1/p' "$unit")
	redmutex=$prefix/bin/redmutex
	write_conf
	systemd-sysusers --root="$root" "$root$prefix/lib/sysusers.d/redmutexd.conf" >/dev/null 2>&1
fi
rm -f "$root/etc/machine-id"
mkdir -p "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\n' >"$root/etc/systemd/journald.conf.d/test.conf"

# ---------------------------------------------------------------------- inside
inside()
{
	nsenter --target "$leader" --mount --uts --ipc --net --pid --cgroup --root --wd=/ -- \
		/usr/bin/env -i LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_PAGER= "$@"
}

fail()
{
	echo "FAILED: $*"
	inside systemctl status --no-pager --lines=0 redmutexd.service redmutexd.socket || true
	inside journalctl --no-pager -b -n 50 -u redmutexd.service -u redmutexd.socket || true
	exit 1
}

# await WHAT COMMAND...: until it is so, for 20 s
await()
{
	local what=$1 i
	shift
	for ((i = 0; i < 200; i++)); do
		if "$@"; then
			return 0
		fi
		sleep 0.1
	done
	fail "$what: it does not come to that"
}

property()
{
	inside systemctl show --value --property="$1" redmutexd.service
}

is_state()
{
	[ "$(inside systemctl is-active "$1" || true)" = "$2" ]
}

# has_journal TEXT: of what the daemon itself said
has_journal()
{
	inside journalctl --no-pager -b -o cat -u redmutexd.service | grep -qF -- "$1"
}

passed=0
ok()
{
	passed=$((passed + 1))
	echo "ok: $*"
}

# Network of its own: the container needs none.
systemd-nspawn --quiet --directory="$root" --boot --register=no --keep-unit --console=passive \
	--private-network --link-journal=no --settings=no </dev/null >"$cache/boot.log" 2>&1 &
nspawn=$!
is_booted()
{
	kill -0 "$nspawn" 2>/dev/null || {
		nspawn=
		tail -n 5 "$cache/boot.log"
		skip "systemd-nspawn can't boot here; see nspawn/boot.log"
	}
	leader=$(pgrep -P "$nspawn" | head -n 1)
	[ -n "$leader" ] && [ "$(cat "/proc/$leader/comm" 2>/dev/null)" = systemd ] &&
		inside systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded'
}
await "booting" is_booted
ok "booted"

# ---------------------------------------------------------------------- what is to be so
if [ -n "${DEBS:-}" ]; then
	inside dpkg --install /debs/old.deb >"$cache/install.log" 2>&1 || {
		cat "$cache/install.log"
		fail "dpkg --install"
	}
	for unit in redmutexd.service redmutexd.socket; do
		is_state "$unit" active || fail "$unit does not run when it was installed"
		inside systemctl --quiet is-enabled "$unit" || fail "$unit is not enabled"
	done
	inside getent group redmutex >/dev/null || fail "there is no group redmutex"
	inside "$redmutex" ping >/dev/null || fail "it is installed, and does not answer"
	write_conf
	inside systemctl reload redmutexd.service
	ok "package: installing it gives a service that runs"
fi

inside systemctl start redmutexd.service || fail "start"
inside "$redmutex" ping >/dev/null || fail "it is started, and does not answer"
[ "$(inside ps -o user= -p "$(property MainPID)")" = redmutex ] || fail "it runs as somebody else"
ok "start: ready when it serves, as its own user"

[ "$(inside stat -c '%U %G %a' /run/redmutexd/redmutexd.sock)" = "root redmutex 660" ] ||
	fail "the socket is somebody else's: $(inside stat -c '%U %G %a' /run/redmutexd/redmutexd.sock)"
inside "$redmutex" run backup -- /bin/true || fail "a lock"
ok "a lock over the socket of the unit"

inside systemctl stop redmutexd.service 2>/dev/null
is_state redmutexd.service inactive || fail "stop"
[ "$(property Result)" = success ] || fail "it ended with $(property Result)"
has_journal stopping || fail "it did not stop by itself"
ok "stop: in good order"

is_state redmutexd.socket active || inside systemctl start redmutexd.socket
is_state redmutexd.service inactive || fail "the socket alone started the daemon"
inside "$redmutex" ping >/dev/null || fail "no answer over a socket that waits"
is_state redmutexd.service active || fail "the daemon was not activated"
ok "activation: the first client starts it"

pid=$(property MainPID)
printf '[mutex new]\nkey = new\n' >>"$root$conf"
inside systemctl reload redmutexd.service || fail "reload"
await "a new mutex" inside "$redmutex" run new -- /bin/true
printf '[mutex new]\nkey = new\n' >>"$root$conf"
inside systemctl reload redmutexd.service || true
await "a faulty reload is told" has_journal "is not taken over"
inside "$redmutex" run new -- /bin/true || fail "a faulty reload changed something"
[ "$(property MainPID)" = "$pid" ] || fail "it was restarted by a reload"
ok "reload: taken over, and refused when faulty"
sed -i '$d' "$root$conf"
sed -i '$d' "$root$conf"

inside "$redmutex" run -n far -- /bin/true 2>/dev/null && fail "a lock without its store"
inside sh -c "$redmutex run backup -- sleep 60 & sleep 0.5; $redmutex break backup; wait" 2>/dev/null || true
for field in MUTEX STORE PID; do
	inside journalctl --no-pager -b -o export -u redmutexd.service | grep -a "^$field=" \
		>/dev/null || fail "no $field= in the journal"
done
ok "journal: MUTEX=, STORE= and PID="

inside "$redmutex" run backup -- /bin/sleep 20 2>/dev/null &
holder=$!
is_held()
{
	! inside "$redmutex" run -n backup -- /bin/true 2>/dev/null
}
await "a holder" is_held
if [ -n "${DEBS:-}" ]; then
	inside dpkg --force-confold --install /debs/next.deb >"$cache/install.log" 2>&1 || {
		cat "$cache/install.log"
		fail "dpkg --install of the next version"
	}
	! grep -F "restarting it" "$cache/install.log" || fail "it was restarted"
else
	# As a package does it: the file is another one now.
	cp "$root$daemon" "$root$daemon.new"
	mv "$root$daemon.new" "$root$daemon"
	inside systemctl kill --kill-whom=main --signal=SIGUSR2 redmutexd.service
fi
is_new()
{
	[ "$(inside readlink "/proc/$pid/exe")" = "$daemon" ]
}
await "the new program" is_new
is_held || fail "the upgrade lost a lock"
[ "$(property MainPID)" = "$pid" ] || fail "the upgrade took another process"
is_state redmutexd.service active || fail "it is not active after the upgrade"
kill "$holder" 2>/dev/null || true
wait "$holder" 2>/dev/null || true
ok "upgrade: the same process, the same locks"

mkdir -p "$root/etc/systemd/system/redmutexd.service.d"
printf '[Service]\nWatchdogSec=1\nTimeoutAbortSec=2\n' \
	>"$root/etc/systemd/system/redmutexd.service.d/test.conf"
inside systemctl daemon-reload
inside systemctl restart redmutexd.service || fail "restart"
pid=$(property MainPID)
sleep 2
[ "$(property MainPID)" = "$pid" ] || fail "it does not feed its watchdog"
inside kill -STOP "$pid"
is_another()
{
	[ "$(property MainPID)" != "$pid" ] && is_state redmutexd.service active
}
await "a restart by the watchdog" is_another
[ "$(property NRestarts)" = 1 ] || fail "it was restarted $(property NRestarts) times"
inside "$redmutex" ping >/dev/null || fail "no answer after the restart"
ok "watchdog: a daemon that hangs is restarted"

inside systemd-analyze security --threshold=18 --no-pager redmutexd.service >"$cache/security.log" || {
	cat "$cache/security.log"
	fail "its sandbox is too wide"
}
ok "sandbox: $(tail -n 1 "$cache/security.log" | grep -oE '[0-9]\.[0-9] [A-Z]+')"

inside systemctl stop redmutexd.socket redmutexd.service
[ "$(property Result)" = success ] || fail "it ended with $(property Result)"
inside test ! -e /run/redmutexd/redmutexd.sock || fail "the socket was left"
ok "stop: nothing is left"

if [ -n "${DEBS:-}" ]; then
	inside dpkg --purge redmutexd >"$cache/install.log" 2>&1 || {
		cat "$cache/install.log"
		fail "dpkg --purge"
	}
	for path in "$conf" /run/redmutexd /var/lib/redmutexd "$daemon"; do
		inside test ! -e "$path" || fail "$path is left after a purge"
	done
	ok "package: nothing is left of it"
fi
echo "$passed passed in $SECONDS s"
