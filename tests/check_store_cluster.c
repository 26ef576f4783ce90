/* SPDX-License-Identifier: MIT */
/* Locks in a real Redis Cluster: three masters, a replica, slots that move, nodes that die. */
#include "config.h"

#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_redis.h"
#include "redis_server.h"
#include "store/slot.h"
#include "store_bench.h"
#include "suite.h"

/* Node 3 may be a replica of node 0, and node 4 of node 1. */
enum { N_MASTERS = 3, N_NODES = 5, REPLICA = 3, AWAIT_MS = 30000 };

static struct bench bench;
static struct redis_server nodes[N_NODES];
static char ids[N_NODES][41];
static char url[64];
static struct store_key key;
static unsigned n_ready, n_free;

/* ------------------------------------------------------------------ the cluster */

static int first_slot(int master)
{
	return N_SLOTS * master / N_MASTERS;
}

static int master_of(const char *name)
{
	int slot = (int)slot_of_key(name), master = N_MASTERS - 1;

	while (slot < first_slot(master))
		master--;
	return master;
}

static void await_word(struct redis_server *node, const char *command, const char *word, bool there)
{
	int64_t end_ms = bench_now_ms() + AWAIT_MS;

	while ((strstr(redis_server_ask(node, command), word) != NULL) != there) {
		ck_assert_msg(bench_now_ms() < end_ms, "%s: no %s: %s", command, word,
			      redis_server_ask(node, command));
		poll(NULL, 0, 20);
	}
}

static void add_slots(int master)
{
	static char command[N_SLOTS * 6 + 32];
	char *end = command + sprintf(command, "CLUSTER ADDSLOTS");

	for (int slot = first_slot(master); slot < first_slot(master + 1); slot++)
		end += sprintf(end, " %d", slot);
	ck_assert_str_eq(redis_server_ask(&nodes[master], command), "OK");
}

/* Until its replica confirms what it writes; what it says first may not. */
static void await_replica(struct redis_server *master)
{
	int64_t end_ms = bench_now_ms() + AWAIT_MS;

	for (int n = 0; n < 2; n += redis_server_ask_integer(master, "WAIT 1 2000") >= 1)
		ck_assert_msg(bench_now_ms() < end_ms, "the replica does not come");
}

static void cluster_start(const char *full_coverage, int n_nodes)
{
	char known[32];

	for (int i = 0; i < n_nodes; i++) {
		redis_server_start(
			&nodes[i], true,
			(const char *[]){"--cluster-enabled", "yes", "--cluster-node-timeout",
					 "1000", "--cluster-require-full-coverage", full_coverage,
					 "--repl-diskless-sync-delay", "0", NULL});
		snprintf(ids[i], sizeof(ids[i]), "%s", redis_server_ask(&nodes[i], "CLUSTER MYID"));
		redis_server_ask(&nodes[i], "CLUSTER SET-CONFIG-EPOCH %d", i + 1);
		if (i < N_MASTERS)
			add_slots(i);
		if (i > 0)
			redis_server_ask(&nodes[i], "CLUSTER MEET 127.0.0.1 %d", nodes[0].port);
	}
	snprintf(known, sizeof(known), "cluster_known_nodes:%d", n_nodes);
	for (int i = 0; i < n_nodes; i++)
		await_word(&nodes[i], "CLUSTER INFO", known, true);
	for (int i = N_MASTERS; i < n_nodes; i++) {
		ck_assert_str_eq(
			redis_server_ask(&nodes[i], "CLUSTER REPLICATE %s", ids[i - N_MASTERS]),
			"OK");
		await_word(&nodes[i], "INFO replication", "master_link_status:up", true);
		await_word(&nodes[1], "CLUSTER NODES", " slave ", true);
	}
	for (int i = 0; i < n_nodes; i++)
		await_word(&nodes[i], "CLUSTER INFO", "cluster_state:ok", true);
	for (int i = N_MASTERS; i < n_nodes; i++)
		await_replica(&nodes[i - N_MASTERS]);
	snprintf(url, sizeof(url), "redis-cluster://127.0.0.1:%d,127.0.0.1:%d", nodes[1].port,
		 nodes[2].port);
}

static void cluster_stop(void)
{
	for (int i = 0; i < N_NODES; i++) {
		if (*nodes[i].dir)
			redis_server_stop(&nodes[i]);
	}
}

static void setup_of(const char *full_coverage, int n_nodes)
{
	n_ready = n_free = 0;
	store_key_init(&key, "red_mutex_lock");
	bench_init(&bench);
	cluster_start(full_coverage, n_nodes);
}

static void setup(void)
{
	setup_of("yes", N_MASTERS);
	bench_open(&bench, url, NULL);
}

static void setup_with_replica(void)
{
	setup_of("no", REPLICA + 1);
	bench_open(&bench, url, NULL);
}

static void teardown(void)
{
	bench_deinit(&bench);
	cluster_stop();
	store_key_deinit(&key);
}

/* A key in a slot of this master. */
static void key_on(struct store_key *in, int master, const char *prefix)
{
	char name[64];
	unsigned n = 0;

	do
		snprintf(name, sizeof(name), "%s%u", prefix, n++);
	while (master_of(name) != master);
	store_key_init(in, name);
}

#define ASK(verb, key, value) bench_do(&bench, verb, key, value)->op.status

#define EXPECT_OK(verb, key, value)                                                                \
	do {                                                                                       \
		const struct answer *got = bench_do(&bench, verb, key, value);                     \
		ck_assert_msg(got->op.status == STORE_OK, "%d %s", got->op.status, got->text);     \
	} while (0)

static const struct answer *acquire_fenced(const struct store_key *of, char value)
{
	static struct answer answer;

	answer_init(&answer, STORE_ACQUIRE, of, value);
	answer.op.fenced = true;
	bench_submit(&bench, &answer);
	bench_await(&bench, &answer);
	return &answer;
}

/* ------------------------------------------------------------------ a slot on its way */

/* CLUSTER SETSLOT at both ends, as redis-cli --cluster reshard does it. */
static void slot_begin_to_move(unsigned slot, int from, int to)
{
	ck_assert_str_eq(
		redis_server_ask(&nodes[to], "CLUSTER SETSLOT %d IMPORTING %s", slot, ids[from]),
		"OK");
	ck_assert_str_eq(
		redis_server_ask(&nodes[from], "CLUSTER SETSLOT %d MIGRATING %s", slot, ids[to]),
		"OK");
}

static void slot_move_keys(unsigned slot, int from, int to)
{
	char one[128];

	for (;;) {
		snprintf(one, sizeof(one), "%s",
			 redis_server_ask(&nodes[from], "CLUSTER GETKEYSINSLOT %d 1", slot));
		if (!*one)
			return;
		/* It may expire or be released in between. */
		ck_assert_ptr_null(
			strstr(redis_server_ask(&nodes[from], "MIGRATE 127.0.0.1 %d %s 0 5000",
						nodes[to].port, one),
			       "error"));
	}
}

static void slot_end_move(unsigned slot, int from, int to)
{
	ck_assert_str_eq(redis_server_ask(&nodes[to], "CLUSTER SETSLOT %d NODE %s", slot, ids[to]),
			 "OK");
	ck_assert_str_eq(
		redis_server_ask(&nodes[from], "CLUSTER SETSLOT %d NODE %s", slot, ids[to]), "OK");
}

/* ------------------------------------------------------------------ the claims */

static const struct {
	const char *key;
	unsigned slot;
} known_slots[] = {
	/* From the cluster specification, and what CLUSTER KEYSLOT says. */
	{"123456789", 0x31C3},	 {"foo", 12182},    {"red_mutex_lock", 0}, {"{foo}:free", 12182},
	{"a{foo}b{bar}", 12182}, {"foo{}{bar}", 0}, {"foo{{bar}}zap", 0},  {"", 0},
};

START_TEST(slots_are_those_of_the_server)
	{
		struct store_key companions;

		for (size_t i = 0; i < sizeof(known_slots) / sizeof(known_slots[0]); i++) {
			unsigned slot = slot_of_key(known_slots[i].key);

			if (known_slots[i].slot)
				ck_assert_uint_eq(slot, known_slots[i].slot);
			ck_assert_int_eq(redis_server_ask_integer(&nodes[0], "CLUSTER KEYSLOT %s",
								  known_slots[i].key),
					 slot);
		}
		for (int i = 0; i < 2; i++) {
			store_key_init(&companions, i == 0 ? "red_mutex_lock" : "a{b}c");
			ck_assert_uint_eq(slot_of_key(companions.key),
					  slot_of_key(companions.fence));
			ck_assert_uint_eq(slot_of_key(companions.key),
					  slot_of_key(companions.holder));
			ck_assert_uint_eq(slot_of_key(companions.key),
					  slot_of_key(companions.channel));
			store_key_deinit(&companions);
		}
	}
END_TEST

START_TEST(each_verb_works_on_each_master_and_the_key_is_the_configured_one)
	{
		for (int master = 0; master < N_MASTERS; master++) {
			struct redis_server *node = &nodes[master];
			struct store_key mine;
			const struct answer *answer;
			int64_t fence;

			key_on(&mine, master, "a lock ");
			answer = acquire_fenced(&mine, 'a');
			ck_assert_msg(answer->op.status == STORE_OK, "%s", answer->text);
			ck_assert(answer->op.settled);
			fence = answer->op.fence;
			ck_assert_int_eq(redis_server_ask_integer(node, "EXISTS %s", mine.key), 1);
			ck_assert_int_eq(redis_server_ask_integer(node, "EXISTS %s", mine.fence),
					 1);
			ck_assert_int_eq(redis_server_ask_integer(node, "STRLEN %s", mine.key),
					 LOCK_STRING_LEN);
			answer = acquire_fenced(&mine, 'x');
			ck_assert_int_eq(answer->op.status, STORE_HELD);
			ck_assert_int_gt(answer->op.pttl_ms, 50000);
			ck_assert_int_eq(ASK(STORE_LOOK, &mine, 'x'), STORE_HELD);
			EXPECT_OK(STORE_EXTEND, &mine, 'a');
			EXPECT_OK(STORE_CHECK, &mine, 'a');
			EXPECT_OK(STORE_REPLACE, &mine, 'a');
			EXPECT_OK(STORE_RELEASE, &mine, 'b');
			ck_assert_int_eq(ASK(STORE_LOOK, &mine, 'x'), STORE_GONE);
			answer = acquire_fenced(&mine, 'c');
			ck_assert_int_gt(answer->op.fence, fence);
			EXPECT_OK(STORE_BREAK, &mine, 'z');
			EXPECT_OK(STORE_RAISE, &mine, 'z');
			ck_assert_int_eq(redis_server_ask_integer(node, "EXISTS %s", mine.key), 0);
			store_key_deinit(&mine);
		}
	}
END_TEST

START_TEST(what_redmutex_sets_excludes_us)
	{
		struct redis_server *node = &nodes[master_of(key.key)];

		redis_server_ask(node, "SET %s foreign NX PX 50000", key.key);
		ck_assert_int_eq(ASK(STORE_ACQUIRE, &key, 'a'), STORE_HELD);
		redis_server_ask(node, "DEL %s", key.key);
		EXPECT_OK(STORE_ACQUIRE, &key, 'a');
	}
END_TEST

enum { MANY = 3000, MANY_KEYS = 60 };

START_TEST(many_at_once_are_answered_in_order)
	{
		static struct store_key keys[MANY_KEYS];
		static struct answer answers[MANY];

		for (int i = 0; i < MANY_KEYS; i++) {
			char prefix[16];

			snprintf(prefix, sizeof(prefix), "many%d-", i);
			key_on(&keys[i], i % N_MASTERS, prefix);
		}
		for (int i = 0; i < MANY; i++) {
			static const enum store_verb verbs[] = {STORE_ACQUIRE, STORE_REPLACE,
								STORE_RELEASE};
			int step = i / MANY_KEYS % 3;

			answer_init(&answers[i], verbs[step], &keys[i % MANY_KEYS],
				    step == 2 ? 'b' : 'a');
			bench_submit(&bench, &answers[i]);
		}
		for (int i = 0; i < MANY; i++) {
			bench_await(&bench, &answers[i]);
			ck_assert_msg(answers[i].op.status == STORE_OK, "%d: %d %s", i,
				      answers[i].op.status, answers[i].text);
		}
		for (int i = 0; i < MANY_KEYS; i++)
			store_key_deinit(&keys[i]);
	}
END_TEST

static void watch_ready(struct store_watch *watch)
{
	ck_assert(watch->is_ready);
	n_ready++;
}

static void watch_message(struct store_watch *watch, enum store_message message)
{
	(void)watch;
	if (message == STORE_MESSAGE_FREE)
		n_free++;
}

START_TEST(releases_are_heard_before_and_after_the_slot_moves)
	{
		struct store_watch watch = {
			.key = &key, .ready = watch_ready, .message = watch_message};
		unsigned slot = slot_of_key(key.key);
		int from = master_of(key.key), to = (from + 1) % N_MASTERS;

		/* Before anything is known of the cluster. */
		store_watch(bench.store, &watch);
		bench_await_count(&bench, &n_ready, 1);
		ck_assert_int_eq(redis_server_ask_integer(&nodes[from], "PUBLISH %s %s",
							  key.channel, "other"),
				 1);
		for (int i = 0; i < N_MASTERS; i++) {
			redis_server_ask(&nodes[i], "PUBLISH %s %b", key.channel, "free x",
					 (size_t)6);
			bench_await_count(&bench, &n_free, (unsigned)i + 1);
		}
		slot_begin_to_move(slot, from, to);
		slot_end_move(slot, from, to);
		/* A MOVED tells, then the map. */
		EXPECT_OK(STORE_ACQUIRE, &key, 'a');
		bench_await_count(&bench, &n_ready, 2);
		bench_await_count(&bench, &bench.n_changed, 1);
		ck_assert_int_eq(
			redis_server_ask_integer(&nodes[to], "PUBLISH %s %s", key.channel, "other"),
			1);
		ck_assert_int_eq(bench_do(&bench, STORE_EXTEND, &key, 'a')->op.contenders, 0);
		store_unwatch(bench.store, &watch);
	}
END_TEST

START_TEST(asked_to_ask_elsewhere_it_asks_there)
	{
		unsigned slot = slot_of_key(key.key);
		int from = master_of(key.key), to = (from + 1) % N_MASTERS;
		const struct answer *answer;

		slot_begin_to_move(slot, from, to);
		/* Nothing was there: it comes to be where the slot goes. */
		answer = acquire_fenced(&key, 'a');
		ck_assert_msg(answer->op.status == STORE_OK, "%s", answer->text);
		ck_assert_int_eq(
			redis_server_ask_integer(&nodes[from], "CLUSTER COUNTKEYSINSLOT %d", slot),
			0);
		ck_assert_int_eq(
			redis_server_ask_integer(&nodes[to], "CLUSTER COUNTKEYSINSLOT %d", slot),
			2);
		ck_assert_int_eq(ASK(STORE_ACQUIRE, &key, 'b'), STORE_HELD);
		EXPECT_OK(STORE_CHECK, &key, 'a');
		EXPECT_OK(STORE_EXTEND, &key, 'a');
		EXPECT_OK(STORE_REPLACE, &key, 'a');
		EXPECT_OK(STORE_RELEASE, &key, 'b');
		ck_assert_int_eq(ASK(STORE_LOOK, &key, 'b'), STORE_GONE);
		slot_end_move(slot, from, to);
		ck_assert_int_gt(acquire_fenced(&key, 'c')->op.fence, answer->op.fence - 1);
	}
END_TEST

START_TEST(what_has_not_moved_yet_is_served_where_it_is)
	{
		unsigned slot = slot_of_key(key.key);
		int from = master_of(key.key), to = (from + 1) % N_MASTERS;

		ck_assert_int_eq(acquire_fenced(&key, 'a')->op.status, STORE_OK);
		slot_begin_to_move(slot, from, to);
		EXPECT_OK(STORE_CHECK, &key, 'a');
		EXPECT_OK(STORE_EXTEND, &key, 'a');
		ck_assert_int_eq(ASK(STORE_LOOK, &key, 'b'), STORE_HELD);
		ck_assert_int_eq(acquire_fenced(&key, 'b')->op.status, STORE_HELD);
		EXPECT_OK(STORE_REPLACE, &key, 'a');
		slot_move_keys(slot, from, to);
		EXPECT_OK(STORE_CHECK, &key, 'b');
		EXPECT_OK(STORE_RELEASE, &key, 'b');
		/* The counter has moved, and so nothing is in the way. */
		ck_assert_int_eq(acquire_fenced(&key, 'c')->op.status, STORE_OK);
		EXPECT_OK(STORE_RELEASE, &key, 'c');
		slot_end_move(slot, from, to);
	}
END_TEST

START_TEST(no_counter_is_made_twice_while_the_slot_is_on_its_way)
	{
		unsigned slot = slot_of_key(key.key);
		int from = master_of(key.key), to = (from + 1) % N_MASTERS;
		struct answer answer;

		ck_assert_int_eq(acquire_fenced(&key, 'a')->op.status, STORE_OK);
		EXPECT_OK(STORE_RELEASE, &key, 'a');
		slot_begin_to_move(slot, from, to);
		/* The counter is at the one end, the lock would come to be at the other. */
		answer_init(&answer, STORE_ACQUIRE, &key, 'b');
		answer.op.fenced = true;
		bench_submit(&bench, &answer);
		bench_turn_for(&bench, 100);
		ck_assert(!answer.done);
		slot_move_keys(slot, from, to);
		bench_await(&bench, &answer);
		ck_assert_msg(answer.op.status == STORE_OK, "%s", answer.text);
		slot_end_move(slot, from, to);
	}
END_TEST

START_TEST(what_a_later_command_has_overtaken_is_not_carried_out)
	{
		unsigned slot = slot_of_key(key.key);
		int from = master_of(key.key), to = (from + 1) % N_MASTERS;
		struct answer first, second;

		ck_assert_int_eq(acquire_fenced(&key, 'a')->op.status, STORE_OK);
		EXPECT_OK(STORE_RELEASE, &key, 'a');
		slot_begin_to_move(slot, from, to);
		/* Of the first only the counter is there, which is all that the second needs. */
		answer_init(&first, STORE_ACQUIRE, &key, 'b');
		first.op.fenced = true;
		answer_init(&second, STORE_RAISE, &key, 'b');
		bench_submit(&bench, &first);
		bench_submit(&bench, &second);
		bench_await(&bench, &first);
		bench_await(&bench, &second);
		ck_assert_int_eq(first.op.status, STORE_REFUSED);
		ck_assert(!first.op.lasting);
		ck_assert_ptr_nonnull(strstr(first.text, "faster"));
		ck_assert_int_eq(second.op.status, STORE_OK);
		ck_assert_uint_lt(first.order, second.order);
		slot_move_keys(slot, from, to);
		slot_end_move(slot, from, to);
		EXPECT_OK(STORE_ACQUIRE, &key, 'c');
	}
END_TEST

/* ------------------------------------------------------------------ under load */

enum { N_WORKERS = 24 };

/* Takes, extends, hands over and gives back a lock again and again; whoever comes between is seen.
 */
struct worker {
	struct store_key key;
	struct answer answer;
	int step;
	unsigned n_rounds;
	int64_t fence;
};

static struct worker workers[N_WORKERS];

static void worker_ask(struct worker *worker)
{
	static const enum store_verb verbs[] = {STORE_ACQUIRE, STORE_EXTEND, STORE_REPLACE,
						STORE_RELEASE};

	answer_init(&worker->answer, verbs[worker->step], &worker->key,
		    worker->step == 3 ? 'b' : 'a');
	worker->answer.op.fenced = worker->step == 0 || worker->step == 2;
	bench_submit(&bench, &worker->answer);
}

static void worker_go_on(struct worker *worker)
{
	if (!worker->answer.done)
		return;
	ck_assert_msg(worker->answer.op.status == STORE_OK, "%s, step %d: %d %s", worker->key.key,
		      worker->step, worker->answer.op.status, worker->answer.text);
	if (worker->answer.op.fenced) {
		ck_assert_int_gt(worker->answer.op.fence, worker->fence);
		worker->fence = worker->answer.op.fence;
	}
	worker->step = (worker->step + 1) % 4;
	worker->n_rounds += worker->step == 0;
	worker_ask(worker);
}

static void workers_turn_for(int64_t ms)
{
	int64_t end_ms = bench_now_ms() + ms;

	while (bench_now_ms() < end_ms) {
		bench_turn(&bench, 1);
		for (int i = 0; i < N_WORKERS; i++)
			worker_go_on(&workers[i]);
	}
}

/* Moves the workers' slot from one node to another and back again and again. */
static void move_slot_under_load(int n_moves, int n_nodes)
{
	unsigned slot = slot_of_key("{tag}"), n_requests = 0;

	for (int i = 0; i < N_WORKERS; i++) {
		char name[32];

		snprintf(name, sizeof(name), "worker%d{tag}", i);
		workers[i] = (struct worker){0};
		store_key_init(&workers[i].key, name);
		worker_ask(&workers[i]);
	}
	workers_turn_for(50);
	for (int i = 0; i < n_moves; i++) {
		int from = (master_of("{tag}") + i) % n_nodes, to = (from + 1) % n_nodes;

		slot_begin_to_move(slot, from, to);
		workers_turn_for(20);
		slot_move_keys(slot, from, to);
		workers_turn_for(5);
		slot_move_keys(slot, from, to);
		slot_end_move(slot, from, to);
		workers_turn_for(40);
	}
	for (int i = 0; i < N_WORKERS; i++) {
		bench_await(&bench, &workers[i].answer);
		ck_assert_int_eq(workers[i].answer.op.status, STORE_OK);
		store_key_deinit(&workers[i].key);
		n_requests += 4 * workers[i].n_rounds + (unsigned)workers[i].step + 1;
	}
	printf("%u requests while a slot moved %d times, none lost\n", n_requests, n_moves);
	ck_assert_uint_gt(bench.n_changed, 0);
}

START_TEST(slots_move_under_load_and_no_request_is_lost)
	{
		move_slot_under_load(12, N_MASTERS);
		for (int i = 0; i < N_WORKERS; i++)
			ck_assert_uint_gt(workers[i].n_rounds, 12);
	}
END_TEST

START_TEST(what_waits_in_a_closed_slot_is_answered_in_order)
	{
		struct answer answers[6];
		unsigned slot = slot_of_key(key.key);
		int from = master_of(key.key), to = (from + 1) % N_MASTERS;

		EXPECT_OK(STORE_ACQUIRE, &key, 'z');
		EXPECT_OK(STORE_RELEASE, &key, 'z');
		slot_begin_to_move(slot, from, to);
		slot_end_move(slot, from, to);
		for (int i = 0; i < 6; i++) {
			static const enum store_verb verbs[] = {STORE_ACQUIRE, STORE_REPLACE,
								STORE_RELEASE};

			answer_init(&answers[i], verbs[i % 3], &key, i % 3 == 2 ? 'b' : 'a');
			bench_submit(&bench, &answers[i]);
			if (i == 2)
				bench_turn(&bench, 0);
		}
		for (int i = 0; i < 6; i++) {
			bench_await(&bench, &answers[i]);
			ck_assert_msg(answers[i].op.status == STORE_OK, "%d: %s", i,
				      answers[i].text);
			ck_assert(i == 0 || answers[i].order > answers[i - 1].order);
		}
	}
END_TEST

/* ------------------------------------------------------------------ replicas */

enum { ON_0 = 3, ON_1 = 4 }; /* the replicas of the first two masters */

static void with_replicas(struct store_settings *settings)
{
	settings->wait_replicas = 1;
	settings->pool_size = 2;
}

/* A slot of master 0, which moves to master 1. */
static unsigned moving_slot;

static void setup_with_replicas(void)
{
	struct store_key other;

	setup_of("yes", N_NODES);
	bench_open(&bench, url, with_replicas);
	store_key_deinit(&key);
	key_on(&key, 0, "replicated");
	moving_slot = slot_of_key(key.key);
	/* So that the slots are known. */
	key_on(&other, 0, "other");
	EXPECT_OK(STORE_ACQUIRE, &other, 'z');
	store_key_deinit(&other);
}

static void expect_on_replica(int replica, char value)
{
	/* What a master takes over its replica does not let anybody read yet. */
	ck_assert_ptr_nonnull(strstr(redis_server_ask(&nodes[replica], "KEYS *"), key.key));
	if (!value)
		return;
	ck_assert_str_eq(redis_server_ask(&nodes[replica], "READONLY"), "OK");
	ck_assert_int_eq(redis_server_ask(&nodes[replica], "GET %s", key.key)[0], value);
}

static void expect_too_few(enum store_verb verb, char value)
{
	struct answer answer;

	answer_init(&answer, verb, &key, value);
	bench_submit(&bench, &answer);
	bench_await(&bench, &answer);
	ck_assert_msg(answer.op.status == STORE_REFUSED, "%d %s", answer.op.status, answer.text);
	ck_assert(!answer.op.lasting);
	ck_assert_msg(strstr(answer.text, "0 of 1 replicas have it") != NULL, "%s", answer.text);
	ck_assert_str_eq(redis_server_ask(&nodes[1], "ASKING"), "OK");
	ck_assert_int_eq(redis_server_ask_integer(&nodes[1], "EXISTS %s", key.key), 0);
}

START_TEST(a_slot_that_has_moved_waits_for_the_replicas_of_its_new_master)
	{
		ck_assert_int_eq(acquire_fenced(&key, 'a')->op.status, STORE_OK);
		expect_on_replica(ON_0, 'a');
		slot_begin_to_move(moving_slot, 0, 1);
		slot_move_keys(moving_slot, 0, 1);
		slot_end_move(moving_slot, 0, 1);
		EXPECT_OK(STORE_REPLACE, &key, 'a');
		expect_on_replica(ON_1, 'b');
		EXPECT_OK(STORE_EXTEND, &key, 'b');
		redis_server_pause(&nodes[ON_1]);
		ck_assert_int_eq(ASK(STORE_EXTEND, &key, 'b'), STORE_UNKNOWN);
		expect_too_few(STORE_REPLACE, 'b');
		expect_too_few(STORE_ACQUIRE, 'c');
		redis_server_resume(&nodes[ON_1]);
		EXPECT_OK(STORE_ACQUIRE, &key, 'c');
	}
END_TEST

START_TEST(a_first_command_that_is_sent_elsewhere_waits_there)
	{
		slot_begin_to_move(moving_slot, 0, 1);
		slot_end_move(moving_slot, 0, 1);
		redis_server_pause(&nodes[ON_1]);
		expect_too_few(STORE_ACQUIRE, 'a');
		redis_server_resume(&nodes[ON_1]);
		EXPECT_OK(STORE_ACQUIRE, &key, 'a');
		expect_on_replica(ON_1, 'a');
	}
END_TEST

START_TEST(who_is_asked_to_ask_elsewhere_waits_for_the_replicas_there)
	{
		slot_begin_to_move(moving_slot, 0, 1);
		ck_assert_int_eq(acquire_fenced(&key, 'a')->op.status, STORE_OK);
		expect_on_replica(ON_1, 0);
		EXPECT_OK(STORE_EXTEND, &key, 'a');
		EXPECT_OK(STORE_REPLACE, &key, 'a');
		EXPECT_OK(STORE_RELEASE, &key, 'b');
		slot_end_move(moving_slot, 0, 1);
		EXPECT_OK(STORE_ACQUIRE, &key, 'c');
	}
END_TEST

START_TEST(what_too_few_have_where_it_was_asked_for_is_taken_back_there)
	{
		slot_begin_to_move(moving_slot, 0, 1);
		redis_server_pause(&nodes[ON_1]);
		expect_too_few(STORE_ACQUIRE, 'a');
		redis_server_resume(&nodes[ON_1]);
		EXPECT_OK(STORE_ACQUIRE, &key, 'a');
		redis_server_pause(&nodes[ON_1]);
		expect_too_few(STORE_REPLACE, 'a');
		redis_server_resume(&nodes[ON_1]);
		slot_end_move(moving_slot, 0, 1);
		EXPECT_OK(STORE_ACQUIRE, &key, 'c');
	}
END_TEST

START_TEST(what_is_sent_on_does_not_wait_behind_another_that_waits)
	{
		struct store_key other;
		struct answer waits, looks;
		int64_t began_ms;
		char prefix[16];

		/* Of two connections one waits; over the loop it is this and that. */
		snprintf(prefix, sizeof(prefix), "waits%d-", _i);
		key_on(&other, 1, prefix);
		slot_begin_to_move(moving_slot, 0, 1);
		slot_end_move(moving_slot, 0, 1);
		ck_assert_int_eq(ASK(STORE_CHECK, &other, 'w'), STORE_GONE);
		redis_server_pause(&nodes[ON_1]);
		answer_init(&waits, STORE_ACQUIRE, &other, 'w');
		bench_submit(&bench, &waits);
		bench_turn_for(&bench, 20);
		began_ms = bench_now_ms();
		answer_init(&looks, STORE_LOOK, &key, 'a');
		bench_submit(&bench, &looks);
		bench_await(&bench, &looks);
		ck_assert_int_eq(looks.op.status, STORE_GONE);
		ck_assert_int_lt(bench_now_ms() - began_ms, 300);
		ck_assert(!waits.done);
		bench_await(&bench, &waits);
		store_key_deinit(&other);
	}
END_TEST

static void with_many_links(struct store_settings *settings)
{
	with_replicas(settings);
	settings->pool_size = 12;
}

START_TEST(slots_move_under_load_and_no_replicated_request_is_lost)
	{
		bench_close(&bench);
		bench_open(&bench, url, with_many_links);
		/* Between the two that have replicas. */
		move_slot_under_load(6, 2);
	}
END_TEST

/* ------------------------------------------------------------------ nodes that die */

START_TEST(a_dead_master_costs_only_its_slots_and_its_replica_takes_over)
	{
		struct store_key dead, alive;
		struct answer answer;
		int64_t end_ms;
		unsigned n_told;

		key_on(&dead, 0, "dead");
		key_on(&alive, 1, "alive");
		EXPECT_OK(STORE_ACQUIRE, &dead, 'a');
		EXPECT_OK(STORE_ACQUIRE, &alive, 'a');
		ck_assert_int_eq(redis_server_ask_integer(&nodes[0], "WAIT 1 5000"), 1);
		n_told = bench.n_changed;
		/* It hangs with a command, which is lost when it is killed. */
		redis_server_pause(&nodes[0]);
		answer_init(&answer, STORE_EXTEND, &dead, 'a');
		bench_submit(&bench, &answer);
		bench_turn(&bench, 10);
		redis_server_kill(&nodes[0]);
		bench_await(&bench, &answer);
		ck_assert_int_eq(answer.op.status, STORE_UNKNOWN);
		ck_assert_ptr_nonnull(strstr(answer.text, "redis-cluster://"));
		answer = *bench_do(&bench, STORE_CHECK, &dead, 'a');
		ck_assert_int_eq(answer.op.status, STORE_REFUSED);
		ck_assert(!answer.op.lasting);
		/* The others have not noticed. */
		for (int i = 0; i < 20; i++) {
			int64_t start_ms = bench_now_ms();

			EXPECT_OK(STORE_EXTEND, &alive, 'a');
			ck_assert_int_lt(bench_now_ms() - start_ms, 500);
			bench_turn_for(&bench, 10);
		}
		end_ms = bench_now_ms() + AWAIT_MS;
		while (bench_do(&bench, STORE_CHECK, &dead, 'a')->op.status != STORE_OK) {
			ck_assert_int_lt(bench_now_ms(), end_ms);
			bench_turn_for(&bench, 20);
		}
		ck_assert_uint_gt(bench.n_changed, n_told);
		/* Nobody has made sure of the one that died. */
		ck_assert(!bench_do(&bench, STORE_CHECK, &dead, 'a')->op.settled);
		ck_assert(bench_do(&bench, STORE_CHECK, &alive, 'a')->op.settled);
		/* It comes back, as another process: what it had is no more. */
		redis_server_restart(&nodes[0]);
		await_word(&nodes[0], "INFO replication", "role:slave", true);
		end_ms = bench_now_ms() + AWAIT_MS;
		while (!bench_do(&bench, STORE_CHECK, &dead, 'a')->op.settled) {
			ck_assert_int_lt(bench_now_ms(), end_ms);
			bench_turn_for(&bench, 20);
		}
		EXPECT_OK(STORE_RELEASE, &dead, 'a');
		store_key_deinit(&dead);
		store_key_deinit(&alive);
	}
END_TEST

START_TEST(a_failover_by_hand_loses_nothing)
	{
		struct store_key mine;

		key_on(&mine, 0, "mine");
		EXPECT_OK(STORE_ACQUIRE, &mine, 'a');
		ck_assert_str_eq(redis_server_ask(&nodes[REPLICA], "CLUSTER FAILOVER"), "OK");
		await_word(&nodes[REPLICA], "INFO replication", "role:master", true);
		EXPECT_OK(STORE_EXTEND, &mine, 'a');
		bench_await_count(&bench, &bench.n_changed, 1);
		EXPECT_OK(STORE_RELEASE, &mine, 'a');
		store_key_deinit(&mine);
	}
END_TEST

START_TEST(a_cluster_that_is_down_is_told)
	{
		const struct answer *answer;
		struct store_key mine;

		key_on(&mine, 1, "mine");
		EXPECT_OK(STORE_ACQUIRE, &mine, 'a');
		redis_server_kill(&nodes[0]);
		await_word(&nodes[1], "CLUSTER INFO", "cluster_state:fail", true);
		answer = bench_do(&bench, STORE_EXTEND, &mine, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert(!answer->op.lasting);
		ck_assert_ptr_nonnull(strstr(answer->text, "CLUSTERDOWN"));
		ck_assert_ptr_nonnull(strstr(answer->text, url));
		store_key_deinit(&mine);
	}
END_TEST

START_TEST(slots_that_nobody_serves_are_told)
	{
		struct store_key mine;
		const struct answer *answer;
		unsigned slot;

		key_on(&mine, 0, "mine");
		slot = slot_of_key(mine.key);
		for (int i = 0; i < N_MASTERS; i++)
			redis_server_ask(&nodes[i], "CLUSTER DELSLOTS %d", slot);
		bench_close(&bench);
		bench_open(&bench, url, NULL);
		answer = bench_do(&bench, STORE_ACQUIRE, &mine, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert_ptr_nonnull(strstr(answer->text, "CLUSTERDOWN"));
		store_key_deinit(&mine);
	}
END_TEST

/* ------------------------------------------------------------------ nodes that lie */

enum { N_FAKES = 2 };

static struct fake_redis fakes[N_FAKES];
static char fake_map[512];		    /* the answer to CLUSTER SLOTS */
static char fake_lock_answers[N_FAKES][64]; /* to locks; empty: as usual */
static unsigned n_maps, n_locks[N_FAKES];

static const char *fake_answer(struct fake_redis *fake, const redisReply *command)
{
	const int i = (int)(fake - fakes);

	if (fake_is(command, "CLUSTER")) {
		n_maps++;
		return fake_map;
	}
	if (!fake_is(command, "EVALSHA") && !fake_is(command, "EVAL") && !fake_is(command, "SET"))
		return fake_usual;
	n_locks[i]++;
	return *fake_lock_answers[i] ? fake_lock_answers[i] : fake_usual;
}

/* A map in which a host, as it stands in the answer, has all slots. */
static void fake_map_to(const char *host, int port)
{
	snprintf(fake_map, sizeof(fake_map),
		 "*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n%s:%d\r\n$2\r\nid\r\n", host, port);
}

static void setup_fakes(void)
{
	memset(fake_lock_answers, 0, sizeof(fake_lock_answers));
	memset(n_locks, 0, sizeof(n_locks));
	n_maps = 0;
	store_key_init(&key, "k");
	bench_init(&bench);
	for (int i = 0; i < N_FAKES; i++) {
		fake_redis_start_tcp(&fakes[i], bench.base);
		fakes[i].answer = fake_answer;
	}
	snprintf(url, sizeof(url), "redis-cluster://localhost:%d", fakes[0].port);
	fake_map_to("$9\r\n127.0.0.1\r\n", fakes[0].port);
}

static void teardown_fakes(void)
{
	bench_close(&bench);
	for (int i = 0; i < N_FAKES; i++)
		fake_redis_stop(&fakes[i]);
	bench_deinit(&bench);
	store_key_deinit(&key);
}

/* All ways to say where a node is: itself in three, and by name. */
static const char *const hosts[] = {
	"$0\r\n\r\n", "$-1\r\n", "*-1\r\n", "$9\r\n127.0.0.1\r\n", "$9\r\nlocalhost\r\n",
};

START_TEST(a_node_is_found_however_its_host_is_written)
	{
		fake_map_to(hosts[_i], fakes[0].port);
		bench_open(&bench, url, NULL);
		EXPECT_OK(STORE_RELEASE, &key, 'a');
		ck_assert_uint_eq(n_locks[0], 1);
	}
END_TEST

static const char *const nonsense[] = {
	"*0\r\n",
	"*1\r\n:1\r\n",
	"*1\r\n*0\r\n",
	"*1\r\n*3\r\n:-5\r\n:16383\r\n*2\r\n$1\r\nh\r\n:1\r\n",
	"*1\r\n*3\r\n:0\r\n:99999\r\n*2\r\n$1\r\nh\r\n:1\r\n",
	"*1\r\n*3\r\n:9\r\n:1\r\n*2\r\n$1\r\nh\r\n:1\r\n",
	"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$1\r\n?\r\n:1\r\n",
	"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$1\r\nh\r\n:70000\r\n",
	"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n:1\r\n:1\r\n",
	"*1\r\n*3\r\n:0\r\n:16383\r\n*1\r\n$1\r\nh\r\n",
	"$5\r\nhello\r\n",
	"-ERR what\r\n",
};

START_TEST(a_map_that_makes_no_sense_is_told_and_asked_for_again)
	{
		const struct answer *answer;

		snprintf(fake_map, sizeof(fake_map), "%s", nonsense[_i]);
		bench_open(&bench, url, NULL);
		answer = bench_do(&bench, STORE_RELEASE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		fake_map_to(hosts[0], fakes[0].port);
		for (int i = 0; bench_do(&bench, STORE_RELEASE, &key, 'a')->op.status != STORE_OK;
		     i++) {
			ck_assert_int_lt(i, 1000);
			bench_turn_for(&bench, 20);
		}
	}
END_TEST

static void with_short_timeouts(struct store_settings *settings)
{
	settings->command_timeout_ms = settings->connect_timeout_ms = 400;
}

/* Sent from one to the other and back: where to, and by which word. */
static const char *const circles[] = {"MOVED 7629 127.0.0.1", "ASK 7629 127.0.0.1", "MOVED 7629 "};

START_TEST(who_is_sent_round_in_circles_is_refused_in_time)
	{
		const struct answer *answer;
		int64_t began_ms;

		for (int i = 0; i < N_FAKES; i++) {
			snprintf(fake_lock_answers[i], sizeof(fake_lock_answers[i]), "-%s:%d\r\n",
				 circles[_i], fakes[1 - i].port);
		}
		bench_open(&bench, url, with_short_timeouts);
		began_ms = bench_now_ms();
		answer = bench_do(&bench, STORE_RELEASE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert_int_lt(bench_now_ms() - began_ms, 500);
		ck_assert_ptr_nonnull(strstr(answer->text, _i == 1 ? "ASK" : "MOVED"));
		/* A few at once, and then with pauses. */
		ck_assert_uint_le(n_locks[0] + n_locks[1], 120);
	}
END_TEST

START_TEST(who_is_sent_to_nowhere_is_refused_and_served_after_the_next_map)
	{
		const struct answer *answer;

		snprintf(fake_lock_answers[0], sizeof(fake_lock_answers[0]),
			 "-MOVED 7629 127.0.0.1:1\r\n");
		bench_open(&bench, url, with_short_timeouts);
		answer = bench_do(&bench, STORE_RELEASE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert_ptr_nonnull(strstr(answer->text, "127.0.0.1:1"));
		fake_lock_answers[0][0] = '\0';
		for (int64_t began_ms = bench_now_ms();
		     bench_do(&bench, STORE_RELEASE, &key, 'a')->op.status != STORE_OK;) {
			ck_assert_int_lt(bench_now_ms() - began_ms, 2000);
			bench_turn_for(&bench, 20);
		}
	}
END_TEST

static const char *say_nothing(struct fake_redis *fake, const redisReply *command)
{
	(void)fake;
	(void)command;
	return fake_silence;
}

START_TEST(a_first_node_that_hangs_costs_one_connect_timeout)
	{
		int64_t began_ms = bench_now_ms();

		fake_map_to("$9\r\n127.0.0.1\r\n", fakes[1].port);
		fakes[0].answer = say_nothing;
		snprintf(url, sizeof(url), "redis-cluster://127.0.0.1:%d,127.0.0.1:%d",
			 fakes[0].port, fakes[1].port);
		bench_open(&bench, url, with_short_timeouts);
		while (bench_do(&bench, STORE_RELEASE, &key, 'a')->op.status != STORE_OK)
			ck_assert_int_lt(bench_now_ms() - began_ms, 1500);
	}
END_TEST

START_TEST(one_that_is_no_cluster_is_told_for_good)
	{
		const struct answer *answer;

		bench_init(&bench);
		redis_server_start(&nodes[0], true, NULL);
		store_key_init(&key, "k");
		snprintf(url, sizeof(url), "redis-cluster://127.0.0.1:%d", nodes[0].port);
		bench_open(&bench, url, NULL);
		answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert(answer->op.lasting);
		ck_assert_ptr_nonnull(strstr(answer->text, "cluster support disabled"));
		teardown();
	}
END_TEST

START_TEST(one_that_is_not_there_is_told_and_found_later)
	{
		const struct answer *answer;

		setup_of("yes", N_MASTERS);
		for (int i = 0; i < N_MASTERS; i++)
			redis_server_kill(&nodes[i]);
		bench_open(&bench, url, NULL);
		answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert(!answer->op.lasting);
		ck_assert_ptr_nonnull(strstr(answer->text, "Connection refused"));
		for (int i = 0; i < N_MASTERS; i++)
			redis_server_restart(&nodes[i]);
		await_word(&nodes[0], "CLUSTER INFO", "cluster_state:ok", true);
		await_word(&nodes[1], "CLUSTER INFO", "cluster_state:ok", true);
		await_word(&nodes[2], "CLUSTER INFO", "cluster_state:ok", true);
		while (bench_do(&bench, STORE_ACQUIRE, &key, 'a')->op.status != STORE_OK)
			bench_turn_for(&bench, 20);
		teardown();
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_cluster");
	TCase *verbs = tcase_create("verbs"), *failover = tcase_create("failover"),
	      *replicas = tcase_create("replicas"), *lies = tcase_create("lies"),
	      *alone = tcase_create("alone");

	if (!redis_server_installed())
		return 77;
	tcase_add_checked_fixture(verbs, setup, teardown);
	tcase_set_timeout(verbs, 120);
	tcase_add_test(verbs, slots_are_those_of_the_server);
	tcase_add_test(verbs, each_verb_works_on_each_master_and_the_key_is_the_configured_one);
	tcase_add_test(verbs, what_redmutex_sets_excludes_us);
	tcase_add_test(verbs, many_at_once_are_answered_in_order);
	tcase_add_test(verbs, releases_are_heard_before_and_after_the_slot_moves);
	tcase_add_test(verbs, asked_to_ask_elsewhere_it_asks_there);
	tcase_add_test(verbs, what_has_not_moved_yet_is_served_where_it_is);
	tcase_add_test(verbs, no_counter_is_made_twice_while_the_slot_is_on_its_way);
	tcase_add_test(verbs, what_a_later_command_has_overtaken_is_not_carried_out);
	tcase_add_test(verbs, slots_move_under_load_and_no_request_is_lost);
	tcase_add_test(verbs, what_waits_in_a_closed_slot_is_answered_in_order);
	tcase_add_test(verbs, a_cluster_that_is_down_is_told);
	tcase_add_test(verbs, slots_that_nobody_serves_are_told);
	suite_add_tcase(suite, verbs);
	tcase_add_checked_fixture(failover, setup_with_replica, teardown);
	tcase_set_timeout(failover, 120);
	tcase_add_test(failover, a_dead_master_costs_only_its_slots_and_its_replica_takes_over);
	tcase_add_test(failover, a_failover_by_hand_loses_nothing);
	suite_add_tcase(suite, failover);
	tcase_add_checked_fixture(replicas, setup_with_replicas, teardown);
	tcase_set_timeout(replicas, 120);
	tcase_add_test(replicas, a_slot_that_has_moved_waits_for_the_replicas_of_its_new_master);
	tcase_add_test(replicas, a_first_command_that_is_sent_elsewhere_waits_there);
	tcase_add_test(replicas, who_is_asked_to_ask_elsewhere_waits_for_the_replicas_there);
	tcase_add_test(replicas, what_too_few_have_where_it_was_asked_for_is_taken_back_there);
	tcase_add_loop_test(replicas, what_is_sent_on_does_not_wait_behind_another_that_waits, 0,
			    4);
	tcase_add_test(replicas, slots_move_under_load_and_no_replicated_request_is_lost);
	suite_add_tcase(suite, replicas);
	tcase_add_checked_fixture(lies, setup_fakes, teardown_fakes);
	tcase_set_timeout(lies, 60);
	tcase_add_loop_test(lies, a_node_is_found_however_its_host_is_written, 0,
			    sizeof(hosts) / sizeof(hosts[0]));
	tcase_add_loop_test(lies, a_map_that_makes_no_sense_is_told_and_asked_for_again, 0,
			    sizeof(nonsense) / sizeof(nonsense[0]));
	tcase_add_loop_test(lies, who_is_sent_round_in_circles_is_refused_in_time, 0,
			    sizeof(circles) / sizeof(circles[0]));
	tcase_add_test(lies, who_is_sent_to_nowhere_is_refused_and_served_after_the_next_map);
	tcase_add_test(lies, a_first_node_that_hangs_costs_one_connect_timeout);
	suite_add_tcase(suite, lies);
	tcase_set_timeout(alone, 120);
	tcase_add_test(alone, one_that_is_no_cluster_is_told_for_good);
	tcase_add_test(alone, one_that_is_not_there_is_told_and_found_later);
	suite_add_tcase(suite, alone);
	return suite_run(suite);
}
