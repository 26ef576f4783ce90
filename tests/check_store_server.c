/* SPDX-License-Identifier: MIT */
/* The tests' own redis-server: is it what the other tests take it for? */
#include "config.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "redis_server.h"
#include "suite.h"

START_TEST(a_server_is_started_asked_and_leaves_nothing)
	{
		struct redis_server server;
		char dir[sizeof(server.dir)];
		pid_t pid;

		redis_server_start(&server, true, (const char *[]){"--databases", "3", NULL});
		ck_assert_int_gt(server.port, 0);
		ck_assert_str_eq(redis_server_ask(&server, "SET a b"), "OK");
		ck_assert_str_eq(redis_server_ask(&server, "GET a"), "b");
		ck_assert_str_eq(redis_server_ask(&server, "CONFIG GET databases"), "databases 3");
		ck_assert_int_eq(redis_server_ask_integer(&server, "DEL a"), 1);
		ck_assert_str_eq(redis_server_ask(&server, "GET a"), "(nil)");
		redis_server_pause(&server);
		redis_server_resume(&server);
		pid = server.pid;
		redis_server_restart(&server);
		ck_assert_int_ne(server.pid, pid);
		pid = server.pid;
		memcpy(dir, server.dir, sizeof(dir));
		redis_server_stop(&server);
		ck_assert_int_ne(kill(pid, 0), 0);
		ck_assert_int_ne(access(dir, F_OK), 0);
	}
END_TEST

START_TEST(a_server_dies_with_the_process_that_started_it)
	{
		int fds[2];
		char byte;
		pid_t child;

		/* The server inherits the pipe's end: reading ends when both are gone. */
		ck_assert_int_eq(pipe(fds), 0);
		child = fork();
		if (child == 0) {
			struct redis_server server;

			redis_server_start(&server, false, NULL);
			unlink(server.path);
			rmdir(server.dir);
			_exit(0);
		}
		close(fds[1]);
		ck_assert_int_eq(read(fds[0], &byte, 1), 0);
		ck_assert_int_eq(waitpid(child, NULL, 0), child);
		close(fds[0]);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("redis_server");
	TCase *tcase = tcase_create("server");

	if (!redis_server_installed())
		return 77;
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, a_server_is_started_asked_and_leaves_nothing);
	tcase_add_test(tcase, a_server_dies_with_the_process_that_started_it);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
