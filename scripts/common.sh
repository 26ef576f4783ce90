# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034
#
# What the scripts share: to be sourced by bash, from anywhere, with the tree's top as $top after.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Nothing of the caller's surroundings may change what is built and tested.
export LC_ALL=C.UTF-8
unset LANGUAGE CDPATH GREP_OPTIONS REDMUTEX_SOCKET NOTIFY_SOCKET WATCHDOG_USEC WATCHDOG_PID
unset LISTEN_FDS LISTEN_PID LISTEN_FDNAMES JOURNAL_STREAM MAKEFLAGS MFLAGS MAKELEVEL
unset "${!CK_@}" "${!ASAN_@}" "${!UBSAN_@}"

die()
{
	echo "${0##*/}: $*" >&2
	exit 1
}

# ---------------------------------------------------------------------- packages
# A row a package of Debian 12 and 13: its name, and how to see that what it brings is there, from
# whatever source: cmd COMMAND, pc PKG-CONFIG-MODULE, hdr HEADER, clang SANITIZERS.
packages_build='
gcc                cmd gcc
libc6-dev          hdr stdlib.h
make               cmd make
autoconf           cmd autoreconf
automake           cmd automake
libtool            cmd libtoolize
pkg-config         cmd pkg-config
libevent-dev       pc  libevent_extra
libhiredis-dev     pc  hiredis
libinih-dev        pc  inih
uthash-dev         hdr uthash.h
libsystemd-dev     pc  libsystemd
'
# TLS needs a hiredis that has it, which Debian 12 has not.
case $(. /etc/os-release 2>/dev/null && echo "${VERSION_ID:-}") in
12) ;;
*) packages_build+='libssl-dev         pc  openssl
' ;;
esac
packages_quickstart="$packages_build
redis-server       cmd redis-server
redis-tools        cmd redis-cli
procps             cmd ps
"
packages_test="$packages_quickstart
check              pc  check
g++                cmd g++
binutils           cmd nm
openssl            cmd openssl
mandoc             cmd mandoc
python3            cmd python3
"
# The version of clang is in the name of what its sanitizers and its fuzzer need.
case $(. /etc/os-release 2>/dev/null && echo "${VERSION_ID:-}") in
13) clang_rt=libclang-rt-19-dev ;;
*) clang_rt=libclang-rt-14-dev ;;
esac
packages_ci="$packages_test
git                cmd git
clang              cmd clang
$clang_rt clang fuzzer,address,undefined
clang-format       cmd clang-format
clang-tidy         cmd clang-tidy
cppcheck           cmd cppcheck
valgrind           cmd valgrind
shellcheck         cmd shellcheck
systemd            cmd systemd-analyze
systemd-container  cmd systemd-nspawn
mmdebstrap         cmd mmdebstrap
xz-utils           cmd xz
zsh                cmd zsh
fish               cmd fish
"
packages_bench="$packages_quickstart
strace             cmd strace
"

# is_there KIND THING
is_there()
{
	case $1 in
	cmd) command -v "$2" >/dev/null ;;
	pc) command -v pkg-config >/dev/null && pkg-config --exists "$2" ;;
	clang)
		echo 'int LLVMFuzzerTestOneInput(void); int LLVMFuzzerTestOneInput(void) { return 0; }' |
			clang -fsanitize="$2" -x c -o /dev/null - 2>/dev/null
		;;
	hdr) command -v gcc >/dev/null && echo "#include <$2>" | gcc -E - >/dev/null 2>&1 ;;
	esac
}

# missing_packages ROWS: the names of what is not there
missing_packages()
{
	local name kind thing

	while read -r name kind thing; do
		if [ -n "$name" ] && ! is_there "$kind" "$thing"; then
			echo "$name"
		fi
	done <<<"$1"
}

# Runs a command as root: as we are, or with sudo.
as_root()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo -- "$@"
	fi
}

# deps_install ROWS: installs what is missing; needs neither network nor root when nothing is
deps_install()
{
	local missing policy=/usr/sbin/policy-rc.d own_policy='' status=0

	mapfile -t missing < <(missing_packages "$1")
	[ ${#missing[@]} -gt 0 ] || return 0
	echo "missing here: ${missing[*]}"
	command -v apt-get >/dev/null ||
		die "there is no apt-get here: install what these Debian packages bring, then try again"
	[ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
		die "run this as root, or as root: apt-get install ${missing[*]}"

	# redis-server would start a Redis on port 6379, which nobody asked for.
	if [ ! -e "$policy" ]; then
		own_policy=yes
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
		as_root chmod 755 "$policy"
	fi
	# shellcheck disable=SC2016 # they are the inner shell's
	as_root env DEBIAN_FRONTEND=noninteractive sh -e -c '
		apt="apt-get -q -y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0"
		$apt update
		$apt install --no-install-recommends "$@"' sh "${missing[@]}" || status=$?
	[ -z "$own_policy" ] || as_root rm -f "$policy"
	[ "$status" = 0 ] || die "the packages could not be installed"
	# Nor shall it start with the next boot.
	case " ${missing[*]} " in
	*" redis-server "*)
		if command -v systemctl >/dev/null; then
			as_root systemctl --quiet disable redis-server.service 2>/dev/null || true
		fi
		;;
	esac
	mapfile -t missing < <(missing_packages "$1")
	[ ${#missing[@]} = 0 ] ||
		die "installed, but not found: what these packages bring: ${missing[*]}"
}

# ---------------------------------------------------------------------- building
# Chooses $build: $BUILD_DIR if that is set, the tree itself if it is configured, since then
# nothing can be built elsewhere, or else build/.
choose_build()
{
	if [ -n "${BUILD_DIR:-}" ]; then
		build=$BUILD_DIR
	elif [ -e "$top/config.status" ]; then
		build=$top
	else
		build=$top/build
	fi
	mkdir -p "$build"
	build=$(cd "$build" && pwd)
}

# Is $build configured as is asked for now? What is asked for is kept beside it.
configured()
{
	[ -e "$build/config.status" ] && [ -e "$build/Makefile" ] || return 1
	# Without instructions any configuration is a good one.
	[ -n "${CC:-}${CFLAGS:-}${CONFIGURE_ARGS:-}" ] || return 0
	[ "$(cat "$build/.configured-for" 2>/dev/null)" = \
		"${CC:-}|${CFLAGS:-}|${CONFIGURE_ARGS:-}" ]
}

# Configures in $build, if that was not done yet, from CC, CFLAGS and CONFIGURE_ARGS.
configure_build()
{
	local args=()

	if [ ! -e "$top/configure" ] || [ ! -e "$top/Makefile.in" ]; then
		echo "autoreconf"
		(cd "$top" && autoreconf -fi >"$build/autoreconf.log" 2>&1) || {
			cat "$build/autoreconf.log"
			die "autoreconf failed"
		}
	fi
	configured && return 0
	[ -z "${CC:-}" ] || args+=("CC=$CC")
	[ -z "${CFLAGS:-}" ] || args+=("CFLAGS=$CFLAGS")
	echo "configure${args:+ ${args[*]}}${CONFIGURE_ARGS:+ $CONFIGURE_ARGS}, in $build"
	# shellcheck disable=SC2086 # they are several words
	(cd "$build" && "$top/configure" -q "${args[@]}" ${CONFIGURE_ARGS:-}) ||
		die "configure failed; see $build/config.log"
	echo "${CC:-}|${CFLAGS:-}|${CONFIGURE_ARGS:-}" >"$build/.configured-for"
}

jobs_here()
{
	nproc 2>/dev/null || echo 2
}
