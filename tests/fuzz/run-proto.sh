#!/bin/sh
# SPDX-License-Identifier: MIT
# Fuzzes proto/ for a bounded time: with libFuzzer where clang has it, else with seeded mutations.
# Run from the build folder; `srcdir` is the top of the sources. Longer and otherwise:
#	FUZZ_RUNS=100000000 FUZZ_SECONDS=3600 FUZZ_SEED=7 srcdir=.. ../tests/fuzz/run-proto.sh
set -eu

srcdir=${srcdir:-.}
clang=${CLANG:-clang}
runs=${FUZZ_RUNS:-200000}
seconds=${FUZZ_SECONDS:-60}
seed=${FUZZ_SEED:-1}
sanitize=-fsanitize=fuzzer,address,undefined
fuzz=$srcdir/tests/fuzz

mkdir -p tests/fuzz
work=$(mktemp -d tests/fuzz/run-proto.XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# Sources may be read-only, and libFuzzer adds what it finds to the folder that it is given.
mkdir "$work/corpus"
for input in "$fuzz"/corpus/proto/*; do
	cat "$input" >"$work/corpus/${input##*/}"
done

# Does it compile, link and run? That of clang can be there without its runtime.
echo 'int LLVMFuzzerTestOneInput(const unsigned char *, unsigned long);
int LLVMFuzzerTestOneInput(const unsigned char *data, unsigned long size) { return !data && size; }' \
	>"$work/probe.c"
if "$clang" $sanitize -o "$work/probe" "$work/probe.c" 2>"$work/probe.log" &&
	"$work/probe" -runs=1 2>>"$work/probe.log"; then
	"$clang" -std=gnu11 -g -O1 $sanitize -fno-sanitize-recover=all -I. -I"$srcdir" \
		-o "$work/fuzz_proto" "$fuzz/fuzz_proto.c" \
		"$srcdir/proto/line.c" "$srcdir/proto/name.c" "$srcdir/proto/proto.c" \
		"$srcdir/proto/reply.c" "$srcdir/proto/request.c"
	"$work/fuzz_proto" -runs="$runs" -max_total_time="$seconds" -max_len=1200 -seed="$seed" \
		-artifact_prefix=tests/fuzz/proto- "$work/corpus"
else
	echo "no libFuzzer here ($clang); mutations of the corpus instead"
	tests/fuzz/replay_proto "$seed" "$runs" "$work/corpus"
fi
