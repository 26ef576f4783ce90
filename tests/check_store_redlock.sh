#!/bin/bash
# SPDX-License-Identifier: MIT
#
# On the same five servers the daemon and node-redlock exclude one another, also with two of the
# servers gone. Skipped where node, npm, redis-server or the packages of npm are not to be had.
set -euo pipefail
export LC_ALL=C

srcdir=$(cd "${srcdir:-.}" && pwd)
skip() {
	echo "skipped: $1"
	exit 77
}
fail() {
	echo "failed: $1"
	exit 1
}
for tool in node npm redis-server redis-cli; do
	command -v "$tool" >/dev/null || skip "$tool is not installed"
done

# The packages, of these very versions, stay in the build folder.
peers=$PWD/tests/redlock_peer
mkdir -p "$peers"
cat >"$peers/package.json" <<-END
	{"private": true, "dependencies": {"redlock": "5.0.0-beta.2", "ioredis": "5.4.1"}}
END
if [ ! -d "$peers/node_modules/redlock" ] || [ ! -d "$peers/node_modules/ioredis" ]; then
	(cd "$peers" && timeout 120 npm install --no-audit --no-fund --ignore-scripts --silent) ||
		skip "npm cannot get the packages"
fi

dir=$(mktemp -d)
pids=()
stop() {
	exec 3>&- 4<&- || true
	for pid in "${pids[@]}"; do
		kill "$pid" 2>/dev/null || true
	done
	wait
	rm -rf "$dir"
}
trap stop EXIT

# await COMMAND ...: until it succeeds
await() {
	for _ in $(seq 200); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.05
	done
	fail "$* never succeeded"
}

urls=
sockets=()
servers=()
for i in 1 2 3 4 5; do
	redis-server --port 0 --unixsocket "$dir/r$i" --save '' --dir "$dir" --daemonize no \
		>"$dir/r$i.log" &
	pids+=($!)
	servers+=($!)
	sockets+=("$dir/r$i")
	urls+=" unix://$dir/r$i"
done
for socket in "${sockets[@]}"; do
	await redis-cli -s "$socket" ping
done
cat >"$dir/r.ini" <<-END
	[redmutexd]
	socket = $dir/sock
	[mutex m]
	url =$urls
	key = peer
	expiration_in_seconds = 30
END
daemon/redmutexd -c "$dir/r.ini" 2>"$dir/daemon.log" &
pids+=($!)
export REDMUTEX_SOCKET=$dir/sock
await client/redmutex ping

mkfifo "$dir/in" "$dir/out"
NODE_PATH=$peers/node_modules node "$srcdir/tests/redlock_peer.js" peer "${sockets[@]}" \
	<"$dir/in" >"$dir/out" &
pids+=($!)
exec 3>"$dir/in" 4<"$dir/out"
# peer WORD: what node-redlock makes of it
peer() {
	echo "$1" >&3
	read -r -t 20 answer <&4 || fail "node-redlock did not answer $1"
	echo "$answer"
}
is() {
	[ "$2" = "$3" ] || fail "$1: expected $3, got $2"
}

round() {
	lock=$(client/redmutex acquire -n --detach m) || fail "$1: we cannot have a free mutex"
	is "$1: ours" "$(peer acquire)" held
	client/redmutex release m "$lock"
	is "$1: ours was released" "$(peer acquire)" ok
	client/redmutex exists m || fail "$1: theirs is not seen"
	status=0
	client/redmutex acquire -n --detach m || status=$?
	is "$1: theirs" "$status" 1
	is "$1: theirs, kept" "$(peer extend)" ok
	is "$1: theirs, released" "$(peer release)" ok
}

round "five servers"
for server in "${servers[0]}" "${servers[3]}"; do
	kill -KILL "$server"
	wait "$server" 2>/dev/null || true
done
round "three of five servers"
echo "node-redlock and the daemon exclude one another"
