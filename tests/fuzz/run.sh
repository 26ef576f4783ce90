#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs every fuzzing target over its inputs and over seeded mutations of them, for some seconds.
# Run from the build folder; `srcdir` is the top of the sources. Longer and otherwise:
#	FUZZ_PERCENT=10000 FUZZ_SEED=7 srcdir=.. ../tests/fuzz/run.sh
# With libFuzzer, which learns from what it reaches: scripts/fuzz.
set -eu

corpus=${srcdir:-.}/tests/fuzz/corpus

# Their speeds differ: each has about as much time.
run()
{
	printf '%s: ' "$1"
	"tests/fuzz/fuzz_$1" "${FUZZ_SEED:-1}" $(($2 * ${FUZZ_PERCENT:-100} / 100)) "$corpus/$1"
}

run proto 200000
run reply 100000
run state 200000
run conf 20000
