/* SPDX-License-Identifier: MIT */
/*
 * What store/quorum.c claims of its fences, tried: some daemons with a quorum each over the same
 * few nodes, which are slow, stop, go and come back, lose answers and data, and whose clocks are
 * wrong, all by chance from a seed. No daemon remembers a fence, so that only the nodes make them
 * grow. After every grant: nobody else holds it, and its fence is larger than the one before. In
 * the end nothing stands anywhere.
 */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/random.h"
#include "store/quorum.h"
#include "suite.h"
#include "util/alloc.h"

enum {
	N_DAEMONS = 3,
	NODES_MAX = 5,
	TICK_US = 500,
	TTL_MS = 2000,
	TIMEOUT_MS = 200,
	RUN_US = 400 * 1000000,
	REST_US = 100 * 1000000, /* longer than a lost command is believed to live */
};

TAILQ_HEAD(op_list, store_op);

enum node_state { NODE_UP, NODE_STOPPED, NODE_DOWN };

/* A server with one key. */
struct node {
	enum node_state state;
	int64_t until_us; /* it stays so */
	int64_t clock_us; /* its clock is off by so much */
	char value[LOCK_STRING_SIZE];
	int64_t expires_us;
	int64_t fence;	  /* 0: no counter */
	int64_t delay_us; /* of everything, at most */
	int64_t weak_us;  /* until then a command may still see that it was not there */
};

/* What a daemon has of a node. Of an op, submitted_us is when it arrives, deadline_us the answer.
 */
struct member {
	struct store store;
	struct daemon *daemon;
	struct node *node;
	struct op_list queue;
	struct store_op ghost; /* lost in a dead connection, not carried out yet */
	bool has_ghost;
	int64_t arrived_us, answered_us; /* the last that was submitted: none overtakes it */
};

enum phase { IDLE, ASKING, HOLDING, EXTENDING, REPLACING, RELEASING };

struct daemon {
	struct store *quorum;
	int64_t armed_us;
	struct member members[NODES_MAX];
	enum phase phase;
	int64_t at_us; /* when to do the next thing */
	struct store_op op;
	bool busy;
	int64_t sent_us, end_us;
	char value[LOCK_STRING_SIZE], next[LOCK_STRING_SIZE];
};

static int64_t time_us;
static struct random chance;
static unsigned n_nodes;
static bool loses_data, calm;
static struct node nodes[NODES_MAX];
static struct daemon daemons[N_DAEMONS];
static struct store_key key;
static struct daemon *holder;
static int64_t last_fence;
static unsigned n_grants, n_losses, n_stops, n_unknown, next_value;

static int64_t test_now_us(struct clock *clock)
{
	(void)clock;
	return time_us;
}

static struct clock test_clock = {test_now_us};

/* ------------------------------------------------------------------ nodes */

static bool node_stands(struct node *node)
{
	if (*node->value && node->expires_us <= time_us)
		*node->value = '\0';
	return *node->value != '\0';
}

static void node_propose(struct node *node, struct store_op *op)
{
	const int64_t clock_us = time_us + node->clock_us;

	op->fence = clock_us > 0 ? clock_us : 1;
	if (op->fence <= node->fence)
		op->fence = node->fence + 1;
	op->fence_is_new = node->fence == 0;
}

static void node_set(struct node *node, struct store_op *op, const char *value)
{
	op->status = STORE_OK;
	strcpy(node->value, value);
	node->expires_us = time_us + op->ttl_ms * 1000;
	if (op->fenced && (!op->fence_is_new || !op->proposed))
		node->fence = op->fence;
}

static void node_carry_out(struct node *node, struct store_op *op)
{
	const bool stands = node_stands(node), ours = strcmp(node->value, op->value) == 0;

	op->fence = 0;
	op->fence_is_new = false;
	op->other = 0;
	op->pttl_ms = -2;
	if (op->fenced)
		node_propose(node, op);
	op->status = ours ? STORE_OK : stands ? STORE_HELD : STORE_GONE;
	switch (op->verb) {
	case STORE_ACQUIRE:
		if (!stands || ours)
			node_set(node, op, op->value);
		else
			op->other = store_other(node->value);
		break;
	case STORE_REPLACE:
		if (stands && (ours || strcmp(node->value, op->next) == 0))
			node_set(node, op, op->next);
		break;
	case STORE_RELEASE:
		if (ours)
			*node->value = '\0';
		break;
	case STORE_EXTEND:
		if (ours)
			node->expires_us = time_us + op->ttl_ms * 1000;
		break;
	case STORE_RAISE:
		if (node->fence == 0)
			node->weak_us = time_us + TIMEOUT_MS * 1000;
		if (node->fence < op->fence_floor)
			node->fence = op->fence_floor;
		op->status = STORE_OK;
		break;
	default:
		ck_abort_msg("a verb that this test does not use");
	}
}

/*
 * So many may be down or without a counter for the claim to hold; at one time, or one after the
 * other while one and the same command runs.
 */
static bool may_suffer(const struct node *victim)
{
	unsigned n = 0;

	for (unsigned i = 0; i < n_nodes; i++)
		n += &nodes[i] == victim || nodes[i].state != NODE_UP || nodes[i].fence == 0 ||
		     time_us < nodes[i].weak_us;
	return n <= (n_nodes - 1) / 2;
}

static void node_suffer(struct node *node)
{
	node->clock_us = random_range(&chance, -2 * (int64_t)RUN_US, 2 * (int64_t)RUN_US);
	node->delay_us = random_chance(&chance, 3000) ? 20000 : 2000;
	if (loses_data && !may_suffer(node))
		return;
	node->state = random_chance(&chance, 5000) ? NODE_DOWN : NODE_STOPPED;
	node->until_us = time_us + random_range(&chance, 1000, 400000);
	n_stops++;
	if (loses_data && random_chance(&chance, 3000)) {
		/* It stays away for as long as a lease, as one that has lost its data should. */
		node->state = NODE_DOWN;
		node->until_us = time_us + TTL_MS * 1000;
		*node->value = '\0';
		node->fence = 0;
		n_losses++;
	}
}

/* ------------------------------------------------------------------ members */

static void member_answer(struct member *member, struct store_op *op)
{
	TAILQ_REMOVE(&member->queue, op, entry);
	op->settled = !member->has_ghost;
	op->lasting = false;
	op->contenders = op->receivers = -1;
	op->holder = NULL;
	op->text = op->status == STORE_REFUSED || op->status == STORE_UNKNOWN ? "chance" : NULL;
	op->done(op);
}

static void member_submit(struct store *store, struct store_op *op)
{
	struct member *member = container_of(store, struct member, store);
	const int64_t delay_us = member->node->delay_us;

	op->submitted_us = time_us + random_below(&chance, delay_us);
	if (op->submitted_us < member->arrived_us)
		op->submitted_us = member->arrived_us;
	op->deadline_us = op->submitted_us + random_below(&chance, delay_us);
	if (op->deadline_us < member->answered_us)
		op->deadline_us = member->answered_us;
	member->arrived_us = op->submitted_us;
	member->answered_us = op->deadline_us;
	op->private = NULL; /* not carried out */
	TAILQ_INSERT_TAIL(&member->queue, op, entry);
}

/* All that is on its way is lost with the connection, and may have been carried out, or may yet. */
static void member_cut(struct member *member)
{
	struct store_op *op;

	while ((op = TAILQ_FIRST(&member->queue))) {
		const unsigned how = (unsigned)random_below(&chance, 3);

		if (!op->private && how == 0 && !member->has_ghost) {
			member->ghost = *op;
			member->has_ghost = true;
		}
		op->status = !op->private && how == 1 ? STORE_REFUSED : STORE_UNKNOWN;
		n_unknown += op->status == STORE_UNKNOWN;
		member_answer(member, op);
	}
}

static void member_run(struct member *member)
{
	struct node *node = member->node;
	struct store_op *op;

	if (node->state == NODE_UP && member->has_ghost) {
		node_carry_out(node, &member->ghost);
		member->has_ghost = false;
	}
	op = TAILQ_FIRST(&member->queue);
	if (!op)
		return;
	if (!calm && random_chance(&chance, 2) && (!loses_data || may_suffer(node))) {
		node->weak_us = time_us + TIMEOUT_MS * 1000;
		member_cut(member);
		return;
	}
	if (node->state == NODE_DOWN || time_us > op->submitted_us + TIMEOUT_MS * 1000) {
		member_cut(member);
		return;
	}
	TAILQ_FOREACH (op, &member->queue, entry) {
		if (node->state != NODE_UP || op->submitted_us > time_us)
			break;
		if (!op->private)
			node_carry_out(node, op);
		op->private = op;
	}
	while ((op = TAILQ_FIRST(&member->queue)) && op->private && op->deadline_us <= time_us)
		member_answer(member, op);
}

static bool member_flush(struct store *store)
{
	(void)store;
	return false;
}

static void member_free(struct store *store)
{
	struct member *member = container_of(store, struct member, store);
	struct store_op *op = TAILQ_FIRST(&member->queue);

	ck_assert_msg(!op, "verb %d is open at %lld us, to arrive at %lld us", op ? op->verb : 0,
		      (long long)time_us, op ? (long long)op->submitted_us : 0);
}

static const struct store_class member_class = {
	.submit = member_submit,
	.flush = member_flush,
	.free = member_free,
};

/* ------------------------------------------------------------------ daemons */

static void make_value(char *value)
{
	memset(value, 0, LOCK_STRING_SIZE);
	snprintf(value, LOCK_STRING_SIZE, "%08u%036d", ++next_value, 0);
}

static void daemon_done(struct store_op *op);

static void daemon_ask(struct daemon *daemon, enum phase phase, enum store_verb verb)
{
	ck_assert(!daemon->busy);
	daemon->phase = phase;
	daemon->busy = true;
	daemon->sent_us = time_us;
	daemon->op = (struct store_op){
		.verb = verb,
		.key = &key,
		.ttl_ms = TTL_MS,
		.fenced = true,
		.done = daemon_done,
	};
	strcpy(daemon->op.value, daemon->value);
	strcpy(daemon->op.next, daemon->next);
	store_submit(daemon->quorum, &daemon->op);
}

/* It holds the lock for as long as what it asked for just now lasts. */
static bool daemon_prolong(struct daemon *daemon)
{
	daemon->end_us = daemon->sent_us + TTL_MS * 1000 - TTL_MS * 10 - 2000;
	daemon->at_us = time_us + random_below(&chance, 30000);
	return time_us < daemon->end_us;
}

static void daemon_granted(struct daemon *daemon)
{
	if (!daemon_prolong(daemon)) {
		daemon_ask(daemon, RELEASING, STORE_RELEASE);
		return;
	}
	ck_assert_msg(!holder || holder == daemon || time_us >= holder->end_us,
		      "two hold it at %lld us", (long long)time_us);
	ck_assert_msg(daemon->op.fence > last_fence, "fence %lld after %lld at %lld us",
		      (long long)daemon->op.fence, (long long)last_fence, (long long)time_us);
	holder = daemon;
	last_fence = daemon->op.fence;
	n_grants++;
	daemon->phase = HOLDING;
}

static void daemon_idle(struct daemon *daemon)
{
	if (holder == daemon)
		holder = NULL;
	daemon->phase = IDLE;
	daemon->at_us = time_us + random_below(&chance, 20000);
}

static void daemon_done(struct store_op *op)
{
	struct daemon *daemon = container_of(op, struct daemon, op);
	const bool answered = op->status != STORE_REFUSED && op->status != STORE_UNKNOWN;

	daemon->busy = false;
	switch (daemon->phase) {
	case ASKING:
		ck_assert_int_ne(op->status, STORE_UNKNOWN);
		if (op->status == STORE_OK)
			daemon_granted(daemon);
		else
			daemon_idle(daemon);
		break;
	case EXTENDING:
		if (op->status == STORE_OK)
			daemon_prolong(daemon);
		else if (answered)
			daemon_idle(daemon);
		daemon->phase = daemon->phase == IDLE ? IDLE : HOLDING;
		break;
	case REPLACING:
		if (op->status == STORE_OK) {
			strcpy(daemon->value, daemon->next);
			daemon_granted(daemon);
		} else if (answered) {
			daemon_idle(daemon);
		} else {
			daemon->at_us = time_us + random_below(&chance, 50000);
		}
		break;
	case RELEASING:
		if (answered)
			daemon_idle(daemon);
		else
			daemon->at_us = time_us + random_below(&chance, 50000);
		break;
	default:
		ck_abort_msg("nothing was asked");
	}
}

static void daemon_act(struct daemon *daemon)
{
	if (daemon->busy || time_us < daemon->at_us)
		return;
	switch (daemon->phase) {
	case IDLE:
		if (calm)
			return;
		make_value(daemon->value);
		daemon_ask(daemon, ASKING, STORE_ACQUIRE);
		break;
	case HOLDING:
		if (!calm && random_chance(&chance, 3000)) {
			daemon_ask(daemon, EXTENDING, STORE_EXTEND);
			break;
		}
		if (holder == daemon)
			holder = NULL;
		if (calm || random_chance(&chance, 6000)) {
			daemon_ask(daemon, RELEASING, STORE_RELEASE);
			break;
		}
		make_value(daemon->next);
		daemon_ask(daemon, REPLACING, STORE_REPLACE);
		break;
	case REPLACING:
		daemon_ask(daemon, REPLACING, STORE_REPLACE);
		break;
	case RELEASING:
		daemon_ask(daemon, RELEASING, STORE_RELEASE);
		break;
	default:
		break;
	}
}

static void daemon_arm(void *arg, int64_t due_us)
{
	((struct daemon *)arg)->armed_us = due_us;
}

static void daemon_begin(struct daemon *daemon)
{
	const struct quorum_env env = {
		.clock = &test_clock,
		.timeout_ms = TIMEOUT_MS,
		.arm = daemon_arm,
		.arg = daemon,
	};

	*daemon = (struct daemon){.armed_us = CLOCK_NEVER};
	daemon->quorum = quorum_new(&env, "nodes", NULL);
	for (unsigned i = 0; i < n_nodes; i++) {
		struct member *member = &daemon->members[i];

		*member = (struct member){
			.store = {.class = &member_class, .name = "node"},
			.daemon = daemon,
			.node = &nodes[i],
		};
		TAILQ_INIT(&member->queue);
		quorum_add(daemon->quorum, &member->store);
	}
}

/* ------------------------------------------------------------------ worlds */

static void tick(void)
{
	time_us += TICK_US;
	for (unsigned i = 0; i < n_nodes; i++) {
		if (nodes[i].state != NODE_UP && time_us >= nodes[i].until_us) {
			nodes[i].state = NODE_UP;
			nodes[i].weak_us = time_us + TIMEOUT_MS * 1000;
		}
		if (!calm && nodes[i].state == NODE_UP && random_chance(&chance, 20))
			node_suffer(&nodes[i]);
	}
	for (unsigned i = 0; i < N_DAEMONS; i++) {
		struct daemon *daemon = &daemons[i];

		for (unsigned j = 0; j < n_nodes; j++)
			member_run(&daemon->members[j]);
		if (daemon->armed_us <= time_us) {
			daemon->armed_us = CLOCK_NEVER;
			quorum_run(daemon->quorum);
		}
		daemon_act(daemon);
		store_flush(daemon->quorum);
	}
}

static void live(uint64_t seed, unsigned n, bool loses)
{
	random_seed(&chance, seed);
	n_nodes = n;
	loses_data = loses;
	calm = loses; /* until a first grant has been written to all */
	holder = NULL;
	time_us = RUN_US;
	last_fence = 0;
	n_grants = n_losses = n_stops = n_unknown = 0;
	store_key_init(&key, "k");
	for (unsigned i = 0; i < n; i++)
		nodes[i] = (struct node){.delay_us = 2000};
	for (unsigned i = 0; i < N_DAEMONS; i++)
		daemon_begin(&daemons[i]);
	if (loses) {
		make_value(daemons[0].value);
		daemon_ask(&daemons[0], ASKING, STORE_ACQUIRE);
		while (time_us < RUN_US + 1000000)
			tick();
		ck_assert_uint_eq(n_grants, 1);
		calm = false;
	}
	while (time_us < 2 * RUN_US)
		tick();
	calm = true;
	while (time_us < 2 * RUN_US + REST_US)
		tick();
	for (unsigned i = 0; i < n; i++)
		ck_assert_msg(!node_stands(&nodes[i]), "%s stands on %u", nodes[i].value, i);
	for (unsigned i = 0; i < N_DAEMONS; i++) {
		ck_assert_int_eq(daemons[i].phase, IDLE);
		ck_assert(daemons[i].armed_us == CLOCK_NEVER);
		store_free(daemons[i].quorum);
	}
	store_key_deinit(&key);
	ck_assert_msg(n_grants > 1000 && n_stops > 100 && n_unknown > 100, "%u grants, %u, %u",
		      n_grants, n_stops, n_unknown);
	ck_assert(!loses || n_losses > 3);
}

START_TEST(fences_grow_whatever_minority_is_down)
	{
		live(1000 + (uint64_t)_i, _i % 2 ? 3 : 5, false);
	}
END_TEST

START_TEST(fences_grow_when_one_node_after_the_other_loses_its_data)
	{
		live(2000 + (uint64_t)_i, _i % 2 ? 3 : 5, true);
	}
END_TEST

static Suite *fences_suite(void)
{
	Suite *suite = suite_create("quorum_fences");
	TCase *tcase = tcase_create("worlds");
	const char *worlds = getenv("QUORUM_WORLDS");
	const int n = worlds ? atoi(worlds) : 4;

	tcase_set_timeout(tcase, 0);
	tcase_add_loop_test(tcase, fences_grow_whatever_minority_is_down, 0, n);
	tcase_add_loop_test(tcase, fences_grow_when_one_node_after_the_other_loses_its_data, 0, n);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return suite_run(fences_suite());
}
