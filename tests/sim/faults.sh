#!/bin/sh
# SPDX-License-Identifier: MIT
# The simulation must notice every deliberate mistake of daemon/core/faults.def.
sim=${SIM:-tests/sim/sim}
n=0 missed=0
for fault in $("$sim" --list-faults | cut -d' ' -f1); do
	n=$((n + 1))
	case $fault in
	quorum_*) worlds="--seeds 1-2000 --nodes 3" ;;
	*) worlds="--seeds 1-2000" ;;
	esac
	# shellcheck disable=SC2086
	if out=$("$sim" $worlds --fault "$fault"); then
		echo "not noticed: $fault"
		missed=$((missed + 1))
	else
		echo "$fault: $(echo "$out" | grep -a '^FAIL' || echo "$out" | tail -n 3)"
	fi
done
echo "$n mistakes, $missed not noticed"
[ "$n" -gt 0 ] && [ "$missed" -eq 0 ]
