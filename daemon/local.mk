# SPDX-License-Identifier: MIT
man_MANS += daemon/redmutexd.8
EXTRA_DIST += daemon/redmutexd.8
