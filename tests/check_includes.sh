#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Which room may know which, and that each header stands alone. Reads the sources in $srcdir,
# compiles headers with $CC, and looks into the objects that were built in the current folder.
set -euo pipefail
export LC_ALL=C

srcdir=${srcdir:-.}
CC=${CC:-cc}
CPPFLAGS=${CPPFLAGS:-}
build=$PWD
faults=$(mktemp)
trap 'rm -f "$faults"' EXIT

fault()
{
	echo "$*" | tee -a "$faults"
}

# room_of FILE: the row of the table below that rules it
room_of()
{
	case $1 in
	proto/*) echo proto ;;
	daemon/util/*) echo util ;;
	daemon/core/*) echo core ;;
	daemon/store/*) echo store ;;
	daemon/conf/*) echo conf ;;
	daemon/serve/*) echo serve ;;
	daemon/*) echo main ;;
	client/redmutex.h) echo public ;;
	client/redmutex.c | client/cmd*) echo command ;;
	client/*) echo library ;;
	esac
}

# own headers that a room may include, as a pattern of what stands between the quotes
own_allowed()
{
	case $1 in
	proto) echo 'proto/*|*.def' ;;
	util) echo 'util/*' ;;
	core) echo 'core/*|util/*|proto/name.h' ;;
	store) echo 'store/*|core/*|util/*' ;;
	conf) echo 'conf/*|core/*|store/open.h|util/*|proto/*' ;;
	serve) echo 'serve/*|conf/*|core/*|store/open.h|util/*|proto/*' ;;
	main) echo 'serve/*|conf/*|core/*|store/open.h|util/*|proto/*' ;;
	public) echo '' ;;
	command) echo 'redmutex.h|client/redmutex.h|cmd.h|client/cmd*.h' ;;
	library) echo 'client/*|redmutex.h|proto/*' ;;
	esac
}

# system headers that a room must not include
system_forbidden()
{
	local world='event.h|event2/*|hiredis/*|ini.h|systemd/*'
	local sockets='sys/socket.h|sys/un.h|sys/epoll.h|poll.h|netinet/*|arpa/*|netdb.h'

	case $1 in
	proto | core) echo "$world|$sockets|time.h|sys/time.h" ;;
	util) echo "event.h|event2/*|hiredis/*|ini.h" ;;
	store) echo "ini.h|systemd/*" ;;
	conf) echo "event.h|event2/*|hiredis/*|systemd/*|$sockets" ;;
	serve) echo "hiredis/*|ini.h" ;;
	main) echo "hiredis/*|ini.h" ;;
	public) echo "$world|$sockets" ;;
	command | library) echo "$world|uthash.h" ;;
	esac
}

# matches TEXT PATTERN|PATTERN...
matches()
{
	local text=$1 pattern
	local IFS='|'

	set -f
	for pattern in $2; do
		# shellcheck disable=SC2254 # it is a pattern
		case $text in
		$pattern)
			set +f
			return 0
			;;
		esac
	done
	set +f
	return 1
}

sources()
{
	(cd "$srcdir" && find proto daemon client -name '*.[ch]' | sort)
}

n=0
for file in $(sources); do
	room=$(room_of "$file")
	n=$((n + 1))
	while read -r line; do
		what=${line#*:}
		case $what in
		'"'*)
			name=${what#\"}
			name=${name%\"}
			[ "$name" = config.h ] && continue
			matches "$name" "$(own_allowed "$room")" ||
				fault "$file:${line%%:*}: $room must not know $what"
			;;
		'<'*)
			name=${what#<}
			name=${name%>}
			! matches "$name" "$(system_forbidden "$room")" ||
				fault "$file:${line%%:*}: $room must not know $what"
			;;
		esac
	done < <(sed -nE '/^[ \t]*#[ \t]*include/{=;s/^[ \t]*#[ \t]*include[ \t]*(["<][^">]*[">]).*/\1/p}' \
		"$srcdir/$file" | paste -d: - -)
done
echo "$n files looked at for what they include"

# Headers are compiled twice in one file, which proves the guard too.
n=0
for file in $(sources | grep '\.h$'); do
	n=$((n + 1))
	# shellcheck disable=SC2086 # these are lists
	printf '#include "%s"\n#include "%s"\n' "$file" "$file" |
		$CC $CPPFLAGS -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -I"$build" -I"$srcdir" \
			-I"$srcdir/daemon" -fsyntax-only -x c - ||
		fault "$file: does not compile by itself"
done
echo "$n headers compiled by themselves"

# What was built shows what no include does: a declaration of one's own, or a libc call.
forbidden='socket|connect|bind|listen|accept4?|send(to|msg)?|recv(from|msg)?|poll|epoll_.*|select'
forbidden+='|event_.*|evbuffer_.*|bufferevent_.*|redis.*|sd_.*'
forbidden+='|time|gettimeofday|clock_gettime|getrandom|random|rand'
for room in proto daemon/core; do
	extra=
	[ "$room" = proto ] && extra='|malloc|calloc|realloc|reallocarray|strn?dup|v?asprintf|open|read|write'
	objects=$(find "$room" -name '*.o' -path '*.libs*')
	[ -n "$objects" ] || objects=$(find "$room" -name '*.o')
	if [ -z "$objects" ]; then
		fault "$room: there are no objects in $build"
		continue
	fi
	for object in $objects; do
		hits=$(nm -u "$object" | awk '{ sub(/@.*/, "", $2); print $2 }' |
			grep -xE "$forbidden$extra" | tr '\n' ' ') || true
		[ -z "$hits" ] || fault "$object: $room must not call $hits"
	done
	echo "$room: $(echo "$objects" | wc -w) objects looked at for what they call"
done

[ ! -s "$faults" ]
