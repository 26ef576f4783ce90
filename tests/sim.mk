# SPDX-License-Identifier: MIT
EXTRA_DIST += \
	daemon/core/fault.h \
	daemon/core/faults.def
