/* SPDX-License-Identifier: MIT */
/*
 * Several independent stores as one.
 *
 * Every command goes to all members at once and is answered as soon as its outcome is certain, so
 * that a slow or stopped minority delays nobody. What a failed or decided command may have left on
 * a member is removed there in the background, until that member has said so.
 *
 * Fences. Redlock has none
 * (https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html asks for them). Here
 * every member keeps a counter F beside the lock, as a single server does, and a grant is two
 * rounds, like a write of the ABD register (Attiya, Bar-Noy, Dolev: Sharing Memory Robustly in
 * Message-Passing Systems, JACM 42(1), 1995):
 *
 *  1. Every member that takes the lock raises its own counter and proposes it: larger than all that
 *     it ever had. The fence is the largest proposal of a majority.
 *  2. Before the lock is granted, the fence is written back (counters only ever grow) until a
 *     majority has a counter of at least that.
 *
 * Any two majorities share a member. Be G and H two grants, G before H: a member of G's second
 * round proposes in H's first, and proposes more than G's fence. So fences grow strictly, whichever
 * minority is down at either time.
 *
 * A member that lost its data proposes its clock, which may be behind. So a proposal from a member
 * that had no counter does not count towards the majority of round 1, as long as members that had
 * one can still answer. If one member of G's majority W loses its data, W less that one are
 * majority - 1 members, and any majority of members that still have a counter shares one with them:
 * n - 1 members have counters, and (majority - 1) + majority > n - 1. When H is granted, the lost
 * member is written again, and then another may lose its data. If so many are down that members
 * with a counter are no majority, the grant goes on with all that answered; and if none of a
 * majority has a counter, the mutex is taken for new without waiting for the others. Then the
 * servers' clocks, and the highest fence that the asking daemon remembers, are what makes it grow,
 * as after the loss of a single server's data.
 */
#include "config.h"

#include "store/quorum.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/timer.h"
#include "util/alloc.h"

#define MS_US INT64_C(1000)
#define SECOND_US (1000 * MS_US)
/* How long a command may still be carried out on a member that lost its connection with it. */
#define DOUBT_US (60 * SECOND_US)
#define BACK_OFF_MIN_US (50 * MS_US)
#define BACK_OFF_MAX_US SECOND_US

struct quorum;
struct round;

/* One member's share in a command. */
struct part {
	struct store_op op;
	struct round *round;
	unsigned index;
	bool busy;
	bool answered; /* the command itself, not what followed it */
	enum store_status status;
	int64_t fence; /* its counter is at least this */
	bool fence_is_new;
	int64_t pttl_ms;
};

/* What follows the command itself. */
enum round_phase {
	ROUND_ASKING,  /* the members are asked */
	ROUND_RAISING, /* a majority took the lock; the fence is written back */
	ROUND_DONE,    /* the asker was answered; late answers come in */
};

/* A command that was submitted to the quorum. Freed when the last member has answered. */
struct round {
	struct quorum *quorum;
	struct store_op *op; /* the asker's; NULL once answered */
	enum store_verb verb;
	enum round_phase phase;
	struct store_key key;
	char value[LOCK_STRING_SIZE], next[LOCK_STRING_SIZE];
	int64_t ttl_ms;
	char *announce;
	int64_t submitted_us;
	unsigned n_busy, n_answered, n_ok, n_held, n_gone, n_refused, n_unknown;
	unsigned n_lasting;
	unsigned n_new; /* OK, but had no counter */
	bool settled;
	int64_t contenders, receivers;
	int64_t fence;
	char text[160];
	char *holder;
	TAILQ_ENTRY(round) entry;
	struct part parts[];
};

/* A string that must not stand on one member. */
struct removal {
	struct quorum *quorum;
	unsigned index;
	struct store_key key;
	struct store_op op;
	struct timer timer;
	bool busy;
	int64_t until_us; /* it has surely expired by then */
	int64_t doubt_us; /* until then it may still appear */
	int64_t backoff_us;
	TAILQ_ENTRY(removal) entry;
};

/* One member's ear on a channel. */
struct ear {
	struct store_watch watch;
	struct channel *channel;
	unsigned index;
	bool ready;
	bool heard; /* a release, since the last one that was passed on */
};

/* A channel that somebody listens to through the quorum. */
struct channel {
	struct quorum *quorum;
	struct store_watch *watch; /* the asker's */
	unsigned n_ready, n_heard;
	struct ear ears[];
};

struct quorum {
	struct store store;
	struct store_listener member_listener;
	struct quorum_env env;
	struct store *members[QUORUM_MEMBERS_MAX];
	unsigned n;
	struct timers timers;
	TAILQ_HEAD(, round) rounds;
	TAILQ_HEAD(, removal) removals;
	bool ending;
};

static unsigned majority(const struct quorum *quorum)
{
	return quorum->n / 2 + 1;
}

static int64_t now_us(const struct quorum *quorum)
{
	return clock_now_us(quorum->env.clock);
}

static void rearm(struct quorum *quorum)
{
	quorum->env.arm(quorum->env.arg, timers_next_us(&quorum->timers));
}

static bool is_definite(enum store_status status)
{
	return status == STORE_OK || status == STORE_HELD || status == STORE_GONE;
}

/* ------------------------------------------------------------------ removals */

static void removal_submit(struct removal *removal)
{
	removal->busy = true;
	store_submit(removal->quorum->members[removal->index], &removal->op);
}

static void removal_free(struct removal *removal)
{
	struct quorum *quorum = removal->quorum;

	timer_stop(&quorum->timers, &removal->timer);
	TAILQ_REMOVE(&quorum->removals, removal, entry);
	store_key_deinit(&removal->key);
	free(removal);
}

static void removal_timer_fired(struct timer *timer)
{
	removal_submit(container_of(timer, struct removal, timer));
}

static void removal_done(struct store_op *op)
{
	struct removal *removal = container_of(op, struct removal, op);
	struct quorum *quorum = removal->quorum;
	const int64_t at_us = now_us(quorum);

	removal->busy = false;
	if (quorum->ending)
		return;
	if (is_definite(op->status)) {
		if (op->settled || at_us >= removal->doubt_us) {
			removal_free(removal);
			return;
		}
		timer_set(&quorum->timers, &removal->timer, at_us + SECOND_US);
	} else if (at_us >= removal->until_us && at_us >= removal->doubt_us) {
		removal_free(removal);
		return;
	} else {
		timer_set(&quorum->timers, &removal->timer, at_us + removal->backoff_us);
		if (removal->backoff_us < BACK_OFF_MAX_US)
			removal->backoff_us *= 2;
	}
	rearm(quorum);
}

/* Removes a string from a member, now and until that has said so or it has expired. */
static void remove_from(struct quorum *quorum, unsigned index, const struct store_key *key,
			const char *value, int64_t ttl_ms, bool doubtful)
{
	struct removal *removal = xcalloc(1, sizeof(*removal));

	removal->quorum = quorum;
	removal->index = index;
	store_key_init(&removal->key, key->key);
	removal->op = (struct store_op){
		.verb = STORE_RELEASE,
		.key = &removal->key,
		.ttl_ms = ttl_ms,
		.done = removal_done,
	};
	strcpy(removal->op.value, value);
	timer_init(&removal->timer, removal_timer_fired);
	removal->backoff_us = BACK_OFF_MIN_US;
	/* Twice, for what was sent late and for clocks that differ. */
	removal->until_us = now_us(quorum) + 2 * ttl_ms * MS_US + SECOND_US;
	removal->doubt_us = doubtful ? now_us(quorum) + DOUBT_US : 0;
	TAILQ_INSERT_TAIL(&quorum->removals, removal, entry);
	removal_submit(removal);
}

void quorum_run(struct store *store)
{
	struct quorum *quorum = container_of(store, struct quorum, store);

	timers_run(&quorum->timers, now_us(quorum));
	rearm(quorum);
}

/* ------------------------------------------------------------------ answering */

static void round_free(struct round *round)
{
	assert(!round->n_busy && !round->op);
	TAILQ_REMOVE(&round->quorum->rounds, round, entry);
	store_key_deinit(&round->key);
	free(round->announce);
	free(round->holder);
	free(round);
}

/* The one way in which an asker gets its answer. */
static void round_answer(struct round *round, enum store_status status)
{
	struct quorum *quorum = round->quorum;
	struct store_op *op = round->op;

	assert(op);
	round->op = NULL;
	round->phase = ROUND_DONE;
	op->status = status;
	op->settled = round->settled;
	op->lasting = status == STORE_REFUSED && round->n_lasting > quorum->n - majority(quorum);
	op->fence = round->fence;
	op->fence_is_new = round->n_new == round->n_ok;
	op->contenders = round->contenders;
	op->receivers = round->receivers;
	op->text = round->text;
	op->holder = round->holder;
	quorum->store.stats.replies++;
	if (status == STORE_REFUSED)
		quorum->store.stats.errors++;
	else if (status == STORE_UNKNOWN)
		quorum->store.stats.timeouts++;
	op->done(op);
}

/* No majority could be had: says how many of them answered, and what one of the others said. */
static void round_fail(struct round *round, enum store_status status)
{
	struct quorum *quorum = round->quorum;
	char why[sizeof(round->text)];

	snprintf(why, sizeof(why), "%s", round->text);
	snprintf(round->text, sizeof(round->text),
		 "%u of %u servers answered, %u are needed; %.100s",
		 round->n_ok + round->n_held + round->n_gone, quorum->n, majority(quorum), why);
	round_answer(round, status);
}

/*
 * What stands in the way of an acquire: the time until so many members are free that a majority can
 * be had, if their other locks run out.
 */
static int64_t time_until_majority_ms(const struct round *round)
{
	const struct quorum *quorum = round->quorum;
	int64_t times[QUORUM_MEMBERS_MAX];
	unsigned n = 0;
	const unsigned need = majority(quorum) > round->n_ok ? majority(quorum) - round->n_ok : 1;

	for (unsigned i = 0; i < quorum->n; i++) {
		const struct part *part = &round->parts[i];
		int64_t ms = part->pttl_ms;
		unsigned at = n;

		if (!part->answered || part->status != STORE_HELD || ms < 0)
			continue;
		for (; at > 0 && times[at - 1] > ms; at--)
			times[at] = times[at - 1];
		times[at] = ms;
		n++;
	}
	return n >= need ? times[need - 1] : -2;
}

/* Removes a string from every member that may have it. */
static void clean_up(struct round *round, const char *value)
{
	struct quorum *quorum = round->quorum;

	for (unsigned i = 0; i < quorum->n; i++) {
		const struct part *part = &round->parts[i];
		const bool sure =
			part->answered && part->status != STORE_OK && part->status != STORE_UNKNOWN;

		if (!sure)
			remove_from(quorum, i, &round->key, value, round->ttl_ms,
				    part->answered && part->status == STORE_UNKNOWN);
	}
}

/* ------------------------------------------------------------------ deciding */

/* Is it certain, whatever the rest will say, that no majority says OK? */
static bool is_hopeless(const struct round *round)
{
	const struct quorum *quorum = round->quorum;

	return round->n_ok + (quorum->n - round->n_answered) < majority(quorum);
}

static bool all_answered(const struct round *round)
{
	return round->n_answered == round->quorum->n;
}

static void part_submit(struct round *round, struct part *part, enum store_verb verb);

/* The fence has been written to a majority: the lock is granted. */
static bool fence_is_safe(const struct round *round)
{
	unsigned n = 0;

	for (unsigned i = 0; i < round->quorum->n; i++)
		n += round->parts[i].fence >= round->fence;
	return n >= majority(round->quorum);
}

static void raise_part(struct round *round, struct part *part)
{
	if (part->busy || !part->answered || part->status != STORE_OK ||
	    part->fence >= round->fence)
		return;
	part_submit(round, part, STORE_RAISE);
}

/* Could the fence still be written to a majority, by what is open? */
static bool fence_is_hopeless(const struct round *round)
{
	unsigned n = 0;

	for (unsigned i = 0; i < round->quorum->n; i++)
		n += round->parts[i].fence >= round->fence || round->parts[i].busy;
	return n < majority(round->quorum);
}

/* A member that came back empty gets the lock again, since a majority says that it stands. */
static void fill(struct round *round, const char *value)
{
	if (round->ttl_ms <= 0)
		return;
	for (unsigned i = 0; i < round->quorum->n; i++) {
		struct part *part = &round->parts[i];

		if (part->busy || !part->answered || part->status != STORE_GONE)
			continue;
		strcpy(part->op.value, value);
		part_submit(round, part, STORE_ACQUIRE);
	}
}

/* A majority took the lock. */
static void decide_taken(struct round *round)
{
	const bool replaced = round->verb == STORE_REPLACE;

	if (round->phase == ROUND_ASKING && round->op->fenced) {
		/* Members that lost their counter don't count while others may still answer. */
		const unsigned n_old = round->n_ok - round->n_new;

		if (n_old > 0 && n_old < majority(round->quorum) && !all_answered(round))
			return;
		for (unsigned i = 0; i < round->quorum->n; i++)
			if (round->parts[i].fence > round->fence)
				round->fence = round->parts[i].fence;
		round->phase = ROUND_RAISING;
		for (unsigned i = 0; i < round->quorum->n; i++)
			raise_part(round, &round->parts[i]);
	}
	if (round->phase == ROUND_RAISING && !fence_is_safe(round)) {
		if (!fence_is_hopeless(round))
			return;
		/* It stands, but nobody may be told: settle it by asking once more. */
		round_fail(round, STORE_UNKNOWN);
		return;
	}
	if (replaced)
		fill(round, round->next);
	round_answer(round, STORE_OK);
}

static void decide_acquire(struct round *round)
{
	const struct quorum *quorum = round->quorum;

	if (round->phase == ROUND_RAISING || round->n_ok >= majority(quorum)) {
		decide_taken(round);
		return;
	}
	if (!is_hopeless(round))
		return;
	/* Nobody must be left with a lock that nobody has: from all members, slow ones too. */
	clean_up(round, round->value);
	if (round->n_held == 0 ||
	    round->n_refused + round->n_unknown > quorum->n - majority(quorum)) {
		round_fail(round, STORE_REFUSED);
		return;
	}
	round->op->pttl_ms = time_until_majority_ms(round);
	round->op->contested = round->n_ok > 0;
	round_answer(round, STORE_HELD);
}

static void decide_replace(struct round *round)
{
	const struct quorum *quorum = round->quorum;
	const unsigned n_not_ours = round->n_held + round->n_gone;

	if (round->phase == ROUND_RAISING || round->n_ok >= majority(quorum)) {
		decide_taken(round);
		return;
	}
	if (n_not_ours > quorum->n - majority(quorum)) {
		clean_up(round, round->value);
		clean_up(round, round->next);
		round_answer(round, round->n_held ? STORE_HELD : STORE_GONE);
		return;
	}
	if (!is_hopeless(round) || !all_answered(round))
		return;
	round_fail(round,
		   round->n_ok == 0 && round->n_unknown == 0 ? STORE_REFUSED : STORE_UNKNOWN);
}

static void decide_release(struct round *round)
{
	struct quorum *quorum = round->quorum;
	const unsigned n_free = round->n_ok + round->n_held + round->n_gone;

	if (n_free >= majority(quorum) && (round->n_ok > 0 || all_answered(round))) {
		/* Gone from a majority, so anybody can have it; the others are seen to. */
		for (unsigned i = 0; i < quorum->n; i++) {
			const struct part *part = &round->parts[i];

			if (!part->answered || !is_definite(part->status))
				remove_from(quorum, i, &round->key, round->value, round->ttl_ms,
					    true);
		}
		round_answer(round, round->n_ok	    ? STORE_OK
				    : round->n_held ? STORE_HELD
						    : STORE_GONE);
	} else if (all_answered(round)) {
		round_fail(round, round->n_unknown || round->n_ok ? STORE_UNKNOWN : STORE_REFUSED);
	}
}

static void decide_extend(struct round *round)
{
	const struct quorum *quorum = round->quorum;

	if (round->n_ok >= majority(quorum)) {
		fill(round, round->value);
		round_answer(round, STORE_OK);
	} else if (round->n_held + round->n_gone > quorum->n - majority(quorum)) {
		clean_up(round, round->value);
		round_answer(round, round->n_held ? STORE_HELD : STORE_GONE);
	} else if (is_hopeless(round) && all_answered(round)) {
		round_fail(round, round->n_ok || round->n_unknown ? STORE_UNKNOWN : STORE_REFUSED);
	}
}

static void decide_check(struct round *round)
{
	const struct quorum *quorum = round->quorum;

	if (round->n_ok >= majority(quorum))
		round_answer(round, STORE_OK);
	else if (round->n_held + round->n_gone > quorum->n - majority(quorum))
		round_answer(round, round->n_held ? STORE_HELD : STORE_GONE);
	else if (all_answered(round))
		round_fail(round, STORE_REFUSED);
}

static void decide_look(struct round *round)
{
	const struct quorum *quorum = round->quorum;

	if (round->n_held >= majority(quorum)) {
		round->op->pttl_ms = time_until_majority_ms(round);
		round_answer(round, STORE_HELD);
	} else if (round->n_gone >= majority(quorum)) {
		round_answer(round, STORE_GONE);
	} else if (all_answered(round)) {
		/* Answered by a majority, and held by none. */
		if (round->n_held + round->n_gone >= majority(quorum))
			round_answer(round, STORE_GONE);
		else
			round_fail(round, STORE_REFUSED);
	}
}

static void decide_break(struct round *round)
{
	const struct quorum *quorum = round->quorum;

	if (!all_answered(round))
		return;
	if (round->n_ok + round->n_gone < majority(quorum))
		round_fail(round, round->n_ok || round->n_unknown ? STORE_UNKNOWN : STORE_REFUSED);
	else
		round_answer(round, round->n_ok ? STORE_OK : STORE_GONE);
}

static void decide(struct round *round)
{
	switch (round->verb) {
	case STORE_ACQUIRE:
		decide_acquire(round);
		break;
	case STORE_REPLACE:
		decide_replace(round);
		break;
	case STORE_RELEASE:
		decide_release(round);
		break;
	case STORE_EXTEND:
		decide_extend(round);
		break;
	case STORE_CHECK:
		decide_check(round);
		break;
	case STORE_LOOK:
		decide_look(round);
		break;
	case STORE_BREAK:
	case STORE_RAISE:
		decide_break(round);
		break;
	}
}

static int64_t max64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* Takes down what a member said to the command itself. */
static void note_answer(struct round *round, struct part *part)
{
	const struct store_op *op = &part->op;

	part->answered = true;
	part->status = op->status;
	round->n_answered++;
	switch (op->status) {
	case STORE_OK:
		round->n_ok++;
		part->fence = op->fence;
		part->fence_is_new = op->fence_is_new;
		round->n_new += op->fence_is_new;
		break;
	case STORE_HELD:
		round->n_held++;
		part->pttl_ms = op->pttl_ms;
		break;
	case STORE_GONE:
		round->n_gone++;
		break;
	case STORE_REFUSED:
		round->n_refused++;
		round->n_lasting += op->lasting;
		break;
	case STORE_UNKNOWN:
		round->n_unknown++;
		break;
	}
	if (!is_definite(op->status))
		snprintf(round->text, sizeof(round->text), "%s", op->text);
	else
		round->settled = round->settled && op->settled;
	round->contenders = max64(round->contenders, op->contenders);
	round->receivers = max64(round->receivers, op->receivers);
	if (op->holder && !round->holder)
		round->holder = strdup(op->holder);
}

static void part_done(struct store_op *op)
{
	struct part *part = container_of(op, struct part, op);
	struct round *round = part->round;

	part->busy = false;
	round->n_busy--;
	if (!part->answered) {
		note_answer(round, part);
		if (round->phase == ROUND_RAISING)
			raise_part(round, part);
	} else if (op->verb == STORE_RAISE && op->status == STORE_OK) {
		part->fence = round->fence;
	}
	if (round->op)
		decide(round);
	else if (round->fence && part->answered)
		raise_part(round, part); /* late, but better high than low */
	if (!round->op && !round->n_busy)
		round_free(round);
}

/* ------------------------------------------------------------------ asking */

static void part_submit(struct round *round, struct part *part, enum store_verb verb)
{
	struct store_op *op = &part->op;

	op->verb = verb;
	op->key = &round->key;
	op->done = part_done;
	if (part->answered) {
		/* Something that follows: a fence to be raised, or a gap to be filled. */
		op->fenced = op->plain = op->want = false;
		op->fence_floor = verb == STORE_RAISE ? round->fence : 0;
	}
	part->busy = true;
	round->n_busy++;
	store_submit(round->quorum->members[part->index], op);
}

static void quorum_submit(struct store *store, struct store_op *op)
{
	struct quorum *quorum = container_of(store, struct quorum, store);
	struct round *round = xcalloc(1, sizeof(*round) + quorum->n * sizeof(*round->parts));

	round->quorum = quorum;
	round->op = op;
	round->verb = op->verb;
	/* The asker may be answered, and gone, before the last member is. */
	store_key_init(&round->key, op->key->key);
	strcpy(round->value, op->value);
	strcpy(round->next, op->next);
	round->ttl_ms = op->ttl_ms;
	round->announce = op->announce ? xstrdup(op->announce) : NULL;
	round->settled = true;
	round->contenders = round->receivers = -1;
	round->submitted_us = now_us(quorum);
	op->contested = false;
	op->pttl_ms = -2;
	quorum->store.stats.commands++;
	TAILQ_INSERT_TAIL(&quorum->rounds, round, entry);
	for (unsigned i = 0; i < quorum->n; i++) {
		struct part *part = &round->parts[i];

		part->round = round;
		part->index = i;
		part->op = (struct store_op){
			.ttl_ms = op->ttl_ms,
			.fenced = op->fenced,
			/* Even unfenced, a node must know its own string again. */
			.want = op->want,
			.fence_floor = op->fence_floor,
			.announce = round->announce,
		};
		strcpy(part->op.value, op->value);
		strcpy(part->op.next, op->next);
		part_submit(round, part, op->verb);
	}
}

static bool quorum_flush(struct store *store)
{
	struct quorum *quorum = container_of(store, struct quorum, store);
	struct round *round;
	bool any = false;

	/* From here on nobody shares them. */
	TAILQ_FOREACH (round, &quorum->rounds, entry)
		if (round->op)
			round->op->written = true;
	for (unsigned i = 0; i < quorum->n; i++)
		any |= store_flush(quorum->members[i]);
	return any;
}

/* ------------------------------------------------------------------ listening */

static void ear_ready(struct store_watch *watch)
{
	struct ear *ear = container_of(watch, struct ear, watch);
	struct channel *channel = ear->channel;
	const bool was_ready = channel->watch->is_ready;

	channel->n_ready += !ear->ready;
	ear->ready = true;
	channel->watch->is_ready = channel->n_ready >= majority(channel->quorum);
	/* Again after an interruption: some may have been missed. */
	if (channel->watch->is_ready &&
	    (was_ready || channel->n_ready == majority(channel->quorum)))
		channel->watch->ready(channel->watch);
}

/*
 * A release is published on every member: it is passed on when a majority has let go, since before
 * that nobody could take it.
 */
static void ear_message(struct store_watch *watch, enum store_message message)
{
	struct ear *ear = container_of(watch, struct ear, watch);
	struct channel *channel = ear->channel;

	if (message == STORE_MESSAGE_FREE) {
		channel->n_heard += !ear->heard;
		ear->heard = true;
		if (channel->n_heard < majority(channel->quorum))
			return;
		for (unsigned i = 0; i < channel->quorum->n; i++)
			channel->ears[i].heard = false;
		channel->n_heard = 0;
	}
	channel->watch->message(channel->watch, message);
}

static void quorum_watch(struct store *store, struct store_watch *watch)
{
	struct quorum *quorum = container_of(store, struct quorum, store);
	struct channel *channel = xcalloc(1, sizeof(*channel) + quorum->n * sizeof(*channel->ears));

	channel->quorum = quorum;
	channel->watch = watch;
	watch->private = channel;
	watch->is_ready = false;
	for (unsigned i = 0; i < quorum->n; i++) {
		struct ear *ear = &channel->ears[i];

		ear->channel = channel;
		ear->index = i;
		ear->watch.key = watch->key;
		ear->watch.ready = ear_ready;
		ear->watch.message = ear_message;
		store_watch(quorum->members[i], &ear->watch);
	}
}

static void quorum_unwatch(struct store *store, struct store_watch *watch)
{
	struct quorum *quorum = container_of(store, struct quorum, store);
	struct channel *channel = watch->private;

	for (unsigned i = 0; i < quorum->n; i++)
		store_unwatch(quorum->members[i], &channel->ears[i].watch);
	free(channel);
	watch->private = NULL;
	watch->is_ready = false;
}

static void member_event(struct store_listener *listener, struct store *member,
			 enum store_event event)
{
	struct quorum *quorum = container_of(listener, struct quorum, member_listener);
	struct removal *removal;

	if (event == STORE_EVENT_UP) {
		TAILQ_FOREACH (removal, &quorum->removals, entry)
			if (!removal->busy && quorum->members[removal->index] == member)
				timer_set(&quorum->timers, &removal->timer, now_us(quorum));
		rearm(quorum);
	}
	if (quorum->store.listener)
		quorum->store.listener->event(quorum->store.listener, &quorum->store, event);
}

/* ------------------------------------------------------------------ birth and end */

static void quorum_free(struct store *store)
{
	struct quorum *quorum = container_of(store, struct quorum, store);
	struct removal *removal;

	quorum->ending = true;
	for (unsigned i = 0; i < quorum->n; i++)
		store_free(quorum->members[i]);
	assert(TAILQ_EMPTY(&quorum->rounds));
	while ((removal = TAILQ_FIRST(&quorum->removals)))
		removal_free(removal);
	quorum->env.arm(quorum->env.arg, CLOCK_NEVER);
	timers_deinit(&quorum->timers);
	free((char *)quorum->store.name);
	free(quorum);
}

static const struct store_class quorum_class = {
	.submit = quorum_submit,
	.watch = quorum_watch,
	.unwatch = quorum_unwatch,
	.flush = quorum_flush,
	.free = quorum_free,
};

struct store *quorum_new(const struct quorum_env *env, const char *name,
			 struct store_listener *listener)
{
	struct quorum *quorum = xcalloc(1, sizeof(*quorum));

	quorum->store.class = &quorum_class;
	quorum->store.listener = listener;
	quorum->store.name = xstrdup(name);
	quorum->member_listener.event = member_event;
	quorum->env = *env;
	timers_init(&quorum->timers);
	TAILQ_INIT(&quorum->rounds);
	TAILQ_INIT(&quorum->removals);
	return &quorum->store;
}

struct store_listener *quorum_member_listener(struct store *store)
{
	struct quorum *quorum = container_of(store, struct quorum, store);

	return &quorum->member_listener;
}

void quorum_add(struct store *store, struct store *member)
{
	struct quorum *quorum = container_of(store, struct quorum, store);

	assert(quorum->n < QUORUM_MEMBERS_MAX);
	quorum->members[quorum->n++] = member;
}
