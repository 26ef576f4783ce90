# SPDX-License-Identifier: MIT
# What holds for the tree as a whole.
tree_tests = \
	tests/check_completion.py \
	tests/check_entries.sh \
	tests/check_examples.py \
	tests/check_includes.sh \
	tests/check_manuals.sh \
	tests/check_terminal.py \
	tests/check_units.sh
TESTS += $(tree_tests)
EXTRA_DIST += $(tree_tests) tests/systemd-nspawn.sh
EXTRA_DIST += examples/order.c tests/terminal.py
AM_TESTS_ENVIRONMENT += CXX='$(CXX)'; export CXX;
