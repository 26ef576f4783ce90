/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_TESTS_SUITE_H
#define REDMUTEXD_TESTS_SUITE_H
/* What main() of every test program ends with. */
#include <check.h>
#include <stdlib.h>

/*
 * suite_run - run the tests of a suite, which is freed
 *
 * CK_RUN_CASE, CK_FORK and CK_VERBOSITY in the environment do what Check's manual says.
 * Return: the exit status of the program.
 */
static inline int suite_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int n_failed;

	srunner_run_all(runner, CK_ENV);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
