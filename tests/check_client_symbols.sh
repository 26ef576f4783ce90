#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The library exports what libredmutex.sym lists and redmutex.h declares, no more and no less; it
# needs libc alone; and each function is in the manual.
set -euo pipefail
export LC_ALL=C

srcdir=${srcdir:-.}
library=client/.libs/libredmutex.so
header=$srcdir/client/redmutex.h
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

[ -e "$library" ] || { echo "there is no shared library here"; exit 77; }

nm -D --defined-only "$library" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort >"$folder/exported"
sed -n 's/^\t\(redmutex_[a-z_]*\);$/\1/p' "$srcdir/client/libredmutex.sym" | sort >"$folder/listed"
tr '\n' ' ' <"$header" | grep -o 'REDMUTEX_EXPORT [^(;]*(' | sed 's/(//; s/.*[ *]//' | grep '^redmutex_' | sort >"$folder/declared"

diff "$folder/listed" "$folder/exported" || { echo "exported is not what is listed"; exit 1; }
diff "$folder/listed" "$folder/declared" || { echo "declared is not what is listed"; exit 1; }

# A sanitizer's library is the build's own affair.
needed=$(objdump -p "$library" | awk '$1 == "NEEDED" { print $2 }' | grep -vE '^lib(asan|ubsan|tsan)\.so')
case $needed in
libc.so.*) ;;
*)
	echo "the library needs more than libc: $needed"
	exit 1
	;;
esac

while read -r function; do
	grep -q "^\.Fn $function\b\|^\.Fo $function\b" "$srcdir/client/libredmutex.3" ||
		{ echo "libredmutex.3 lacks $function"; exit 1; }
done <"$folder/listed"
