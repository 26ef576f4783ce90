# SPDX-License-Identifier: MIT
# A fragment a room, so that who works on one touches no other.
if HAVE_CHECK
include tests/proto.mk
include tests/util.mk
include tests/core.mk
include tests/store.mk
include tests/conf.mk
include tests/serve.mk
include tests/client.mk
include tests/sim.mk
include tests/fuzz.mk
include tests/tree.mk
endif

# What every test program ends with.
EXTRA_DIST += tests/suite.h
