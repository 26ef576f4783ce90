#!/bin/sh
# SPDX-License-Identifier: MIT
# Some millions of steps: no promise may be broken. More of them: SIM_SEEDS=1-100000.
sim=${SIM:-tests/sim/sim}
"$sim" --seeds "${SIM_SEEDS:-1-2000}" || exit
"$sim" --seeds "${SIM_NODES_SEEDS:-1-300}" --nodes 3 || exit
exec "$sim" --seeds "${SIM_NODES_SEEDS:-1-150}" --nodes 5
