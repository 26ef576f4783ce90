#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The manual pages are well-formed mdoc(7). Skipped where there is no mandoc.
set -euo pipefail
export LC_ALL=C

srcdir=${srcdir:-.}
command -v mandoc >/dev/null || {
	echo "mandoc is not installed"
	exit 77
}
mapfile -t pages < <(cd "$srcdir" && find proto daemon client -name '*.[1-9]' | sort)
[ ${#pages[@]} -gt 0 ] || {
	echo "there are no manual pages in $srcdir"
	exit 1
}
cd "$srcdir"
# A reference to a page of another package is no fault where that package is not installed.
if mandoc -Tlint -Wstyle "${pages[@]}" 2>&1 | grep -v 'referenced manual not found'; then
	exit 1
fi
echo "${#pages[@]} pages are in order: ${pages[*]}"
