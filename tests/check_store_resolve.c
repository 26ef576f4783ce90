/* SPDX-License-Identifier: MIT */
/* Host names: a name server that hangs holds up nobody but who asked for that name. */
#include "config.h"

#include <check.h>
#include <dirent.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis_server.h"
#include "store_bench.h"
#include "suite.h"

/* While this is closed, names that end in .hang are looked up without end. */
static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_opened = PTHREAD_COND_INITIALIZER;
static bool gate_is_open;
static unsigned n_lookups;

/* Takes the place of the C library's. */
int getaddrinfo(const char *restrict host, const char *restrict service,
		const struct addrinfo *restrict hints, struct addrinfo **restrict list)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	const char *tail = strrchr(host, '.');

	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (!tail || strcmp(tail, ".hang") != 0)
		return real(host, service, hints, list);
	if (hints->ai_flags & AI_NUMERICHOST)
		return EAI_NONAME;
	pthread_mutex_lock(&gate_lock);
	n_lookups++;
	while (!gate_is_open)
		pthread_cond_wait(&gate_opened, &gate_lock);
	pthread_mutex_unlock(&gate_lock);
	return real("127.0.0.1", service, hints, list);
}

static void set_gate(bool is_open)
{
	pthread_mutex_lock(&gate_lock);
	gate_is_open = is_open;
	pthread_cond_broadcast(&gate_opened);
	pthread_mutex_unlock(&gate_lock);
}

static struct bench bench;
static struct redis_server server;
static struct store_key key;
static char hanging_url[64];

enum { CONNECT_MS = 300 };

static void tune(struct store_settings *settings)
{
	settings->connect_timeout_ms = CONNECT_MS;
}

static void tune_many(struct store_settings *settings)
{
	tune(settings);
	settings->pool_size = 50;
}

static void setup(void)
{
	set_gate(false);
	n_lookups = 0;
	store_key_init(&key, "k");
	bench_init(&bench);
	redis_server_start(&server, true, NULL);
	snprintf(hanging_url, sizeof(hanging_url), "redis://host.hang:%d", server.port);
}

static void teardown(void)
{
	set_gate(true);
	bench_deinit(&bench);
	redis_server_stop(&server);
	store_key_deinit(&key);
}

static unsigned count_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2; /* . and .. */
}

START_TEST(a_look_up_ends_at_the_connect_timeout_and_is_used_when_it_comes)
	{
		const struct answer *answer;
		int64_t began_ms = bench_now_ms();

		bench_open(&bench, hanging_url, tune);
		answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert_msg(strstr(answer->text, "was not found within 300 ms") != NULL, "%s",
			      answer->text);
		ck_assert_int_ge(bench_now_ms() - began_ms, CONNECT_MS - 20);
		ck_assert_int_lt(bench_now_ms() - began_ms, 2 * CONNECT_MS);
		bench_turn_for(&bench, 4 * CONNECT_MS);
		/* Whatever it was tried, the same look-up is waited for: one thread. */
		ck_assert_uint_eq(n_lookups, 1);
		set_gate(true);
		bench_await_count(&bench, &bench.n_up, 1);
		answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_OK);
	}
END_TEST

START_TEST(threads_are_as_many_as_connections_at_most)
	{
		bench_open(&bench, hanging_url, tune_many);
		bench_turn_for(&bench, 4 * CONNECT_MS);
		ck_assert_uint_le(count_threads(), 50 + 2);
	}
END_TEST

START_TEST(the_hosts_of_a_cluster_that_hang_are_waited_for_by_few_threads)
	{
		snprintf(hanging_url, sizeof(hanging_url), "redis-cluster://a.hang,b.hang,c.hang");
		bench_open(&bench, hanging_url, tune);
		bench_turn_for(&bench, 8 * CONNECT_MS);
		ck_assert_uint_le(count_threads(), 5);
	}
END_TEST

START_TEST(a_store_that_is_closed_leaves_its_look_up_alone)
	{
		bench_open(&bench, hanging_url, tune);
		bench_turn_for(&bench, 50);
		bench_close(&bench);
		set_gate(true);
		bench_open(&bench, server.tcp_url, tune);
		ck_assert_int_eq(bench_do(&bench, STORE_ACQUIRE, &key, 'a')->op.status, STORE_OK);
	}
END_TEST

START_TEST(other_stores_notice_nothing)
	{
		struct store_settings settings = {
			.url = hanging_url,
			.pool_size = 50,
			.connect_timeout_ms = CONNECT_MS,
			.command_timeout_ms = CONNECT_MS,
		};
		struct store *hanging = store_open(&bench.env, &settings, NULL);
		int64_t end_ms, worst_ms = 0;
		unsigned n = 0;

		bench_open(&bench, server.unix_url, tune);
		ck_assert_int_eq(bench_do(&bench, STORE_ACQUIRE, &key, 'a')->op.status, STORE_OK);
		for (end_ms = bench_now_ms() + 2000; bench_now_ms() < end_ms; n++) {
			int64_t began_ms = bench_now_ms(), took_ms;

			ck_assert_int_eq(bench_do(&bench, STORE_EXTEND, &key, 'a')->op.status,
					 STORE_OK);
			took_ms = bench_now_ms() - began_ms;
			if (took_ms > worst_ms)
				worst_ms = took_ms;
			store_flush(hanging);
		}
		printf("%u commands beside a name server that hangs, the slowest %lld ms\n", n,
		       (long long)worst_ms);
		ck_assert_int_lt(worst_ms, CONNECT_MS);
		store_free(hanging);
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_resolve");
	TCase *tcase = tcase_create("resolve");

	if (!redis_server_installed())
		return 77;
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_look_up_ends_at_the_connect_timeout_and_is_used_when_it_comes);
	tcase_add_test(tcase, threads_are_as_many_as_connections_at_most);
	tcase_add_test(tcase, the_hosts_of_a_cluster_that_hang_are_waited_for_by_few_threads);
	tcase_add_test(tcase, a_store_that_is_closed_leaves_its_look_up_alone);
	tcase_add_test(tcase, other_stores_notice_nothing);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
