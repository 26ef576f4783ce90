/* SPDX-License-Identifier: MIT */
/*
 * The quorum over members that do as they are told: what it answers, when that is certain, what it
 * asks of whom afterwards. Time is turned by hand.
 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "store/memory.h"
#include "store/quorum.h"
#include "suite.h"
#include "util/alloc.h"

enum { MEMBERS_MAX = 5, TIMEOUT_MS = 1000, TTL_MS = 10000 };

/* ------------------------------------------------------------------ members and their world */

TAILQ_HEAD(op_list, store_op);

struct member {
	struct store store;
	struct op_list open;
	LIST_HEAD(, store_watch) watches;
	int64_t fence;	 /* proposed next */
	bool no_counter; /* ... and there was none */
	uint64_t other;	 /* who stands there */
	char stands;	 /* ... and is broken; 0: it does not say what that was */
	bool settled;
};

static int64_t test_us;
static int64_t armed_us;
static unsigned n_members, n_alive;
static struct member members[MEMBERS_MAX];
static struct store *quorum;
static struct store_key key;
static unsigned n_events;

static int64_t test_now_us(struct clock *clock)
{
	(void)clock;
	return test_us;
}

static struct clock test_clock = {test_now_us};

static void test_arm(void *arg, int64_t due_us)
{
	(void)arg;
	armed_us = due_us;
}

static void test_event(struct store_listener *listener, struct store *store, enum store_event event)
{
	(void)listener;
	(void)event;
	ck_assert_ptr_eq(store, quorum);
	n_events++;
}

static struct store_listener test_listener = {test_event};

static void member_submit(struct store *store, struct store_op *op)
{
	struct member *member = container_of(store, struct member, store);

	TAILQ_INSERT_TAIL(&member->open, op, entry);
}

static void member_watch(struct store *store, struct store_watch *watch)
{
	struct member *member = container_of(store, struct member, store);

	LIST_INSERT_HEAD(&member->watches, watch, entry);
}

static void member_unwatch(struct store *store, struct store_watch *watch)
{
	(void)store;
	LIST_REMOVE(watch, entry);
}

static void set_value(char *value, char c)
{
	memset(value, c, LOCK_STRING_SIZE - 1);
	value[LOCK_STRING_SIZE - 1] = '\0';
}

static bool member_flush(struct store *store)
{
	(void)store;
	return false;
}

/* Answers the first command that is open. */
static void answer(unsigned index, enum store_status status)
{
	struct member *member = &members[index];
	struct store_op *op = TAILQ_FIRST(&member->open);
	char broken[LOCK_STRING_SIZE];

	ck_assert_msg(op, "member %u was asked nothing", index);
	TAILQ_REMOVE(&member->open, op, entry);
	op->written = true;
	op->status = status;
	op->lasting = false;
	op->settled = member->settled;
	op->fence = op->fenced && status <= STORE_GONE ? member->fence : 0;
	op->fence_is_new = op->fenced && status <= STORE_GONE && member->no_counter;
	op->pttl_ms = status == STORE_HELD ? (int64_t)1000 * (index + 1) : -2;
	op->other = status == STORE_HELD ? member->other : 0;
	op->contenders = op->receivers = -1;
	op->text = status == STORE_REFUSED || status == STORE_UNKNOWN ? "told to" : NULL;
	op->holder = NULL;
	if (op->verb == STORE_BREAK && status == STORE_OK && member->stands) {
		set_value(broken, member->stands);
		op->broken = broken;
	}
	op->done(op);
}

static void member_free(struct store *store)
{
	struct member *member = container_of(store, struct member, store);

	while (!TAILQ_EMPTY(&member->open))
		answer((unsigned)(member - members), STORE_UNKNOWN);
	ck_assert(LIST_EMPTY(&member->watches));
	n_alive--;
}

static const struct store_class member_class = {
	.submit = member_submit,
	.watch = member_watch,
	.unwatch = member_unwatch,
	.flush = member_flush,
	.free = member_free,
};

static void begin(unsigned n)
{
	const struct quorum_env env = {
		.clock = &test_clock, .timeout_ms = TIMEOUT_MS, .arm = test_arm};

	test_us = 1000000;
	armed_us = CLOCK_NEVER;
	n_events = 0;
	n_members = n_alive = n;
	store_key_init(&key, "k");
	quorum = quorum_new(&env, "all of them", &test_listener);
	for (unsigned i = 0; i < n; i++) {
		members[i] = (struct member){
			.store = {.class = &member_class, .name = "one of them"},
			.fence = 100 + i,
			.other = 1,
			.settled = true,
		};
		TAILQ_INIT(&members[i].open);
		LIST_INIT(&members[i].watches);
		quorum_add(quorum, &members[i].store);
	}
}

static void end(void)
{
	store_free(quorum);
	quorum = NULL;
	ck_assert_uint_eq(n_alive, 0);
	ck_assert(armed_us == CLOCK_NEVER);
	store_key_deinit(&key);
}

static void pass_ms(int64_t ms)
{
	const int64_t until_us = test_us + ms * 1000;

	while (armed_us <= until_us) {
		test_us = armed_us > test_us ? armed_us : test_us;
		armed_us = CLOCK_NEVER;
		quorum_run(quorum);
	}
	test_us = until_us;
}

static unsigned n_open(unsigned index)
{
	struct store_op *op;
	unsigned n = 0;

	TAILQ_FOREACH (op, &members[index].open, entry)
		n++;
	return n;
}

/* The first command open at a member is this one. */
static struct store_op *expect(unsigned index, enum store_verb verb, char value)
{
	struct store_op *op = TAILQ_FIRST(&members[index].open);

	ck_assert_msg(op, "member %u was asked nothing", index);
	ck_assert_int_eq(op->verb, verb);
	ck_assert_int_eq(op->value[0], value);
	return op;
}

static void expect_nothing(unsigned index)
{
	ck_assert_uint_eq(n_open(index), 0);
}

/* ------------------------------------------------------------------ asking */

struct asker {
	struct store_op op;
	struct store_key key; /* its own, gone when it has its answer */
	unsigned n_answers;
	enum store_status status;
	bool contested, settled, lasting, left, undone;
	int64_t fence, pttl_ms, cut_ms;
	char text[300];
};

static void asker_done(struct store_op *op)
{
	struct asker *asker = container_of(op, struct asker, op);

	asker->n_answers++;
	asker->status = op->status;
	asker->contested = op->contested;
	asker->settled = op->settled;
	asker->lasting = op->lasting;
	asker->fence = op->fence;
	asker->pttl_ms = op->pttl_ms;
	asker->left = op->left;
	asker->undone = op->undone;
	asker->cut_ms = op->cut_ms;
	asker->text[0] = '\0';
	if (op->text)
		strncpy(asker->text, op->text, sizeof(asker->text) - 1);
	/* Whoever asked may be gone from now on. */
	store_key_deinit(&asker->key);
	memset(op, 0xee, sizeof(*op));
}

static void ask_ttl(struct asker *asker, enum store_verb verb, char value, bool fenced,
		    int64_t ttl_ms)
{
	*asker = (struct asker){
		.op = {.verb = verb, .ttl_ms = ttl_ms, .fenced = fenced, .done = asker_done}};
	store_key_init(&asker->key, "k");
	asker->op.key = &asker->key;
	set_value(asker->op.value, value);
	set_value(asker->op.next, (char)(value + 1));
	store_submit(quorum, &asker->op);
	ck_assert_uint_eq(asker->n_answers, 0);
	store_flush(quorum);
}

static void ask(struct asker *asker, enum store_verb verb, char value, bool fenced)
{
	ask_ttl(asker, verb, value, fenced, TTL_MS);
}

static void expect_answer(const struct asker *asker, enum store_status status)
{
	bool all_settled = true;

	for (unsigned i = 0; i < n_members; i++)
		all_settled = all_settled && members[i].settled;
	ck_assert_uint_eq(asker->n_answers, 1);
	ck_assert_int_eq(asker->status, status);
	if (status == STORE_REFUSED || status == STORE_UNKNOWN)
		ck_assert(!asker->settled);
	else if (all_settled)
		ck_assert(asker->settled);
	ck_assert(!!*asker->text == (status == STORE_REFUSED || status == STORE_UNKNOWN));
}

static enum store_status status_of(char letter)
{
	switch (letter) {
	case 'O':
		return STORE_OK;
	case 'H':
	case 'h':
		return STORE_HELD;
	case 'G':
		return STORE_GONE;
	case 'R':
		return STORE_REFUSED;
	case 'U':
		return STORE_UNKNOWN;
	}
	ck_abort_msg("no such answer: %c", letter);
}

/* All members take it: what most tests begin with. */
static void take(char value)
{
	struct asker asker;

	ask(&asker, STORE_ACQUIRE, value, false);
	for (unsigned i = 0; i < n_members; i++)
		answer(i, STORE_OK);
	expect_answer(&asker, STORE_OK);
}

/* ------------------------------------------------------------------ every verb, every order */

/*
 * What members answer, a letter each: OK, HELD (by one and the same; small: each by another), GONE,
 * REFUSED, UNKNOWN, and `-` never in time. What the quorum makes of it, in whatever order they
 * come. `clean`: to which of them a RELEASE of the value goes then (x), must not (.), or may by the
 * order (?).
 */
static const struct outcome {
	enum store_verb verb;
	const char *answers;
	char status;
	bool contested;
	const char *clean;
} outcomes[] = {
	{STORE_ACQUIRE, "OOO", 'O', false, "..."},
	{STORE_ACQUIRE, "OOH", 'O', false, "..."},
	{STORE_ACQUIRE, "OOR", 'O', false, "..."},
	{STORE_ACQUIRE, "OOU", 'O', false, "..."},
	{STORE_ACQUIRE, "OO-", 'O', false, "..."},
	{STORE_ACQUIRE, "OHH", 'H', false, "x??"},
	{STORE_ACQUIRE, "Ohh", 'H', true, "x??"},
	{STORE_ACQUIRE, "OHhhh", 'H', true, "x????"},
	{STORE_ACQUIRE, "HHhh-", 'H', true, "????x"},
	{STORE_ACQUIRE, "HHH", 'H', false, "???"},
	{STORE_ACQUIRE, "HHR", 'H', false, "???"},
	{STORE_ACQUIRE, "HH-", 'H', false, "??x"},
	{STORE_ACQUIRE, "OHR", 'H', true, "x.."},
	{STORE_ACQUIRE, "OHU", 'H', true, "x.x"},
	{STORE_ACQUIRE, "ORR", 'R', false, "x??"},
	{STORE_ACQUIRE, "OUU", 'R', false, "xxx"},
	{STORE_ACQUIRE, "O--", 'R', false, "xxx"},
	{STORE_ACQUIRE, "---", 'R', false, "xxx"},
	{STORE_ACQUIRE, "RRR", 'R', false, "???"},
	{STORE_ACQUIRE, "HRU", 'R', false, "???"},
	{STORE_ACQUIRE, "OOHH-", 'H', true, "xx..x"},
	{STORE_ACQUIRE, "OOHHH", 'H', false, "xx???"},
	{STORE_ACQUIRE, "OORRR", 'R', false, "xx???"},
	{STORE_ACQUIRE, "OOO--", 'O', false, "....."},
	{STORE_ACQUIRE, "OOORU", 'O', false, "....."},
	{STORE_ACQUIRE, "OHRRR", 'R', false, "x????"},
	{STORE_ACQUIRE, "OO", 'O', false, ".."},
	{STORE_ACQUIRE, "OH", 'H', true, "x?"},
	{STORE_ACQUIRE, "OOHH", 'H', true, "xx??"},

	{STORE_EXTEND, "OOO", 'O', false, "..."},
	{STORE_EXTEND, "OOR", 'O', false, "..."},
	{STORE_EXTEND, "OO-", 'O', false, "..."},
	{STORE_EXTEND, "OOH", 'O', false, "..."},
	{STORE_EXTEND, "OHH", 'H', false, "x.."},
	{STORE_EXTEND, "OGG", 'G', false, "x.."},
	{STORE_EXTEND, "GG-", 'G', false, "..?"},
	{STORE_EXTEND, "GGR", 'G', false, "..x"},
	{STORE_EXTEND, "ORR", 'U', false, "..."},
	{STORE_EXTEND, "OGU", 'U', false, "..."},
	{STORE_EXTEND, "RRR", 'U', false, "..."},
	{STORE_EXTEND, "O--", 'U', false, "..."},

	{STORE_CHECK, "OOH", 'O', false, "..."},
	{STORE_CHECK, "OO-", 'O', false, "..."},
	{STORE_CHECK, "OHH", 'H', false, "x.."},
	{STORE_CHECK, "GG-", 'G', false, "..?"},
	{STORE_CHECK, "ORG", 'R', false, "..."},
	{STORE_CHECK, "O--", 'R', false, "..."},

	{STORE_RELEASE, "OOO", 'O', false, "..."},
	{STORE_RELEASE, "OO-", 'O', false, "..?"},
	{STORE_RELEASE, "OOR", 'O', false, "..x"},
	{STORE_RELEASE, "OOU", 'O', false, "..x"},
	{STORE_RELEASE, "GGG", 'G', false, "..."},
	{STORE_RELEASE, "HHG", 'H', false, "..."},
	{STORE_RELEASE, "GG-", 'G', false, "..?"},
	{STORE_RELEASE, "OGR", 'O', false, "..x"},
	{STORE_RELEASE, "ORR", 'U', false, "..."},
	{STORE_RELEASE, "RRR", 'U', false, "..."},
	{STORE_RELEASE, "O--", 'U', false, "..."},

	{STORE_LOOK, "HHG", 'H', false, "..."},
	{STORE_LOOK, "GGH", 'G', false, "..."},
	{STORE_LOOK, "HH-", 'H', false, "..."},
	{STORE_LOOK, "GG-", 'G', false, "..."},
	{STORE_LOOK, "HG-", 'H', false, "..."},
	{STORE_LOOK, "HRR", 'R', false, "..."},
	{STORE_LOOK, "---", 'R', false, "..."},

	{STORE_BREAK, "OOO", 'O', false, "..."},
	{STORE_BREAK, "OOR", 'O', false, "..."},
	{STORE_BREAK, "OO-", 'O', false, "..."},
	{STORE_BREAK, "GG-", 'G', false, "..."},
	{STORE_BREAK, "OG-", 'O', false, "..."},
	{STORE_BREAK, "ORR", 'U', false, "..."},
	{STORE_BREAK, "RRR", 'U', false, "..."},

	{STORE_RAISE, "OOU", 'O', false, "..."},
	{STORE_RAISE, "ORR", 'U', false, "..."},
};

/* The next permutation of [0, n) in the order of the dictionary. Return: false after the last. */
static bool permute(unsigned *order, unsigned n)
{
	unsigned i = n - 1, j = n - 1, swap;

	while (i > 0 && order[i - 1] >= order[i])
		i--;
	if (i == 0)
		return false;
	while (order[j] <= order[i - 1])
		j--;
	swap = order[i - 1], order[i - 1] = order[j], order[j] = swap;
	for (j = n - 1; i < j; i++, j--)
		swap = order[i], order[i] = order[j], order[j] = swap;
	return true;
}

/* Is a RELEASE of the value open at the member, behind what else may be? */
static bool is_cleaned(unsigned index, char value)
{
	struct store_op *op;
	unsigned n = 0;

	TAILQ_FOREACH (op, &members[index].open, entry)
		if (op->verb == STORE_RELEASE && op->value[0] == value)
			n++;
	return n > 0;
}

static void run_outcome(const struct outcome *outcome, const unsigned *order)
{
	const unsigned n = (unsigned)strlen(outcome->answers);
	const bool is_release = outcome->verb == STORE_RELEASE;
	struct asker asker;
	unsigned n_never = 0;

	begin(n);
	if (outcome->verb != STORE_ACQUIRE && outcome->verb != STORE_LOOK)
		take('a');
	ask(&asker, outcome->verb, 'a', false);
	for (unsigned i = 0; i < n; i++) {
		const char letter = outcome->answers[order[i]];

		members[order[i]].other = letter == 'h' ? 100 + order[i] : 1;
		if (letter == '-')
			n_never++;
		else
			answer(order[i], status_of(letter));
	}
	if (n_never && !asker.n_answers)
		pass_ms(TIMEOUT_MS);
	expect_answer(&asker, status_of(outcome->status));
	ck_assert(asker.contested == outcome->contested);
	for (unsigned i = 0; i < n; i++) {
		/* The command itself is not what is looked for. */
		if (outcome->answers[i] == '-' && is_release)
			continue;
		if (outcome->clean[i] != '?')
			ck_assert_msg(is_cleaned(i, 'a') == (outcome->clean[i] == 'x'),
				      "verb %d, %s: member %u", (int)outcome->verb,
				      outcome->answers, i);
	}
	end();
}

START_TEST(every_outcome_is_the_same_in_every_order)
	{
		const struct outcome *outcome = &outcomes[_i];
		unsigned order[MEMBERS_MAX] = {0, 1, 2, 3, 4};

		do
			run_outcome(outcome, order);
		while (permute(order, (unsigned)strlen(outcome->answers)));
	}
END_TEST

/* ------------------------------------------------------------------ at once */

START_TEST(a_majority_is_enough_and_the_rest_may_come_late)
	{
		struct asker asker;

		begin(5);
		ask(&asker, STORE_ACQUIRE, 'a', false);
		answer(4, STORE_OK);
		answer(2, STORE_OK);
		ck_assert_uint_eq(asker.n_answers, 0);
		answer(0, STORE_OK);
		expect_answer(&asker, STORE_OK);
		answer(1, STORE_OK);
		answer(3, STORE_HELD);
		for (unsigned i = 0; i < 5; i++)
			expect_nothing(i);
		end();
	}
END_TEST

START_TEST(a_refusal_is_certain_as_soon_as_no_majority_is_left)
	{
		struct asker asker;

		begin(5);
		ask(&asker, STORE_ACQUIRE, 'a', false);
		answer(0, STORE_HELD);
		answer(1, STORE_HELD);
		ck_assert_uint_eq(asker.n_answers, 0);
		answer(2, STORE_HELD);
		expect_answer(&asker, STORE_HELD);
		ck_assert(!asker.contested);
		ck_assert_int_eq(asker.pttl_ms, 3000); /* then three of five may be free */
		end();
	}
END_TEST

START_TEST(a_command_is_written_when_it_is_flushed)
	{
		struct asker asker = {.op = {.verb = STORE_LOOK, .done = asker_done}};

		begin(3);
		store_key_init(&asker.key, "k");
		asker.op.key = &asker.key;
		store_submit(quorum, &asker.op);
		ck_assert(!asker.op.written);
		store_flush(quorum);
		ck_assert(asker.op.written);
		for (unsigned i = 0; i < 2; i++)
			answer(i, STORE_GONE);
		expect_answer(&asker, STORE_GONE);
		end();
	}
END_TEST

/* ------------------------------------------------------------------ deadlines */

START_TEST(members_are_given_up_after_a_fifth_of_the_lease)
	{
		struct asker asker = {
			.op = {.verb = STORE_ACQUIRE, .ttl_ms = 500, .done = asker_done}};

		begin(3);
		store_key_init(&asker.key, "k");
		asker.op.key = &asker.key;
		set_value(asker.op.value, 'a');
		store_submit(quorum, &asker.op);
		answer(0, STORE_OK);
		pass_ms(99);
		ck_assert_uint_eq(asker.n_answers, 0);
		pass_ms(1);
		expect_answer(&asker, STORE_REFUSED);
		ck_assert_ptr_nonnull(strstr(asker.text, "1 of 3 servers answered, 2 are needed"));
		ck_assert_ptr_nonnull(strstr(asker.text, "one of them: no answer within 100 ms"));
		end();
	}
END_TEST

START_TEST(a_command_takes_no_longer_than_its_timeout)
	{
		struct asker asker;

		begin(3);
		ask(&asker, STORE_ACQUIRE, 'a', false); /* a fifth of 10 s would be more */
		pass_ms(TIMEOUT_MS - 1);
		ck_assert_uint_eq(asker.n_answers, 0);
		pass_ms(1);
		expect_answer(&asker, STORE_REFUSED);
		end();
	}
END_TEST

/* ------------------------------------------------------------------ removals */

START_TEST(a_slow_member_gets_the_removal_right_behind_the_command)
	{
		struct asker asker;

		begin(3);
		ask(&asker, STORE_ACQUIRE, 'a', false);
		answer(0, STORE_HELD);
		answer(1, STORE_HELD);
		expect_answer(&asker, STORE_HELD);
		expect(2, STORE_ACQUIRE, 'a');
		ck_assert_uint_eq(n_open(2), 2);
		answer(2, STORE_OK);
		expect(2, STORE_RELEASE, 'a');
		answer(2, STORE_OK);
		pass_ms(60000);
		expect_nothing(2);
		end();
	}
END_TEST

START_TEST(a_removal_is_not_repeated_where_nothing_was_set)
	{
		struct asker asker;

		begin(3);
		ask(&asker, STORE_ACQUIRE, 'a', false);
		answer(0, STORE_HELD);
		answer(1, STORE_HELD);
		answer(2, STORE_REFUSED); /* never written */
		answer(2, STORE_REFUSED); /* the removal: neither */
		pass_ms(60000);
		expect_nothing(2);
		end();
	}
END_TEST

START_TEST(a_removal_is_repeated_until_the_member_says_so)
	{
		struct asker asker;
		unsigned n = 0;

		begin(3);
		ask(&asker, STORE_ACQUIRE, 'a', false);
		answer(0, STORE_OK);
		answer(1, STORE_HELD);
		answer(2, STORE_HELD);
		expect_answer(&asker, STORE_HELD);
		for (n = 0; n < 5; n++) {
			expect(0, STORE_RELEASE, 'a');
			answer(0, STORE_REFUSED);
			expect_nothing(0);
			pass_ms(50 << n);
		}
		/* It is back: at once. */
		answer(0, STORE_REFUSED);
		quorum_member_listener(quorum)->event(quorum_member_listener(quorum),
						      &members[0].store, STORE_EVENT_UP);
		ck_assert_uint_eq(n_events, 1);
		pass_ms(0);
		answer(0, STORE_OK);
		pass_ms(60000);
		expect_nothing(0);
		end();
	}
END_TEST

START_TEST(a_removal_ends_when_the_string_has_expired)
	{
		struct asker asker;
		unsigned n = 0;

		begin(3);
		ask(&asker, STORE_ACQUIRE, 'a', false);
		answer(0, STORE_OK);
		answer(1, STORE_HELD);
		answer(2, STORE_HELD);
		while (n_open(0) > 0 && n < 1000) {
			answer(0, STORE_REFUSED);
			pass_ms(8000);
			n++;
		}
		ck_assert_uint_ge(n, 3);
		ck_assert_uint_le(n, 2 * TTL_MS / 1000);
		end();
	}
END_TEST

START_TEST(what_may_still_come_is_removed_until_it_cannot)
	{
		struct asker asker;
		unsigned n = 0;

		begin(3);
		ask(&asker, STORE_ACQUIRE, 'a', false);
		answer(0, STORE_UNKNOWN); /* lost with its connection */
		answer(1, STORE_HELD);
		answer(2, STORE_HELD);
		expect_answer(&asker, STORE_HELD);
		members[0].settled = false;
		while (n_open(0) > 0) {
			expect(0, STORE_RELEASE, 'a');
			answer(0, STORE_GONE);
			pass_ms(1000);
			n++;
		}
		ck_assert_uint_ge(n, 60);
		ck_assert_uint_le(n, 62);
		end();
	}
END_TEST

START_TEST(a_settled_answer_ends_the_doubt)
	{
		struct asker asker;

		begin(3);
		ask(&asker, STORE_ACQUIRE, 'a', false);
		answer(0, STORE_UNKNOWN);
		answer(1, STORE_HELD);
		answer(2, STORE_HELD);
		members[0].settled = false;
		answer(0, STORE_GONE);
		members[0].settled = true;
		pass_ms(1000);
		answer(0, STORE_GONE);
		pass_ms(60000);
		expect_nothing(0);
		end();
	}
END_TEST

START_TEST(a_release_is_repeated_only_where_the_lock_may_stand)
	{
		struct asker asker;

		begin(5);
		ask(&asker, STORE_ACQUIRE, 'a', false);
		for (unsigned i = 0; i < 3; i++)
			answer(i, STORE_OK);
		answer(3, STORE_REFUSED); /* it is down */
		answer(4, STORE_OK);
		expect_answer(&asker, STORE_OK);
		ask(&asker, STORE_RELEASE, 'a', false);
		for (unsigned i = 0; i < 3; i++)
			answer(i, STORE_OK);
		expect_answer(&asker, STORE_OK);
		answer(3, STORE_REFUSED);
		answer(4, STORE_REFUSED); /* now this one is down */
		expect_nothing(3);
		expect(4, STORE_RELEASE, 'a');
		answer(4, STORE_REFUSED);
		pass_ms(50);
		expect(4, STORE_RELEASE, 'a');
		answer(4, STORE_OK);
		pass_ms(60000);
		expect_nothing(3);
		expect_nothing(4);
		end();
	}
END_TEST

START_TEST(a_lock_is_not_forgotten_for_a_release_of_its_string_at_another_key)
	{
		struct asker first, second;

		begin(3);
		take('a');
		ask(&first, STORE_REPLACE, 'a', false);
		for (unsigned i = 0; i < 2; i++)
			answer(i, STORE_OK);
		expect_answer(&first, STORE_OK);
		second = (struct asker){.op = {.verb = STORE_RELEASE, .ttl_ms = TTL_MS}};
		second.op.done = asker_done;
		store_key_init(&second.key, "k2");
		second.op.key = &second.key;
		set_value(second.op.value, 'a');
		store_submit(quorum, &second.op);
		for (unsigned i = 0; i < 2; i++)
			answer(i, STORE_GONE);
		expect_answer(&second, STORE_GONE);
		answer(2, STORE_UNKNOWN); /* the replacement */
		answer(2, STORE_GONE);	  /* the release over there */
		expect(2, STORE_RELEASE, 'a');
		ck_assert_str_eq(TAILQ_FIRST(&members[2].open)->key->key, "k");
		end();
	}
END_TEST

START_TEST(a_release_of_an_unknown_string_is_repeated_everywhere)
	{
		struct asker asker;

		begin(3);
		ask(&asker, STORE_RELEASE, 'a', false); /* an earlier process was granted it */
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		answer(2, STORE_REFUSED);
		expect(2, STORE_RELEASE, 'a');
		end();
	}
END_TEST

START_TEST(an_acquire_that_failed_says_that_its_string_is_being_removed)
	{
		struct asker asker;

		begin(3);
		ask(&asker, STORE_ACQUIRE, 'a', false);
		answer(0, STORE_OK);
		answer(1, STORE_REFUSED);
		answer(2, STORE_REFUSED);
		expect_answer(&asker, STORE_REFUSED);
		ck_assert(asker.undone);
		expect(0, STORE_RELEASE, 'a');
		answer(0, STORE_OK);
		ask(&asker, STORE_ACQUIRE, 'b', false);
		for (unsigned i = 0; i < 3; i++)
			answer(i, STORE_OK);
		expect_answer(&asker, STORE_OK);
		ck_assert(!asker.undone);
		end();
	}
END_TEST

START_TEST(an_acquire_says_if_its_string_may_stand_on_a_majority)
	{
		static const struct {
			const char *answers;
			enum store_status status;
			bool left;
		} cases[] = {
			{"ORR", STORE_REFUSED, false}, {"OUR", STORE_REFUSED, true},
			{"RUU", STORE_REFUSED, true},  {"OHR", STORE_HELD, false},
			{"OHU", STORE_HELD, true},     {"HHU", STORE_HELD, false},
		};

		for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
			struct asker asker;

			begin(3);
			ask(&asker, STORE_ACQUIRE, 'a', false);
			for (unsigned j = 0; j < 3; j++)
				answer(j, status_of(cases[i].answers[j]));
			expect_answer(&asker, cases[i].status);
			ck_assert_msg(asker.left == cases[i].left, "%s", cases[i].answers);
			end();
		}
	}
END_TEST

START_TEST(a_release_says_if_its_string_may_come_back_on_a_majority)
	{
		struct asker asker;

		begin(3);
		ask(&asker, STORE_ACQUIRE, 'a', false);
		answer(0, STORE_UNKNOWN);
		answer(1, STORE_OK);
		answer(2, STORE_OK);
		expect_answer(&asker, STORE_OK);
		/* It stands on 1, and may come to 0 yet. */
		members[0].settled = false;
		ask(&asker, STORE_RELEASE, 'a', false);
		answer(0, STORE_GONE);
		answer(2, STORE_OK);
		ck_assert_int_eq(asker.status, STORE_OK);
		ck_assert(asker.left && !asker.settled);
		answer(1, STORE_OK);
		/* Nor is it forgotten there. */
		expect(0, STORE_RELEASE, 'a');
		members[0].settled = true;
		answer(0, STORE_OK);
		take('b');
		ask(&asker, STORE_RELEASE, 'b', false);
		answer(0, STORE_OK);
		answer(2, STORE_OK);
		ck_assert(!asker.left);
		end();
	}
END_TEST

START_TEST(what_was_broken_is_removed_from_members_that_did_not_say_so)
	{
		struct asker asker;

		begin(5);
		for (unsigned i = 0; i < 5; i++)
			members[i].stands = i == 1 ? 'b' : 'a';
		ask(&asker, STORE_BREAK, 'x', false);
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		answer(2, STORE_REFUSED);
		ck_assert_uint_eq(asker.n_answers, 0);
		answer(4, STORE_GONE);
		expect_answer(&asker, STORE_OK);
		/* Never the command itself again: another lock may stand there by then. */
		expect(2, STORE_RELEASE, 'a');
		answer(2, STORE_OK);
		expect(2, STORE_RELEASE, 'b');
		answer(2, STORE_GONE);
		expect(3, STORE_BREAK, 'x');
		answer(3, STORE_UNKNOWN);
		expect(3, STORE_RELEASE, 'a');
		answer(3, STORE_REFUSED);
		expect(3, STORE_RELEASE, 'b');
		answer(3, STORE_HELD);
		expect_nothing(3);
		pass_ms(50);
		expect(3, STORE_RELEASE, 'a');
		answer(3, STORE_OK);
		pass_ms(10000);
		for (unsigned i = 0; i < 5; i++)
			expect_nothing(i);
		end();
	}
END_TEST

START_TEST(an_answer_is_settled_when_that_of_a_majority_is)
	{
		struct asker asker;

		begin(3);
		take('a');
		members[0].settled = false;
		ask(&asker, STORE_RELEASE, 'a', false);
		answer(1, STORE_OK);
		answer(2, STORE_OK);
		ck_assert(asker.settled);
		answer(0, STORE_OK);
		take('b');
		ask(&asker, STORE_RELEASE, 'b', false);
		answer(0, STORE_OK);
		answer(2, STORE_OK);
		ck_assert_int_eq(asker.status, STORE_OK);
		ck_assert(!asker.settled);
		end();
	}
END_TEST

START_TEST(an_extension_says_how_much_a_lost_one_may_cut_off)
	{
		struct asker asker;

		begin(3);
		take('a');
		ask_ttl(&asker, STORE_EXTEND, 'a', false, 100);
		answer(0, STORE_OK);
		answer(1, STORE_UNKNOWN);
		answer(2, STORE_OK);
		expect_answer(&asker, STORE_OK);
		ck_assert_int_eq(asker.cut_ms, 0);
		/* With the one that may yet get the lost one. */
		ask(&asker, STORE_EXTEND, 'a', false);
		members[1].settled = false;
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		expect_answer(&asker, STORE_OK);
		ck_assert_int_eq(asker.cut_ms, 100);
		answer(2, STORE_REFUSED);
		/* Without it. */
		ask(&asker, STORE_EXTEND, 'a', false);
		answer(0, STORE_OK);
		answer(2, STORE_OK);
		expect_answer(&asker, STORE_OK);
		ck_assert_int_eq(asker.cut_ms, 0);
		/* When it can't. */
		members[1].settled = true;
		answer(1, STORE_OK);
		ask(&asker, STORE_EXTEND, 'a', false);
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		expect_answer(&asker, STORE_OK);
		ck_assert_int_eq(asker.cut_ms, 0);
		answer(2, STORE_OK);
		end();
	}
END_TEST

/* ------------------------------------------------------------------ gaps */

START_TEST(a_member_that_came_back_empty_is_filled_again)
	{
		struct asker asker;
		struct store_op *op;

		begin(3);
		take('a');
		ask(&asker, STORE_EXTEND, 'a', false);
		answer(0, STORE_GONE);
		answer(1, STORE_OK);
		test_us += 5000;
		answer(2, STORE_OK);
		expect_answer(&asker, STORE_OK);
		op = expect(0, STORE_ACQUIRE, 'a');
		ck_assert(!op->fenced);
		ck_assert_int_eq(op->ttl_ms, TTL_MS - 5); /* it ends with the others */
		answer(0, STORE_OK);
		end();
	}
END_TEST

START_TEST(a_slow_member_is_filled_unless_the_lock_ends)
	{
		struct asker extend, release;

		begin(3);
		take('a');
		ask(&extend, STORE_EXTEND, 'a', false);
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		expect_answer(&extend, STORE_OK);
		answer(2, STORE_GONE);
		expect(2, STORE_ACQUIRE, 'a');
		answer(2, STORE_OK);

		ask(&extend, STORE_EXTEND, 'a', false);
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		ask(&release, STORE_RELEASE, 'a', false);
		answer(2, STORE_GONE); /* of the extension */
		expect(2, STORE_RELEASE, 'a');
		ck_assert_uint_eq(n_open(2), 1);
		for (unsigned i = 0; i < 3; i++)
			answer(i, i < 2 ? STORE_OK : STORE_GONE);
		expect_answer(&release, STORE_OK);
		expect_nothing(2);
		end();
	}
END_TEST

START_TEST(a_late_answer_does_not_undo_a_later_extension)
	{
		struct asker first, second;

		begin(3);
		take('a');
		ask_ttl(&first, STORE_EXTEND, 'a', false, 1000);
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		ask(&second, STORE_EXTEND, 'a', false);
		/* Behind the second one it would give the key less time than that has. */
		answer(2, STORE_GONE);
		expect(2, STORE_EXTEND, 'a');
		ck_assert_uint_eq(n_open(2), 1);
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		answer(2, STORE_GONE);
		ck_assert_int_eq(expect(2, STORE_ACQUIRE, 'a')->ttl_ms, TTL_MS);
		end();
	}
END_TEST

START_TEST(a_late_extension_does_not_fill_what_a_check_found_lost)
	{
		struct asker extend, check;

		begin(3);
		take('a');
		ask(&extend, STORE_EXTEND, 'a', false);
		ask(&check, STORE_CHECK, 'a', false);
		answer(2, STORE_GONE); /* the extension */
		answer(2, STORE_HELD);
		answer(1, STORE_OK); /* the extension; then it was lost there too */
		answer(1, STORE_HELD);
		expect_answer(&check, STORE_HELD);
		answer(0, STORE_OK);
		expect_answer(&extend, STORE_OK);
		expect_nothing(2);
		answer(0, STORE_OK);
		expect(0, STORE_RELEASE, 'a');
		answer(0, STORE_OK);
		expect_nothing(0);
		end();
	}
END_TEST

START_TEST(what_a_check_finds_lost_is_removed_behind_a_fill_that_is_under_way)
	{
		struct asker extend, check;

		begin(3);
		take('a');
		ask(&extend, STORE_EXTEND, 'a', false);
		ask(&check, STORE_CHECK, 'a', false);
		answer(2, STORE_GONE); /* the extension */
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		expect_answer(&extend, STORE_OK);
		answer(2, STORE_HELD); /* the check, which was asked before the fill */
		expect(2, STORE_ACQUIRE, 'a');
		answer(1, STORE_HELD); /* it was lost there too */
		expect_answer(&check, STORE_HELD);
		ck_assert_uint_eq(n_open(2), 2);
		answer(2, STORE_OK);
		expect(2, STORE_RELEASE, 'a');
		answer(2, STORE_OK);
		expect_nothing(2);
		answer(0, STORE_OK);
		expect(0, STORE_RELEASE, 'a');
		end();
	}
END_TEST

START_TEST(a_member_that_was_filled_meanwhile_does_not_count_as_without)
	{
		struct asker check, extend;

		begin(3);
		take('a');
		ask(&check, STORE_CHECK, 'a', false);
		ask(&extend, STORE_EXTEND, 'a', false);
		answer(2, STORE_GONE); /* it came back empty */
		answer(2, STORE_GONE);
		answer(1, STORE_UNKNOWN); /* the check only */
		answer(1, STORE_OK);
		ck_assert_uint_eq(check.n_answers + extend.n_answers, 0);
		/* Members keep their order, but a test need not. */
		{
			struct store_op *op = TAILQ_NEXT(TAILQ_FIRST(&members[0].open), entry);

			TAILQ_REMOVE(&members[0].open, op, entry);
			TAILQ_INSERT_HEAD(&members[0].open, op, entry);
		}
		answer(0, STORE_OK);
		expect_answer(&extend, STORE_OK);
		expect(2, STORE_ACQUIRE, 'a');
		answer(2, STORE_OK);
		answer(0, STORE_GONE);
		expect_answer(&check, STORE_REFUSED);
		end();
	}
END_TEST

START_TEST(a_removal_lasts_as_long_as_what_it_removes)
	{
		struct asker asker;

		begin(3);
		take('a'); /* for ten seconds */
		ask_ttl(&asker, STORE_REPLACE, 'a', false, 100);
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		answer(2, STORE_REFUSED);
		for (unsigned i = 0; i < 5; i++) {
			expect(2, STORE_RELEASE, 'a');
			answer(2, STORE_REFUSED);
			pass_ms(1000);
		}
		expect(2, STORE_RELEASE, 'a');
		end();
	}
END_TEST

START_TEST(what_was_lost_after_filling_is_removed)
	{
		struct asker asker;

		begin(3);
		take('a');
		ask(&asker, STORE_EXTEND, 'a', false);
		answer(0, STORE_GONE);
		answer(1, STORE_OK);
		answer(2, STORE_OK);
		ask(&asker, STORE_RELEASE, 'a', false);
		answer(0, STORE_UNKNOWN); /* the filling: it may come later */
		members[0].settled = false;
		answer(0, STORE_GONE);
		answer(1, STORE_OK);
		answer(2, STORE_OK);
		expect_answer(&asker, STORE_OK);
		expect(0, STORE_RELEASE, 'a');
		answer(0, STORE_GONE);
		pass_ms(1000);
		expect(0, STORE_RELEASE, 'a');
		end();
	}
END_TEST

START_TEST(a_replacement_fills_gaps_and_removes_what_it_replaced)
	{
		struct asker asker;

		begin(5);
		take('a');
		ask(&asker, STORE_REPLACE, 'a', false);
		answer(0, STORE_OK);
		answer(1, STORE_GONE);
		answer(2, STORE_REFUSED);
		answer(3, STORE_OK);
		ck_assert_uint_eq(asker.n_answers, 0);
		answer(4, STORE_OK);
		expect_answer(&asker, STORE_OK);
		expect_nothing(0);
		expect(1, STORE_ACQUIRE, 'b');
		expect(2, STORE_RELEASE, 'a');
		ck_assert_uint_eq(n_open(2), 1);
		end();
	}
END_TEST

START_TEST(a_replacement_that_failed_is_asked_again_undisturbed)
	{
		struct asker asker;

		begin(3);
		take('a');
		ask(&asker, STORE_REPLACE, 'a', false);
		answer(0, STORE_OK);
		answer(1, STORE_UNKNOWN);
		answer(2, STORE_REFUSED);
		expect_answer(&asker, STORE_UNKNOWN);
		pass_ms(5000);
		for (unsigned i = 0; i < 3; i++)
			expect_nothing(i);
		ask(&asker, STORE_REPLACE, 'a', false);
		for (unsigned i = 0; i < 3; i++)
			answer(i, STORE_OK);
		expect_answer(&asker, STORE_OK);
		end();
	}
END_TEST

START_TEST(a_replacement_of_a_lost_lock_leaves_nothing)
	{
		struct asker asker;

		begin(3);
		take('a');
		ask(&asker, STORE_REPLACE, 'a', false);
		answer(0, STORE_OK);
		answer(1, STORE_HELD);
		answer(2, STORE_GONE);
		expect_answer(&asker, STORE_HELD);
		expect(0, STORE_RELEASE, 'b');
		ck_assert_uint_eq(n_open(0), 1);
		expect_nothing(1);
		expect_nothing(2);
		end();
	}
END_TEST

/* ------------------------------------------------------------------ fences */

START_TEST(a_fence_is_written_to_a_majority_before_it_is_granted)
	{
		struct asker asker;

		begin(3);
		ask(&asker, STORE_ACQUIRE, 'a', true);
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		ck_assert_uint_eq(asker.n_answers, 0);
		expect_nothing(1); /* it proposed the largest of both */
		ck_assert_int_eq(expect(0, STORE_RAISE, 'a')->fence_floor, 101);
		answer(0, STORE_OK);
		expect_answer(&asker, STORE_OK);
		ck_assert_int_eq(asker.fence, 101);
		members[2].fence = 50;
		answer(2, STORE_OK); /* late: better high than low */
		expect(2, STORE_RAISE, 'a');
		answer(2, STORE_REFUSED);
		expect_nothing(2); /* once is enough */
		end();
	}
END_TEST

START_TEST(a_fence_that_cannot_be_written_is_no_grant)
	{
		struct asker asker;

		begin(3);
		ask(&asker, STORE_ACQUIRE, 'a', true);
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		answer(0, STORE_REFUSED); /* the raise */
		ck_assert_uint_eq(asker.n_answers, 0);
		answer(2, STORE_REFUSED);
		expect_answer(&asker, STORE_REFUSED);
		ck_assert(asker.left);
		expect(0, STORE_RELEASE, 'a');
		expect(1, STORE_RELEASE, 'a');
		expect_nothing(2);
		end();
	}
END_TEST

START_TEST(a_replacement_whose_fence_cannot_be_written_is_asked_again)
	{
		struct asker asker;

		begin(3);
		take('a');
		ask(&asker, STORE_REPLACE, 'a', true);
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		answer(2, STORE_REFUSED);
		answer(0, STORE_UNKNOWN); /* the raise */
		expect_answer(&asker, STORE_UNKNOWN);
		for (unsigned i = 0; i < 3; i++)
			expect_nothing(i);
		end();
	}
END_TEST

START_TEST(members_without_a_counter_are_waited_out_for_half_the_time)
	{
		struct asker asker;

		begin(3);
		members[0].no_counter = true;
		ask(&asker, STORE_ACQUIRE, 'a', true);
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		expect_nothing(0);
		pass_ms(TIMEOUT_MS / 2 - 1);
		expect_nothing(0);
		pass_ms(1);
		/* It is written to the one without, too: only that makes a counter. */
		expect(0, STORE_RAISE, 'a');
		answer(0, STORE_OK);
		expect_answer(&asker, STORE_OK);
		end();
	}
END_TEST

START_TEST(a_majority_with_counters_waits_for_nobody)
	{
		struct asker asker;

		begin(5);
		members[0].no_counter = members[1].no_counter = true;
		ask(&asker, STORE_ACQUIRE, 'a', true);
		for (unsigned i = 0; i < 5; i++) {
			answer(i, STORE_OK);
			if (i < 4)
				expect_nothing(i);
		}
		ck_assert_int_eq(expect(0, STORE_RAISE, 'a')->fence_floor, 104);
		end();
	}
END_TEST

START_TEST(a_counter_counts_where_another_lock_stands)
	{
		struct asker asker;

		begin(3);
		members[0].no_counter = true;
		members[2].fence = 200;
		ask(&asker, STORE_ACQUIRE, 'a', true);
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		expect_nothing(1);
		answer(2, STORE_HELD);
		ck_assert_int_eq(expect(0, STORE_RAISE, 'a')->fence_floor, 200);
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		expect_answer(&asker, STORE_OK);
		ck_assert_int_eq(asker.fence, 200);
		end();
	}
END_TEST

START_TEST(a_new_mutex_waits_for_nobody)
	{
		struct asker asker;

		begin(3);
		for (unsigned i = 0; i < 3; i++)
			members[i].no_counter = true;
		ask(&asker, STORE_ACQUIRE, 'a', true);
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		expect(0, STORE_RAISE, 'a');
		expect(1, STORE_RAISE, 'a');
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		expect_answer(&asker, STORE_OK);
		ck_assert_int_eq(asker.fence, 101);
		end();
	}
END_TEST

/* ------------------------------------------------------------------ listening */

struct listener {
	struct store_watch watch;
	unsigned n_ready, n_free, n_want;
};

static void listener_ready(struct store_watch *watch)
{
	container_of(watch, struct listener, watch)->n_ready++;
}

static void listener_message(struct store_watch *watch, enum store_message message)
{
	struct listener *listener = container_of(watch, struct listener, watch);

	if (message == STORE_MESSAGE_FREE)
		listener->n_free++;
	else
		listener->n_want++;
}

static void say(unsigned index, enum store_message message)
{
	struct store_watch *watch = LIST_FIRST(&members[index].watches);

	watch->message(watch, message);
}

static void say_ready(unsigned index)
{
	struct store_watch *watch = LIST_FIRST(&members[index].watches);

	watch->ready(watch);
}

START_TEST(a_watch_is_ready_when_a_majority_is)
	{
		struct listener listener = {.watch = {.key = &key,
						      .ready = listener_ready,
						      .message = listener_message}};

		begin(3);
		store_watch(quorum, &listener.watch);
		say_ready(0);
		ck_assert(!listener.watch.is_ready);
		ck_assert_uint_eq(listener.n_ready, 0);
		say_ready(2);
		ck_assert(listener.watch.is_ready);
		ck_assert_uint_eq(listener.n_ready, 1);
		say_ready(1);
		ck_assert_uint_eq(listener.n_ready, 1);
		say_ready(1); /* it was interrupted */
		ck_assert_uint_eq(listener.n_ready, 2);
		store_unwatch(quorum, &listener.watch);
		ck_assert(!listener.watch.is_ready);
		end();
	}
END_TEST

START_TEST(a_release_is_heard_when_a_majority_let_go)
	{
		struct listener listener = {.watch = {.key = &key,
						      .ready = listener_ready,
						      .message = listener_message}};

		begin(5);
		store_watch(quorum, &listener.watch);
		say(0, STORE_MESSAGE_FREE);
		say(0, STORE_MESSAGE_FREE);
		say(1, STORE_MESSAGE_FREE);
		ck_assert_uint_eq(listener.n_free, 0);
		say(4, STORE_MESSAGE_FREE);
		ck_assert_uint_eq(listener.n_free, 1);
		say(2, STORE_MESSAGE_FREE);
		say(3, STORE_MESSAGE_FREE);
		ck_assert_uint_eq(listener.n_free, 1);
		pass_ms(1000); /* these two are forgotten */
		say(0, STORE_MESSAGE_FREE);
		ck_assert_uint_eq(listener.n_free, 1);
		say(3, STORE_MESSAGE_WANT);
		ck_assert_uint_eq(listener.n_want, 1);
		store_unwatch(quorum, &listener.watch);
		end();
	}
END_TEST

/* ------------------------------------------------------------------ the end, and the beginning */

START_TEST(closing_answers_all_that_is_open)
	{
		struct asker asked, flushed, late, removed;

		begin(3);
		take('r');
		ask(&removed, STORE_EXTEND, 'r', false);
		answer(0, STORE_GONE);
		answer(1, STORE_GONE);
		ask(&flushed, STORE_ACQUIRE, 'a', true);
		ask(&late, STORE_ACQUIRE, 'c', true);
		asked = (struct asker){
			.op = {.verb = STORE_ACQUIRE, .ttl_ms = TTL_MS, .done = asker_done}};
		store_key_init(&asked.key, "k");
		asked.op.key = &asked.key;
		set_value(asked.op.value, 'b');
		store_submit(quorum, &asked.op);
		end();
		expect_answer(&removed, STORE_GONE);
		expect_answer(&flushed, STORE_UNKNOWN);
		expect_answer(&late, STORE_UNKNOWN);
		expect_answer(&asked, STORE_REFUSED);
	}
END_TEST

START_TEST(what_is_asked_at_the_end_is_refused)
	{
		struct asker asker;

		begin(3);
		ask(&asker, STORE_ACQUIRE, 'a', true);
		answer(0, STORE_OK);
		answer(1, STORE_OK);
		/* The raise is open when the members are freed. */
		end();
		expect_answer(&asker, STORE_UNKNOWN);
	}
END_TEST

START_TEST(answers_are_counted)
	{
		struct asker asker;

		begin(3);
		take('a');
		ask(&asker, STORE_CHECK, 'a', false);
		for (unsigned i = 0; i < 3; i++)
			answer(i, STORE_REFUSED);
		expect_answer(&asker, STORE_REFUSED);
		ask(&asker, STORE_EXTEND, 'a', false);
		pass_ms(TIMEOUT_MS);
		expect_answer(&asker, STORE_UNKNOWN);
		ck_assert_uint_eq(quorum->stats.commands, 3);
		ck_assert_uint_eq(quorum->stats.replies, 1);
		ck_assert_uint_eq(quorum->stats.errors, 1);
		ck_assert_uint_eq(quorum->stats.timeouts, 1);
		ck_assert_uint_eq(quorum->stats.latency_buckets[0], 1);
		end();
	}
END_TEST

/* ------------------------------------------------------------------ over real members */

static void do_over_memory(struct asker *asker, enum store_verb verb, char value)
{
	ask(asker, verb, value, true);
	while (store_flush(quorum))
		;
}

START_TEST(every_verb_works_over_members_in_memory)
	{
		const struct quorum_env env = {
			.clock = &test_clock, .timeout_ms = TIMEOUT_MS, .arm = test_arm};
		const struct store_env store_env = {.clock = &test_clock};
		struct listener listener = {.watch = {.key = &key,
						      .ready = listener_ready,
						      .message = listener_message}};
		struct asker asker;
		int64_t fence;

		store_key_init(&key, "k");
		quorum = quorum_new(&env, "in memory", NULL);
		for (unsigned i = 0; i < 3; i++)
			quorum_add(quorum, memory_open(&store_env, quorum_member_listener(quorum)));
		store_watch(quorum, &listener.watch);
		do_over_memory(&asker, STORE_LOOK, 'a');
		expect_answer(&asker, STORE_GONE);
		ck_assert(listener.watch.is_ready);
		store_unwatch(quorum, &listener.watch);
		do_over_memory(&asker, STORE_ACQUIRE, 'a');
		expect_answer(&asker, STORE_OK);
		ck_assert_int_gt(asker.fence, 0);
		fence = asker.fence;
		do_over_memory(&asker, STORE_ACQUIRE, 'x');
		expect_answer(&asker, STORE_HELD);
		ck_assert(!asker.contested);
		ck_assert_int_eq(asker.pttl_ms, TTL_MS);
		do_over_memory(&asker, STORE_LOOK, 'x');
		expect_answer(&asker, STORE_HELD);
		do_over_memory(&asker, STORE_CHECK, 'a');
		expect_answer(&asker, STORE_OK);
		do_over_memory(&asker, STORE_EXTEND, 'a');
		expect_answer(&asker, STORE_OK);
		do_over_memory(&asker, STORE_REPLACE, 'a');
		expect_answer(&asker, STORE_OK);
		ck_assert_int_gt(asker.fence, fence);
		do_over_memory(&asker, STORE_CHECK, 'a');
		expect_answer(&asker, STORE_HELD);
		do_over_memory(&asker, STORE_RELEASE, 'b');
		expect_answer(&asker, STORE_OK);
		do_over_memory(&asker, STORE_RELEASE, 'b');
		expect_answer(&asker, STORE_GONE);
		do_over_memory(&asker, STORE_ACQUIRE, 'c');
		do_over_memory(&asker, STORE_BREAK, 'x');
		expect_answer(&asker, STORE_OK);
		do_over_memory(&asker, STORE_LOOK, 'x');
		expect_answer(&asker, STORE_GONE);
		store_free(quorum);
		store_key_deinit(&key);
	}
END_TEST

static Suite *quorum_suite(void)
{
	Suite *suite = suite_create("quorum");
	TCase *tcase = tcase_create("outcomes");

	tcase_add_loop_test(tcase, every_outcome_is_the_same_in_every_order, 0,
			    (int)(sizeof(outcomes) / sizeof(outcomes[0])));
	tcase_add_test(tcase, a_majority_is_enough_and_the_rest_may_come_late);
	tcase_add_test(tcase, a_refusal_is_certain_as_soon_as_no_majority_is_left);
	tcase_add_test(tcase, a_command_is_written_when_it_is_flushed);
	tcase_add_test(tcase, members_are_given_up_after_a_fifth_of_the_lease);
	tcase_add_test(tcase, a_command_takes_no_longer_than_its_timeout);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("removals and gaps");
	tcase_add_test(tcase, a_slow_member_gets_the_removal_right_behind_the_command);
	tcase_add_test(tcase, a_removal_is_not_repeated_where_nothing_was_set);
	tcase_add_test(tcase, a_removal_is_repeated_until_the_member_says_so);
	tcase_add_test(tcase, a_removal_ends_when_the_string_has_expired);
	tcase_add_test(tcase, what_may_still_come_is_removed_until_it_cannot);
	tcase_add_test(tcase, a_settled_answer_ends_the_doubt);
	tcase_add_test(tcase, a_release_is_repeated_only_where_the_lock_may_stand);
	tcase_add_test(tcase, a_lock_is_not_forgotten_for_a_release_of_its_string_at_another_key);
	tcase_add_test(tcase, a_release_of_an_unknown_string_is_repeated_everywhere);
	tcase_add_test(tcase, an_acquire_that_failed_says_that_its_string_is_being_removed);
	tcase_add_test(tcase, an_acquire_says_if_its_string_may_stand_on_a_majority);
	tcase_add_test(tcase, a_release_says_if_its_string_may_come_back_on_a_majority);
	tcase_add_test(tcase, what_was_broken_is_removed_from_members_that_did_not_say_so);
	tcase_add_test(tcase, an_answer_is_settled_when_that_of_a_majority_is);
	tcase_add_test(tcase, an_extension_says_how_much_a_lost_one_may_cut_off);
	tcase_add_test(tcase, a_member_that_came_back_empty_is_filled_again);
	tcase_add_test(tcase, a_slow_member_is_filled_unless_the_lock_ends);
	tcase_add_test(tcase, a_late_answer_does_not_undo_a_later_extension);
	tcase_add_test(tcase, a_late_extension_does_not_fill_what_a_check_found_lost);
	tcase_add_test(tcase, what_a_check_finds_lost_is_removed_behind_a_fill_that_is_under_way);
	tcase_add_test(tcase, a_member_that_was_filled_meanwhile_does_not_count_as_without);
	tcase_add_test(tcase, a_removal_lasts_as_long_as_what_it_removes);
	tcase_add_test(tcase, what_was_lost_after_filling_is_removed);
	tcase_add_test(tcase, a_replacement_fills_gaps_and_removes_what_it_replaced);
	tcase_add_test(tcase, a_replacement_that_failed_is_asked_again_undisturbed);
	tcase_add_test(tcase, a_replacement_of_a_lost_lock_leaves_nothing);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("fences");
	tcase_add_test(tcase, a_fence_is_written_to_a_majority_before_it_is_granted);
	tcase_add_test(tcase, a_fence_that_cannot_be_written_is_no_grant);
	tcase_add_test(tcase, a_replacement_whose_fence_cannot_be_written_is_asked_again);
	tcase_add_test(tcase, members_without_a_counter_are_waited_out_for_half_the_time);
	tcase_add_test(tcase, a_majority_with_counters_waits_for_nobody);
	tcase_add_test(tcase, a_counter_counts_where_another_lock_stands);
	tcase_add_test(tcase, a_new_mutex_waits_for_nobody);
	suite_add_tcase(suite, tcase);

	tcase = tcase_create("listening, beginning, end");
	tcase_add_test(tcase, a_watch_is_ready_when_a_majority_is);
	tcase_add_test(tcase, a_release_is_heard_when_a_majority_let_go);
	tcase_add_test(tcase, closing_answers_all_that_is_open);
	tcase_add_test(tcase, what_is_asked_at_the_end_is_refused);
	tcase_add_test(tcase, answers_are_counted);
	tcase_add_test(tcase, every_verb_works_over_members_in_memory);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_run(quorum_suite());
}
