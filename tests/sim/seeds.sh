#!/bin/sh
# SPDX-License-Identifier: MIT
# Some millions of steps: no promise may be broken. More of them: SIM_SEEDS=1-100000.
exec "${SIM:-tests/sim/sim}" --seeds "${SIM_SEEDS:-1-600}"
