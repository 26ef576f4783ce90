/* SPDX-License-Identifier: MIT */
/* Every verb and every outcome, over each kind of store: one table of claims for all. */
#include "config.h"

#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "redis_server.h"
#include "store/slot.h"
#include "store_bench.h"

enum kind { MEMORY, REDIS_UNIX, REDIS_TCP, CLUSTER, N_KINDS };

static struct bench bench;
static struct redis_server server;
static struct store_key key, other_key;
static enum kind kind;
static unsigned n_ready, n_messages;

static void two_links(struct store_settings *settings)
{
	settings->pool_size = 2;
}

/* A cluster of one node, which serves all slots. */
static void open_cluster(void)
{
	static const char *const args[] = {"--cluster-enabled", "yes", NULL};
	static char command[N_SLOTS * 6 + 32];
	char url[64], *end = command + sprintf(command, "CLUSTER ADDSLOTS");

	for (int slot = 0; slot < N_SLOTS; slot++)
		end += sprintf(end, " %d", slot);
	redis_server_start(&server, true, args);
	ck_assert_str_eq(redis_server_ask(&server, command), "OK");
	while (!strstr(redis_server_ask(&server, "CLUSTER INFO"), "cluster_state:ok"))
		poll(NULL, 0, 10);
	snprintf(url, sizeof(url), "redis-cluster://127.0.0.1:%d", server.port);
	bench_open(&bench, url, two_links);
}

/* Each test runs once a kind; this is what would be a fixture if that knew which one. */
static void setup(int which)
{
	kind = which;
	n_ready = n_messages = 0;
	store_key_init(&key, "verbs");
	store_key_init(&other_key, "a{b}c");
	bench_init(&bench);
	if (kind == MEMORY) {
		bench_open(&bench, "local:", NULL);
		return;
	}
	if (kind == CLUSTER) {
		open_cluster();
		return;
	}
	redis_server_start(&server, kind == REDIS_TCP, NULL);
	bench_open(&bench, kind == REDIS_TCP ? server.tcp_url : server.unix_url, two_links);
}

static void teardown(void)
{
	bench_deinit(&bench);
	if (kind != MEMORY)
		redis_server_stop(&server);
	store_key_deinit(&key);
	store_key_deinit(&other_key);
}

#define CLAIM(name)                                                                                \
	static void name##_of_all(void);                                                           \
	START_TEST(name)                                                                           \
		{                                                                                  \
			setup(_i);                                                                 \
			name##_of_all();                                                           \
			teardown();                                                                \
		}                                                                                  \
	END_TEST                                                                                   \
	static void name##_of_all(void)

#define ASK(verb, value) bench_do(&bench, verb, &key, value)->op.status

static int64_t wall_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

CLAIM(acquire_takes_what_is_free_and_is_refused_what_is_held)
{
	const struct answer *answer = bench_acquire(&bench, &key, 'a', 60000);

	ck_assert_int_eq(answer->op.status, STORE_OK);
	ck_assert(answer->op.settled);
	ck_assert(answer->op.written);
	ck_assert_int_eq(answer->op.fence, 0);
	answer = bench_acquire(&bench, &key, 'b', 60000);
	ck_assert_int_eq(answer->op.status, STORE_HELD);
	ck_assert_int_gt(answer->op.pttl_ms, 50000);
	ck_assert_int_le(answer->op.pttl_ms, 60000);
	ck_assert_int_eq(answer->op.receivers, -1);
	ck_assert_int_eq(bench_acquire(&bench, &other_key, 'b', 60000)->op.status, STORE_OK);
}

CLAIM(acquire_knows_its_own_value_again_and_starts_anew)
{
	ck_assert_int_eq(bench_acquire(&bench, &key, 'a', 1000)->op.status, STORE_OK);
	ck_assert_int_eq(bench_acquire(&bench, &key, 'a', 60000)->op.status, STORE_OK);
	ck_assert_int_gt(bench_acquire(&bench, &key, 'b', 1000)->op.pttl_ms, 50000);
}

CLAIM(a_plain_acquire_is_the_bare_command)
{
	struct answer answer;

	for (int i = 0; i < 2; i++) {
		answer_init(&answer, STORE_ACQUIRE, &key, 'a');
		answer.op.plain = true;
		bench_submit(&bench, &answer);
		bench_await(&bench, &answer);
		ck_assert_int_eq(answer.op.status, i == 0 ? STORE_OK : STORE_HELD);
	}
	if (kind != MEMORY) {
		ck_assert_int_eq(answer.op.pttl_ms, -2);
		ck_assert_int_eq(answer.op.receivers, -1);
		ck_assert_int_gt(redis_server_ask_integer(&server, "PTTL verbs"), 50000);
	}
}

CLAIM(what_is_over_is_free)
{
	ck_assert_int_eq(bench_acquire(&bench, &key, 'a', 30)->op.status, STORE_OK);
	bench_turn_for(&bench, 40);
	ck_assert_int_eq(ASK(STORE_CHECK, 'a'), STORE_GONE);
	ck_assert_int_eq(ASK(STORE_RELEASE, 'a'), STORE_GONE);
	ck_assert_int_eq(ASK(STORE_EXTEND, 'a'), STORE_GONE);
	ck_assert_int_eq(ASK(STORE_LOOK, 'a'), STORE_GONE);
	ck_assert_int_eq(bench_acquire(&bench, &key, 'b', 30)->op.status, STORE_OK);
}

CLAIM(release_is_for_the_holder_only)
{
	const struct answer *answer;

	ck_assert_int_eq(ASK(STORE_RELEASE, 'a'), STORE_GONE);
	ck_assert_int_eq(ASK(STORE_ACQUIRE, 'a'), STORE_OK);
	ck_assert_int_eq(ASK(STORE_RELEASE, 'b'), STORE_HELD);
	ck_assert_int_eq(ASK(STORE_CHECK, 'a'), STORE_OK);
	answer = bench_do(&bench, STORE_RELEASE, &key, 'a');
	ck_assert_int_eq(answer->op.status, STORE_OK);
	ck_assert_int_eq(answer->op.contenders, 0);
	ck_assert_int_eq(ASK(STORE_RELEASE, 'a'), STORE_GONE);
	ck_assert_int_eq(ASK(STORE_LOOK, 'a'), STORE_GONE);
}

CLAIM(replace_hands_the_lock_on_and_may_be_asked_twice)
{
	const struct answer *answer;

	ck_assert_int_eq(ASK(STORE_REPLACE, 'a'), STORE_GONE);
	ck_assert_int_eq(bench_acquire(&bench, &key, 'a', 1000)->op.status, STORE_OK);
	ck_assert_int_eq(ASK(STORE_REPLACE, 'x'), STORE_HELD);
	for (int i = 0; i < 2; i++) {
		answer = bench_do(&bench, STORE_REPLACE, &key, 'a'); /* by b */
		ck_assert_int_eq(answer->op.status, STORE_OK);
		ck_assert_int_eq(answer->op.contenders, 0);
		ck_assert_int_eq(answer->op.fence, 0);
	}
	ck_assert_int_eq(ASK(STORE_CHECK, 'a'), STORE_HELD);
	ck_assert_int_eq(ASK(STORE_CHECK, 'b'), STORE_OK);
	ck_assert_int_gt(bench_do(&bench, STORE_LOOK, &key, 'a')->op.pttl_ms, 50000);
}

CLAIM(extend_is_for_the_holder_only)
{
	const struct answer *answer;

	ck_assert_int_eq(ASK(STORE_EXTEND, 'a'), STORE_GONE);
	ck_assert_int_eq(bench_acquire(&bench, &key, 'a', 1000)->op.status, STORE_OK);
	ck_assert_int_eq(ASK(STORE_EXTEND, 'b'), STORE_HELD);
	ck_assert_int_le(bench_do(&bench, STORE_LOOK, &key, 'a')->op.pttl_ms, 1000);
	answer = bench_do(&bench, STORE_EXTEND, &key, 'a');
	ck_assert_int_eq(answer->op.status, STORE_OK);
	ck_assert_int_eq(answer->op.contenders, 0);
	ck_assert_int_gt(bench_do(&bench, STORE_LOOK, &key, 'a')->op.pttl_ms, 50000);
}

CLAIM(check_tells_the_three_cases_apart)
{
	ck_assert_int_eq(ASK(STORE_CHECK, 'a'), STORE_GONE);
	ck_assert_int_eq(ASK(STORE_ACQUIRE, 'a'), STORE_OK);
	ck_assert_int_eq(ASK(STORE_CHECK, 'a'), STORE_OK);
	ck_assert_int_eq(ASK(STORE_CHECK, 'b'), STORE_HELD);
}

CLAIM(break_removes_whatever_stands_there_and_tells_what_it_was)
{
	const struct answer *answer;

	ck_assert_int_eq(ASK(STORE_BREAK, 'z'), STORE_GONE);
	ck_assert_int_eq(ASK(STORE_ACQUIRE, 'a'), STORE_OK);
	answer = bench_do(&bench, STORE_BREAK, &key, 'z');
	ck_assert_int_eq(answer->op.status, STORE_OK);
	ck_assert_uint_eq(strlen(answer->broken), LOCK_STRING_LEN);
	ck_assert_int_eq(answer->broken[0], 'a');
	ck_assert_int_eq(ASK(STORE_LOOK, 'z'), STORE_GONE);
}

static bool fence_was_new;

static int64_t fenced(enum store_verb verb, char value, int64_t floor)
{
	struct answer answer;

	answer_init(&answer, verb, &key, value);
	answer.op.fenced = true;
	answer.op.fence_floor = floor;
	bench_submit(&bench, &answer);
	bench_await(&bench, &answer);
	ck_assert_msg(answer.op.status == STORE_OK, "%d %s", answer.op.status, answer.text);
	fence_was_new = answer.op.fence_is_new;
	return answer.op.fence;
}

CLAIM(fences_grow_from_grant_to_grant)
{
	int64_t before = wall_us(), last = fenced(STORE_ACQUIRE, 'a', 0), next;

	ck_assert(fence_was_new);
	ck_assert_int_ge(last, before);
	ck_assert_int_le(last, wall_us());
	for (char value = 'a'; value < 'm'; value++) {
		next = fenced(STORE_REPLACE, value, 0);
		ck_assert_int_gt(next, last);
		ck_assert(!fence_was_new);
		last = next;
	}
	ck_assert_int_eq(ASK(STORE_RELEASE, 'm'), STORE_OK);
	next = fenced(STORE_ACQUIRE, 'n', 0);
	ck_assert_int_gt(next, last);
	/* Asked again: larger still, as it must be. */
	ck_assert_int_gt(fenced(STORE_ACQUIRE, 'n', 0), next);
}

CLAIM(the_expiry_of_a_counter_is_put_off_in_each_hour_that_it_is_used_in)
{
	const int64_t hour_us = INT64_C(3600000000), hour = 2000000 * hour_us, week_ms = 604800000;
	/* what the counter shows, and whether the next fence is the first one of its hour */
	const struct {
		int64_t last;
		bool first;
	} counters[] = {
		{hour, false},
		{hour + hour_us / 2, false},
		{hour - 1, true},
		{hour + hour_us - 1, true},
	};
	const enum store_verb verbs[] = {STORE_ACQUIRE, STORE_REPLACE};

	if (kind == MEMORY)
		return;
	fenced(STORE_ACQUIRE, 'a', 0);
	ck_assert_int_gt(redis_server_ask_integer(&server, "PTTL {verbs}:fence"), week_ms - 60000);
	for (size_t i = 0; i < 2 * sizeof(counters) / sizeof(*counters); i++) {
		const int64_t last = counters[i / 2].last;
		int64_t left_ms;

		redis_server_ask(&server, "SET {verbs}:fence %lld PX 1000000", (long long)last);
		ck_assert_int_eq(fenced(verbs[i % 2], 'a', 0), last + 1);
		left_ms = redis_server_ask_integer(&server, "PTTL {verbs}:fence");
		if (counters[i / 2].first)
			ck_assert_int_gt(left_ms, week_ms - 60000);
		else
			ck_assert_int_le(left_ms, 1000000);
		ck_assert_int_gt(left_ms, 900000);
		ck_assert_int_eq(ASK(STORE_RELEASE, i % 2 ? 'b' : 'a'), STORE_OK);
		ck_assert_int_eq(ASK(STORE_ACQUIRE, 'a'), STORE_OK);
	}
}

CLAIM(fences_are_larger_than_their_floor_and_than_what_was_raised)
{
	int64_t ahead = wall_us() + INT64_C(3600000000);
	struct answer raise;

	ck_assert_int_eq(fenced(STORE_ACQUIRE, 'a', ahead), ahead + 1);
	ck_assert_int_eq(fenced(STORE_REPLACE, 'a', 0), ahead + 2);
	for (int i = 0; i < 2; i++) {
		answer_init(&raise, STORE_RAISE, &key, 'a');
		raise.op.fence_floor = i == 0 ? 2 * ahead : ahead; /* the lower one does nothing */
		bench_submit(&bench, &raise);
		bench_await(&bench, &raise);
		ck_assert_int_eq(raise.op.status, STORE_OK);
	}
	ck_assert_int_eq(fenced(STORE_REPLACE, 'b', 5), 2 * ahead + 1);
	/* What was lost with the store's data is made up for by the floor. */
	if (kind != MEMORY) {
		redis_server_ask(&server, "FLUSHALL");
		ck_assert_int_eq(ASK(STORE_CHECK, 'c'), STORE_GONE);
	}
	ck_assert_int_eq(ASK(STORE_BREAK, 'c'), kind == MEMORY ? STORE_OK : STORE_GONE);
	ck_assert_int_eq(fenced(STORE_ACQUIRE, 'a', 2 * ahead + 1), 2 * ahead + 2);
}

static enum store_status announced(enum store_verb verb, char value, const char *announce)
{
	struct answer answer;

	answer_init(&answer, verb, &key, value);
	answer.op.announce = announce;
	bench_submit(&bench, &answer);
	bench_await(&bench, &answer);
	return answer.op.status;
}

CLAIM(what_is_announced_is_seen_until_another_holds)
{
	static const char fourth[] = "dddddddddddddddddddddddddddddddddddddddddddd";

	ck_assert_int_eq(announced(STORE_ACQUIRE, 'a', "host=h note=%41 b"), STORE_OK);
	ck_assert_str_eq(bench_do(&bench, STORE_LOOK, &key, 'z')->holder, "host=h note=%41 b");
	ck_assert_int_eq(ASK(STORE_EXTEND, 'a'), STORE_OK);
	ck_assert_str_eq(bench_do(&bench, STORE_LOOK, &key, 'z')->holder, "host=h note=%41 b");
	ck_assert_int_eq(announced(STORE_REPLACE, 'a', "second"), STORE_OK);
	ck_assert_str_eq(bench_do(&bench, STORE_LOOK, &key, 'z')->holder, "second");
	ck_assert_int_eq(announced(STORE_REPLACE, 'b', NULL), STORE_OK);
	ck_assert_ptr_null(bench_do(&bench, STORE_LOOK, &key, 'z')->op.holder);
	ck_assert_int_eq(announced(STORE_REPLACE, 'c', "third"), STORE_OK);
	if (kind != MEMORY) {
		ck_assert_int_gt(redis_server_ask_integer(&server, "PTTL {verbs}:holder"), 50000);
		/* Another program's lock is not the one that was announced. */
		redis_server_ask(&server, "SET verbs foreign PX 50000");
		ck_assert_ptr_null(bench_do(&bench, STORE_LOOK, &key, 'z')->op.holder);
		redis_server_ask(&server, "SET verbs %s PX 50000", fourth);
	}
	ck_assert_int_eq(ASK(STORE_RELEASE, 'd'), STORE_OK);
	if (kind != MEMORY)
		ck_assert_int_eq(redis_server_ask_integer(&server, "EXISTS {verbs}:holder"), 0);
}

static void count_ready(struct store_watch *watch)
{
	ck_assert(watch->is_ready);
	n_ready++;
}

static void count_message(struct store_watch *watch, enum store_message message)
{
	(void)watch;
	(void)message;
	n_messages++;
}

CLAIM(a_watch_is_told_when_it_is_ready_and_not_of_our_own_doing)
{
	struct store_watch watch = {.key = &key, .ready = count_ready, .message = count_message};
	struct answer answer;

	store_watch(bench.store, &watch);
	ck_assert_uint_eq(n_ready, 0);
	bench_await_count(&bench, &n_ready, 1);
	ck_assert_int_eq(ASK(STORE_ACQUIRE, 'a'), STORE_OK);
	answer_init(&answer, STORE_ACQUIRE, &key, 'b');
	answer.op.want = true;
	bench_submit(&bench, &answer);
	bench_await(&bench, &answer);
	ck_assert_int_eq(answer.op.status, STORE_HELD);
	ck_assert_int_eq(answer.op.receivers, 0);
	ck_assert_int_eq(bench_do(&bench, STORE_REPLACE, &key, 'a')->op.contenders, 0);
	ck_assert_int_eq(ASK(STORE_RELEASE, 'b'), STORE_OK);
	bench_turn_for(&bench, 30);
	ck_assert_uint_eq(n_messages, 0);
	ck_assert_uint_eq(n_ready, 1);
	store_unwatch(bench.store, &watch);
	ck_assert(!watch.is_ready);
}

enum { MANY = 10000 };

CLAIM(ten_thousand_at_once_are_answered_in_order)
{
	struct answer *answers = calloc(MANY, sizeof(*answers));
	unsigned last = 0;

	for (int i = 0; i < MANY; i++) {
		/* acquire a, replace a by b, release b, and so on: each needs the one before. */
		static const enum store_verb verbs[] = {STORE_ACQUIRE, STORE_REPLACE,
							STORE_RELEASE};

		answer_init(&answers[i], verbs[i % 3], &key, i % 3 == 2 ? 'b' : 'a');
		answers[i].op.fenced = i % 2 == 0;
		bench_submit(&bench, &answers[i]);
	}
	bench_await(&bench, &answers[MANY - 1]);
	for (int i = 0; i < MANY; i++) {
		ck_assert_msg(answers[i].op.status == STORE_OK, "%d: %d %s", i,
			      answers[i].op.status, answers[i].text);
		ck_assert_uint_gt(answers[i].order, last);
		last = answers[i].order;
	}
	ck_assert_uint_eq(bench.store->stats.replies, MANY);
	free(answers);
}

static int run(int first, int end)
{
	Suite *suite = suite_create("store_verbs");
	TCase *tcase = tcase_create("verbs");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 120);
#define ADD(name) tcase_add_loop_test(tcase, name, first, end)
	ADD(acquire_takes_what_is_free_and_is_refused_what_is_held);
	ADD(acquire_knows_its_own_value_again_and_starts_anew);
	ADD(a_plain_acquire_is_the_bare_command);
	ADD(what_is_over_is_free);
	ADD(release_is_for_the_holder_only);
	ADD(replace_hands_the_lock_on_and_may_be_asked_twice);
	ADD(extend_is_for_the_holder_only);
	ADD(check_tells_the_three_cases_apart);
	ADD(break_removes_whatever_stands_there_and_tells_what_it_was);
	ADD(fences_grow_from_grant_to_grant);
	ADD(the_expiry_of_a_counter_is_put_off_in_each_hour_that_it_is_used_in);
	ADD(fences_are_larger_than_their_floor_and_than_what_was_raised);
	ADD(what_is_announced_is_seen_until_another_holds);
	ADD(a_watch_is_told_when_it_is_ready_and_not_of_our_own_doing);
	ADD(ten_thousand_at_once_are_answered_in_order);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed;
}

int main(void)
{
	int failed = run(MEMORY, redis_server_installed() ? N_KINDS : REDIS_UNIX);

	/* Whatever else there is that speaks the protocol. */
	for (size_t i = 1; redis_server_programs[i] && !redis_server_is_given(); i++) {
		if (redis_server_choose(redis_server_programs[i])) {
			printf("with %s\n", redis_server_programs[i]);
			failed += run(REDIS_UNIX, N_KINDS);
		}
	}
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
