/* SPDX-License-Identifier: MIT */
/*
 * Several independent stores as one.
 *
 * Every command goes to all members at once and is answered as soon as its outcome is certain, so
 * that a slow or stopped minority delays nobody; members that have not answered by its deadline
 * count as lost. What a command left on a member where it must not stay is removed there in the
 * background, until that member has said so.
 *
 * Fences. Redlock has none
 * (https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html asks for them). Here
 * every member keeps a counter beside the lock, as a single server does, and a grant takes two
 * rounds, like a write to the register of Attiya, Bar-Noy and Dolev (Sharing Memory Robustly in
 * Message-Passing Systems, JACM 42(1), 1995):
 *
 *  1. Every member proposes a number larger than its counter; those that take the lock raise it to
 *     that. When a majority has taken the lock, the fence is the largest that was proposed.
 *  2. Before the lock is granted, the fence is written back (counters only ever grow) until on a
 *     majority of the members the counter is at least that.
 *
 * Why they grow: let W be the majority of the second round of a grant G, and T that which took the
 * lock in the first round of a later grant H. They share a member m. Only one string stands there
 * at a time: m took H's lock when G's no longer stood there, so after G's fence had been written;
 * what it proposes to H is larger. (Had it taken H's before G's, H's would have gone from there by
 * G's time: by a release, or with its lease, after which it is not granted.) This holds whichever
 * minority is down at either time, and for any clocks.
 *
 * When members lose their data, what they propose is their clock, which may be behind. A member
 * that has no counter therefore says so, and gets one in the second round of a grant only: a try
 * that came to nothing must not make it look as if it knew. The rule is then: if a majority of the
 * members proposes by a counter, whether they took the lock or another string stands there, then
 * the others don't matter. For let L be the members of W that lost their data and were not written
 * again. Of the n - |L| members, at most, that have a counter, |W| - |L| were written by G or by a
 * later grant, and a majority propose by theirs; as |W| - |L| + majority > n - |L|, one of them is
 * both. So fences grow strictly for as long as the members that are down, or cannot be reached,
 * while the lock is asked for, and those that have no counter then, are together a minority. One
 * member after the other may lose its data, if a grant in between reaches the one before.
 *
 * This takes for granted that G had been granted when H's lock was asked for, or that a member
 * which lost its data stays away for as long as the longest lease: what Redlock asks for (its
 * page: delayed restarts) since otherwise that member can help a second holder to a majority while
 * the first still has one.
 *
 * If fewer than a majority propose by a counter, there are two cases. Some do: then half the time
 * that the command has is waited for the others, and all that have answered by then count; that is
 * still enough if one of W is among them. Or none does: then the mutex is taken for a new one, and
 * nobody waited for. If it is not new, the servers' clocks, and the highest fence that the asking
 * daemon remembers, are what makes fences grow, as after the loss of a single server's data.
 */
#include "config.h"

#include "store/quorum.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "core/fault.h"
#include "core/timer.h"
#include "util/alloc.h"

#define MS_US INT64_C(1000)
#define SECOND_US (1000 * MS_US)
/* How long a command may still be carried out on a member that lost its connection with it. */
#define DOUBT_US (60 * SECOND_US)
#define BACK_OFF_MIN_US (50 * MS_US)
#define BACK_OFF_MAX_US (8 * SECOND_US)
/* What share of a lease a command may take, and below what time a larger share is better. */
#define LEASE_SHARE 5
#define SHORT_US (20 * MS_US)
/* Releases that members announce belong together if they come within this time. */
#define HEARD_US SECOND_US
/* How long it is tried to remove what was broken elsewhere, whose ttl nobody knows. */
#define BROKEN_MS (INT64_C(3600) * 1000)
/* On one member; what is more is left to expire. */
#define REMOVALS_MAX 20000

struct quorum;
struct round;
struct removal;

/* One member's share in a command. */
struct part {
	struct store_op op;
	struct round *round;
	unsigned index;
	bool busy;     /* op is submitted */
	bool asked;    /* busy with the command itself, not with what follows it */
	bool answered; /* the command itself, or given up */
	bool settled;  /* ... and no earlier one can follow */
	bool followed; /* what follows was sent: once is enough */
	bool buried;   /* what it broke is seen to on the others */
	enum store_status status;
	int64_t fence; /* its counter is at least this, if it has one */
	bool fence_is_new;
	int64_t pttl_ms;
	uint64_t other;		 /* of HELD: by whom; 0 not known */
	char *holder;		 /* owned */
	char *broken;		 /* owned; of BREAK */
	struct removal *removal; /* sent after it without waiting for its answer; or NULL */
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
	uint64_t number;     /* in the order of submission */
	struct store_op *op; /* the asker's; NULL once answered */
	enum store_verb verb;
	enum round_phase phase;
	struct store_key key;
	char value[LOCK_STRING_SIZE], next[LOCK_STRING_SIZE];
	int64_t ttl_ms;
	bool fenced;
	char *announce;
	int64_t submitted_us, timeout_us;
	struct timer timer;
	bool flushed; /* in quorum->rounds, no more in quorum->submitted */
	bool hurried; /* half the time is over */
	bool over;    /* all of it is */
	unsigned n_busy, n_answered, n_ok, n_held, n_gone, n_refused, n_unknown;
	unsigned n_lasting;
	unsigned n_new; /* OK, but had no counter */
	bool granted;	/* answered OK */
	/* Known to be nobody's lock: what is left of it on any member is removed. */
	bool value_is_dead, next_is_dead;
	int64_t contenders, receivers;
	int64_t fence;
	char text[200];
	TAILQ_ENTRY(round) entry;
	struct part parts[];
};

TAILQ_HEAD(round_list, round);

/*
 * Where a string that was granted, or is about to be, may stand: so that nothing needs to be
 * removed later from members that never had it.
 */
struct claim {
	UT_hash_handle hh;
	char value[LOCK_STRING_SIZE];
	uint16_t stands;  /* a bit a member: it may stand there */
	uint16_t appears; /* ... or may yet, by a command that was lost */
	uint16_t fills;	  /* ... or does when it is filled: that is under way */
	uint16_t strays;  /* ... a lost command may yet make it stand for only cut_ms more */
	int64_t cut_ms;	  /* the least of all that strays may do */
	bool ending;	  /* its release, or its successor, is on its way */
	uint64_t round;	  /* the number of the last command about it */
	int64_t until_us; /* it has expired everywhere by then */
	char key[];
};

/* A string that must not stand on one member. */
struct removal {
	struct quorum *quorum;
	unsigned index;
	struct part *part; /* whose answer will say whether it is needed at all; or NULL */
	struct store_key key;
	struct store_op op;
	struct timer timer;
	bool busy;
	bool needless;
	int64_t until_us; /* it has surely expired by then */
	int64_t doubt_us; /* until then it may still appear; 0: it can't */
	int64_t backoff_us;
	TAILQ_ENTRY(removal) entry;
};

/* One member's ear on a channel. */
struct ear {
	struct store_watch watch;
	struct channel *channel;
	bool ready;
	int64_t heard_us; /* a release that was not passed on yet; CLOCK_NEVER: none */
};

/* A channel that somebody listens to through the quorum. */
struct channel {
	struct quorum *quorum;
	struct store_watch *watch; /* the asker's */
	unsigned n_ready;
	struct ear ears[];
};

struct quorum {
	struct store store;
	struct store_listener member_listener;
	struct quorum_env env;
	struct store *members[QUORUM_MEMBERS_MAX];
	unsigned n_removals[QUORUM_MEMBERS_MAX];
	unsigned n;
	uint64_t n_rounds; /* so far */
	struct timers timers;
	int64_t armed_us; /* what env.arm() was told last */
	struct round_list submitted, rounds;
	TAILQ_HEAD(, removal) removals;
	struct claim *claims; /* a hash by value */
	struct claim *swept;  /* the next for claim_sweep(), or NULL: begin anew */
	bool ending;
};

static struct quorum *quorum_of(struct store *store)
{
	return container_of(store, struct quorum, store);
}

static unsigned majority(const struct quorum *quorum)
{
	return quorum->n / 2 + !CORE_FAULT(quorum_half_is_enough);
}

/* So many may fail, and a majority can still be had. */
static unsigned spare(const struct quorum *quorum)
{
	return quorum->n - majority(quorum);
}

static int64_t now_us(const struct quorum *quorum)
{
	return clock_now_us(quorum->env.clock);
}

/*
 * Most timers are stopped before they are due. So the loop is told of earlier times only, and may
 * come once for nothing.
 */
static void rearm(struct quorum *quorum)
{
	const int64_t next_us = timers_next_us(&quorum->timers);

	if (next_us >= quorum->armed_us)
		return;
	quorum->armed_us = next_us;
	quorum->env.arm(quorum->env.arg, next_us);
}

static bool is_definite(enum store_status status)
{
	return status == STORE_OK || status == STORE_HELD || status == STORE_GONE;
}

static int64_t max64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* ------------------------------------------------------------------ claims */

/* The claim to that value of the key that the command is about. */
static struct claim *claim_find(const struct round *round, const char *value)
{
	struct claim *claim;

	HASH_FIND_STR(round->quorum->claims, value, claim);
	/* Somebody may name a lock of another key, which his was before a reload. */
	return claim && strcmp(claim->key, round->key.key) == 0 ? claim : NULL;
}

static void claim_free(struct quorum *quorum, struct claim *claim)
{
	if (!claim)
		return;
	if (quorum->swept == claim)
		quorum->swept = claim->hh.next;
	HASH_DEL(quorum->claims, claim);
	free(claim);
}

/*
 * Looks at two claims, and drops those that have expired: as each new one pays for a look at two
 * old ones, there are never many more than strings that stand.
 */
static void claim_sweep(struct quorum *quorum, int64_t at_us)
{
	for (int i = 0; i < 2; i++) {
		struct claim *claim = quorum->swept ? quorum->swept : quorum->claims;

		if (!claim)
			return;
		quorum->swept = claim->hh.next;
		if (claim->until_us <= at_us)
			claim_free(quorum, claim);
	}
}

/* Twice the ttl, for what was sent late and for clocks that differ. */
static int64_t expired_us(const struct quorum *quorum, int64_t ttl_ms)
{
	return now_us(quorum) + 2 * ttl_ms * MS_US + SECOND_US;
}

/*
 * The command is about this value, which stands `stands` if there was no claim to it; `ending`: it
 * is the last one.
 */
static void claim_note_round(const struct round *round, const char *value, uint16_t stands,
			     bool ending)
{
	struct quorum *quorum = round->quorum;
	struct claim *claim;

	HASH_FIND_STR(quorum->claims, value, claim);
	if (!claim) {
		claim_sweep(quorum, now_us(quorum));
		claim = xcalloc(1, sizeof(*claim) + strlen(round->key.key) + 1);
		strcpy(claim->value, value);
		strcpy(claim->key, round->key.key);
		claim->stands = stands;
		HASH_ADD_STR(quorum->claims, value, claim);
	} else if (!claim_find(round, value)) {
		return;
	}
	if (round->verb != STORE_EXTEND)
		claim->ending = ending;
	claim->until_us = max64(claim->until_us, expired_us(quorum, round->ttl_ms));
	claim->round = round->number;
}

/* What a member's answer to a command that gives it a time to stand says about that. */
static void claim_note_time(struct claim *claim, const struct part *part)
{
	const uint16_t bit = (uint16_t)(1u << part->index);

	if (part->op.status == STORE_UNKNOWN) {
		if (!claim->strays || part->op.ttl_ms < claim->cut_ms)
			claim->cut_ms = part->op.ttl_ms;
		claim->strays |= bit;
	} else if (is_definite(part->op.status) && part->op.settled) {
		claim->strays &= (uint16_t)~bit;
	}
}

/* What a member's answer to a command that would set this value says about it. */
static void claim_note_set(const char *value, const struct part *part)
{
	struct claim *claim = claim_find(part->round, value);
	const uint16_t bit = (uint16_t)(1u << part->index);

	if (!claim)
		return;
	claim->fills &= (uint16_t)~bit;
	if (part->op.status == STORE_OK)
		claim->stands |= bit;
	else if (part->op.status == STORE_UNKNOWN)
		claim->appears |= bit;
	claim_note_time(claim, part);
}

/* What a member's answer to a command that compared it with what stands says about it. */
static void claim_note_compared(const char *value, const struct part *part, bool ok_stands)
{
	struct claim *claim = claim_find(part->round, value);
	const uint16_t bit = (uint16_t)(1u << part->index);

	if (!claim || !is_definite(part->op.status))
		return;
	if (part->op.status == STORE_OK && ok_stands) {
		claim->stands |= bit;
		return;
	}
	claim->stands &= (uint16_t)~bit;
	if (part->op.settled)
		claim->appears &= (uint16_t)~bit;
}

static void claims_note(struct round *round, const struct part *part, enum store_verb verb)
{
	struct claim *claim;

	switch (verb) {
	case STORE_ACQUIRE:
		claim_note_set(part->op.value, part);
		break;
	case STORE_REPLACE:
		claim_note_set(round->next, part);
		claim_note_compared(round->value, part, false);
		break;
	case STORE_EXTEND:
		claim_note_compared(round->value, part, true);
		if ((claim = claim_find(round, round->value)))
			claim_note_time(claim, part);
		break;
	case STORE_CHECK:
		claim_note_compared(round->value, part, true);
		break;
	case STORE_RELEASE:
		claim_note_compared(round->value, part, false);
		break;
	default:
		break;
	}
}

/* What a command says is dead must not come back by an earlier one that is answered after it. */
static void claims_end(const struct round *round)
{
	struct claim *claim;

	if (round->value_is_dead && (claim = claim_find(round, round->value)))
		claim->ending = true;
	if (round->next_is_dead && (claim = claim_find(round, round->next)))
		claim->ending = true;
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

	assert(!removal->busy);
	if (removal->part)
		removal->part->removal = NULL;
	timer_stop(&quorum->timers, &removal->timer);
	TAILQ_REMOVE(&quorum->removals, removal, entry);
	quorum->n_removals[removal->index]--;
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
	int64_t again_us = at_us + SECOND_US;

	removal->busy = false;
	if (quorum->ending)
		return;
	if (removal->needless) {
		removal_free(removal);
		return;
	}
	if (is_definite(op->status)) {
		/* If the answer of the command that it follows is still out, that may set it. */
		if (!removal->part && (op->settled || at_us >= removal->doubt_us)) {
			removal_free(removal);
			return;
		}
	} else if (at_us >= max64(removal->until_us, removal->doubt_us)) {
		removal_free(removal);
		return;
	} else {
		again_us = at_us + removal->backoff_us;
		removal->backoff_us = min64(2 * removal->backoff_us, BACK_OFF_MAX_US);
	}
	timer_set(&quorum->timers, &removal->timer, again_us);
	rearm(quorum);
}

/*
 * Removes a string from a member, now and until that has said so or it has expired.
 * Return: NULL when there is too much of that already.
 */
static struct removal *remove_from(struct quorum *quorum, unsigned index,
				   const struct store_key *key, const char *value, int64_t ttl_ms,
				   bool doubtful)
{
	struct removal *removal;

	if (quorum->ending || quorum->n_removals[index] >= REMOVALS_MAX ||
	    CORE_FAULT(quorum_undo_forgotten))
		return NULL;
	removal = xcalloc(1, sizeof(*removal));
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
	removal->until_us = expired_us(quorum, ttl_ms);
	removal->doubt_us = doubtful ? now_us(quorum) + DOUBT_US : 0;
	TAILQ_INSERT_TAIL(&quorum->removals, removal, entry);
	quorum->n_removals[index]++;
	removal_submit(removal);
	return removal;
}

/* The command that a removal was sent after has been answered at last. */
static void removal_note_part(struct part *part)
{
	struct removal *removal = part->removal;

	part->removal = NULL;
	removal->part = NULL;
	if (part->op.status == STORE_UNKNOWN)
		removal->doubt_us = now_us(removal->quorum) + DOUBT_US;
	else if (part->op.status != STORE_OK)
		removal->needless = true;
	if (removal->needless && !removal->busy)
		removal_free(removal);
}

/* ------------------------------------------------------------------ what follows */

static void part_submit(struct round *round, struct part *part, enum store_verb verb);

static void raise_part(struct round *round, struct part *part)
{
	if (CORE_FAULT(quorum_fence_unwritten) || part->busy || part->followed || !part->answered ||
	    part->status != STORE_OK || (part->fence >= round->fence && !part->fence_is_new))
		return;
	part->followed = true;
	part_submit(round, part, STORE_RAISE);
}

/* A member that came back empty gets the lock again, since a majority says that it stands. */
static void fill_part(struct round *round, struct part *part)
{
	struct quorum *quorum = round->quorum;
	const char *value = round->verb == STORE_REPLACE ? round->next : round->value;
	struct claim *claim = claim_find(round, value);
	/* It is to end there when it does on the others. */
	const int64_t left_us = round->ttl_ms * MS_US - (now_us(quorum) - round->submitted_us);

	/* The answer to an earlier command must not undo what a later one has done there. */
	if (part->followed || !claim || claim->ending || claim->round != round->number ||
	    left_us < MS_US)
		return;
	part->followed = true;
	claim->fills |= (uint16_t)(1u << part->index);
	strcpy(part->op.value, value);
	part->op.ttl_ms = left_us / MS_US;
	part_submit(round, part, STORE_ACQUIRE);
}

/* Sees to a string that must not stand on a member that has answered. */
static void bury(struct round *round, struct part *part, const char *value)
{
	struct claim *claim = claim_find(round, value);
	const uint16_t bit = (uint16_t)(1u << part->index);
	struct removal *removal;

	if (!claim || !((claim->stands | claim->appears | claim->fills) & bit))
		return;
	/* Behind a fill, which may be lost like any command. */
	removal = remove_from(round->quorum, part->index, &round->key, value, round->ttl_ms,
			      (claim->appears | claim->fills) & bit);
	/* It may have been given more time than what follows it. */
	if (removal)
		removal->until_us = max64(removal->until_us, claim->until_us);
	claim->stands &= (uint16_t)~bit;
	claim->appears &= (uint16_t)~bit;
}

/*
 * What was broken is removed from members that did not answer; they must not be told to break
 * whatever stands there by then.
 */
static void bury_broken(struct round *round, const char *value)
{
	if (strlen(value) >= LOCK_STRING_SIZE)
		return; /* no daemon's; it is left to expire */
	for (unsigned i = 0; i < round->quorum->n; i++) {
		const struct part *part = &round->parts[i];

		if (!part->answered || !is_definite(part->status))
			remove_from(round->quorum, i, &round->key, value, BROKEN_MS, false);
	}
}

/* The break is decided, or a late answer has come. */
static void follow_break(struct round *round, struct part *part)
{
	bool known = part->broken == NULL;

	for (unsigned i = 0; i < round->quorum->n && !known; i++) {
		const struct part *other = &round->parts[i];

		known = other != part && other->buried && strcmp(other->broken, part->broken) == 0;
	}
	if (known || part->buried)
		return;
	part->buried = true;
	bury_broken(round, part->broken);
}

/* What a member's answer to a command that is decided asks for. */
static void follow_up(struct round *round, struct part *part)
{
	if (round->quorum->ending)
		return;
	if (part->removal) {
		removal_note_part(part);
		return;
	}
	if (round->value_is_dead)
		bury(round, part, round->value);
	if (round->next_is_dead)
		bury(round, part, round->next);
	if (round->verb == STORE_BREAK)
		follow_break(round, part);
	if (!round->granted)
		return;
	if (round->fenced)
		raise_part(round, part); /* late, but better high than low */
	if (part->status == STORE_GONE &&
	    (round->verb == STORE_EXTEND || round->verb == STORE_REPLACE))
		fill_part(round, part);
}

/* ------------------------------------------------------------------ answering */

static void round_free(struct round *round)
{
	struct quorum *quorum = round->quorum;

	assert(!round->n_busy && !round->op);
	if (round->value_is_dead)
		claim_free(quorum, claim_find(round, round->value));
	if (round->next_is_dead)
		claim_free(quorum, claim_find(round, round->next));
	for (unsigned i = 0; i < quorum->n; i++) {
		if (round->parts[i].removal)
			round->parts[i].removal->part = NULL;
		free(round->parts[i].holder);
		free(round->parts[i].broken);
	}
	TAILQ_REMOVE(round->flushed ? &quorum->rounds : &quorum->submitted, round, entry);
	store_key_deinit(&round->key);
	free(round->announce);
	free(round);
}

/* What most of those who hold it have announced; borrowed. */
static const char *holder_of(const struct round *round)
{
	const char *best = NULL;
	unsigned best_votes = 0;

	for (unsigned i = 0; i < round->quorum->n; i++) {
		const char *holder = round->parts[i].holder;
		unsigned votes = 0;

		for (unsigned j = i; holder && j < round->quorum->n; j++)
			votes += round->parts[j].holder &&
				 strcmp(holder, round->parts[j].holder) == 0;
		if (votes > best_votes) {
			best = holder;
			best_votes = votes;
		}
	}
	return best;
}

static void count_answer(struct quorum *quorum, const struct round *round, enum store_status status)
{
	struct store_stats *stats = &quorum->store.stats;
	const int64_t took_us = now_us(quorum) - round->submitted_us;
	const size_t last = sizeof(stats->latency_buckets) / sizeof(stats->latency_buckets[0]) - 1;
	size_t bucket = 0;

	stats->errors += status == STORE_REFUSED;
	stats->timeouts += status == STORE_UNKNOWN;
	if (!is_definite(status))
		return;
	while (bucket < last && took_us > INT64_C(64) << bucket)
		bucket++;
	stats->replies++;
	stats->latency_us_sum += (uint64_t)took_us;
	stats->latency_buckets[bucket]++;
}

/* On how many members can nothing that was submitted before be carried out any more? */
static unsigned n_settled(const struct round *round)
{
	unsigned n = 0;

	for (unsigned i = 0; i < round->quorum->n; i++)
		n += round->parts[i].settled;
	return n;
}

/* The one way in which an asker gets its answer. */
static void round_answer(struct round *round, enum store_status status)
{
	struct quorum *quorum = round->quorum;
	struct store_op *op = round->op;

	assert(op);
	round->granted = status == STORE_OK;
	round->phase = ROUND_DONE;
	timer_stop(&quorum->timers, &round->timer);
	claims_end(round);
	/* Before the asker can submit anything else. */
	for (unsigned i = 0; i < quorum->n; i++)
		if (round->parts[i].answered && !round->parts[i].asked)
			follow_up(round, &round->parts[i]);
	round->op = NULL;
	op->status = status;
	op->settled = is_definite(status) && n_settled(round) >= majority(quorum);
	op->lasting = status == STORE_REFUSED && round->n_lasting > spare(quorum);
	op->fence = round->fence;
	op->fence_is_new = round->n_new == round->n_ok;
	op->contenders = round->contenders;
	op->receivers = round->receivers;
	op->text = is_definite(status) ? NULL : round->text;
	op->holder = holder_of(round);
	count_answer(quorum, round, status);
	op->done(op);
}

/* No majority could be had: says how many of them answered, and what one of the others said. */
static void round_fail(struct round *round, enum store_status status)
{
	char why[sizeof(round->text)];

	strcpy(why, round->text);
	snprintf(round->text, sizeof(round->text),
		 "%u of %u servers answered, %u are needed%s%.120s",
		 round->n_ok + round->n_held + round->n_gone, round->quorum->n,
		 majority(round->quorum), *why ? "; " : "", why);
	round_answer(round, status);
}

/* As above, of a command that was carried out on none if all members have declined it. */
static void round_fail_if_any(struct round *round)
{
	const bool declined = round->n_refused == round->quorum->n;

	round_fail(round, declined ? STORE_REFUSED : STORE_UNKNOWN);
}

/*
 * What stands in the way of an acquire: the time until so many members are free that a majority can
 * be had, if their other locks run out.
 */
static int64_t time_until_majority_ms(const struct round *round)
{
	const struct quorum *quorum = round->quorum;
	const unsigned n_free = round->n_ok + round->n_gone;
	const unsigned need = majority(quorum) > n_free ? majority(quorum) - n_free : 1;
	int64_t times[QUORUM_MEMBERS_MAX] = {0};
	unsigned n = 0;

	for (unsigned i = 0; i < quorum->n; i++) {
		const struct part *part = &round->parts[i];
		unsigned at = n;

		if (!part->answered || part->status != STORE_HELD || part->pttl_ms < 0)
			continue;
		for (; at > 0 && times[at - 1] > part->pttl_ms; at--)
			times[at] = times[at - 1];
		times[at] = part->pttl_ms;
		n++;
	}
	return n >= need ? times[need - 1] : -2;
}

/* Do so many say that one and the same other lock stands there? */
static bool one_other_has_majority(const struct round *round)
{
	for (unsigned i = 0; i < round->quorum->n; i++) {
		unsigned n = 0;

		for (unsigned j = i; round->parts[i].other && j < round->quorum->n; j++)
			n += round->parts[j].other == round->parts[i].other;
		if (n >= majority(round->quorum))
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------ deciding */

static unsigned n_open(const struct round *round)
{
	return round->quorum->n - round->n_answered;
}

static unsigned n_lost(const struct round *round)
{
	return round->n_refused + round->n_unknown;
}

static unsigned n_not_ours(const struct round *round)
{
	return round->n_held + round->n_gone;
}

/* Neither a majority for OK can be had any more, nor so many against that there is none. */
static bool is_undecidable(const struct round *round)
{
	return round->n_ok + n_open(round) < majority(round->quorum) &&
	       n_not_ours(round) + n_open(round) <= spare(round->quorum);
}

/* How many have a counter of at least the fence, or may have soon. */
static unsigned n_raised(const struct round *round, bool may)
{
	unsigned n = 0;

	for (unsigned i = 0; i < round->quorum->n; i++) {
		const struct part *part = &round->parts[i];

		n += (part->answered && part->status == STORE_OK && !part->fence_is_new &&
		      part->fence >= round->fence) ||
		     (may && part->busy);
	}
	return n;
}

/* The lock did not come about: nobody must be left with what nobody has. */
static void acquire_undo(struct round *round)
{
	round->value_is_dead = true;
	round->op->undone = true;
	round->op->left =
		round->n_ok + round->n_unknown + n_open(round) >= majority(round->quorum) &&
		!CORE_FAULT(quorum_leftover_unnoted);
	for (unsigned i = 0; i < round->quorum->n; i++) {
		struct part *part = &round->parts[i];

		/* Slow ones too: right behind the command, wherever that is. */
		if (!part->asked)
			continue;
		part->removal = remove_from(round->quorum, i, &round->key, round->value,
					    round->ttl_ms, false);
		if (part->removal)
			part->removal->part = part;
	}
}

/* A majority took the lock. */
static void decide_taken(struct round *round)
{
	const unsigned need = majority(round->quorum);

	if (round->fenced && round->phase == ROUND_ASKING) {
		unsigned n_old = 0;

		for (unsigned i = 0; i < round->quorum->n; i++)
			n_old += round->parts[i].fence > 0 && !round->parts[i].fence_is_new;
		/* Members without a counter don't count while others may still answer. */
		if (n_old > 0 && n_old < need && n_open(round) > 0 && !round->hurried &&
		    !CORE_FAULT(quorum_counters_unawaited))
			return;
		for (unsigned i = 0; i < round->quorum->n; i++)
			round->fence = max64(round->fence, round->parts[i].fence);
		round->phase = ROUND_RAISING;
		for (unsigned i = 0; i < round->quorum->n; i++)
			raise_part(round, &round->parts[i]);
	}
	if (round->fenced && n_raised(round, false) < need && !CORE_FAULT(quorum_fence_unwritten)) {
		if (n_raised(round, true) >= need && !round->over)
			return;
		/* It stands, but must not be granted. */
		if (round->verb == STORE_ACQUIRE) {
			acquire_undo(round);
			round_fail(round, STORE_REFUSED);
		} else {
			round_fail(round, STORE_UNKNOWN);
		}
		return;
	}
	round->value_is_dead = round->verb == STORE_REPLACE;
	round_answer(round, STORE_OK);
}

static void decide_acquire(struct round *round)
{
	const struct quorum *quorum = round->quorum;

	if (round->phase == ROUND_RAISING || round->n_ok >= majority(quorum)) {
		decide_taken(round);
	} else if (round->n_ok + n_open(round) >= majority(quorum)) {
		return;
	} else if (n_lost(round) > spare(quorum)) {
		acquire_undo(round);
		round_fail(round, STORE_REFUSED);
	} else if (round->n_ok + n_not_ours(round) >= majority(quorum)) {
		acquire_undo(round);
		round->op->pttl_ms = time_until_majority_ms(round);
		round->op->contested = !one_other_has_majority(round);
		round_answer(round, STORE_HELD);
	}
}

/* A majority says that the lock is not, or not any more, ours. */
static void decide_not_ours(struct round *round)
{
	round->value_is_dead = true;
	round->next_is_dead = round->verb == STORE_REPLACE;
	round_answer(round, round->n_held ? STORE_HELD : STORE_GONE);
}

static void decide_replace(struct round *round)
{
	if (round->phase == ROUND_RAISING || round->n_ok >= majority(round->quorum))
		decide_taken(round);
	else if (n_not_ours(round) > spare(round->quorum))
		decide_not_ours(round);
	else if (is_undecidable(round))
		round_fail_if_any(round);
}

/* On how many members is it certain that the value is not there, and does not come? */
static unsigned n_rid_of(const struct round *round)
{
	const struct claim *claim = claim_find(round, round->value);
	unsigned n = 0;

	for (unsigned i = 0; i < round->quorum->n; i++)
		n += round->parts[i].answered && is_definite(round->parts[i].status) &&
		     !(claim && claim->appears & (uint16_t)(1u << i));
	return n;
}

static void decide_release(struct round *round)
{
	const unsigned need = majority(round->quorum);
	const unsigned n_free = round->n_ok + n_not_ours(round);

	round->op->left = n_rid_of(round) <= spare(round->quorum);
	if (n_free >= need && round->n_ok > 0) {
		/* Gone from a majority, so anybody can have it; the others are seen to. */
		round->value_is_dead = true;
		round_answer(round, STORE_OK);
	} else if (n_not_ours(round) > spare(round->quorum)) {
		decide_not_ours(round);
	} else if (n_free + n_open(round) < need) {
		round_fail_if_any(round);
	}
}

/* How long what was extended stands, whatever lost commands do yet to the members that have it. */
static int64_t cut_ms(const struct round *round)
{
	const struct claim *claim = claim_find(round, round->value);
	unsigned n_sure = 0;

	for (unsigned i = 0; claim && i < round->quorum->n; i++) {
		const struct part *part = &round->parts[i];

		n_sure += part->answered && part->status == STORE_OK &&
			  !(claim->strays & (uint16_t)(1u << i));
	}
	return claim && n_sure < majority(round->quorum) ? claim->cut_ms : 0;
}

/* That do not have it, and did not get it back since they said so. */
static unsigned n_without(const struct round *round)
{
	const struct claim *claim = claim_find(round, round->value);
	unsigned n = 0;

	for (unsigned i = 0; i < round->quorum->n; i++) {
		const struct part *part = &round->parts[i];

		n += part->answered && (part->status == STORE_HELD || part->status == STORE_GONE) &&
		     !(claim && claim->stands & (uint16_t)(1u << i));
	}
	return n;
}

/* Can it neither be said that a majority has it any more, nor that none has? */
static bool stays_unknown(const struct round *round)
{
	return round->n_ok + n_open(round) < majority(round->quorum) &&
	       n_without(round) + n_open(round) <= spare(round->quorum);
}

static void decide_extend(struct round *round)
{
	if (round->n_ok >= majority(round->quorum)) {
		round->op->cut_ms = cut_ms(round);
		round_answer(round, STORE_OK);
	} else if (n_without(round) > spare(round->quorum)) {
		decide_not_ours(round);
	} else if (stays_unknown(round)) {
		round_fail_if_any(round);
	}
}

static void decide_check(struct round *round)
{
	if (round->n_ok >= majority(round->quorum))
		round_answer(round, STORE_OK);
	else if (n_without(round) > spare(round->quorum))
		decide_not_ours(round);
	else if (stays_unknown(round))
		round_fail(round, STORE_REFUSED);
}

static void decide_look(struct round *round)
{
	const struct quorum *quorum = round->quorum;

	if (round->n_gone > spare(quorum)) {
		round_answer(round, STORE_GONE);
	} else if (n_lost(round) > spare(quorum)) {
		round_fail(round, STORE_REFUSED);
	} else if (round->n_held >= majority(quorum) || n_open(round) == 0) {
		/* Of a majority; or nobody could have one, as things stand. */
		round->op->pttl_ms = time_until_majority_ms(round);
		round_answer(round, STORE_HELD);
	}
}

/* What stands is deleted at once, and on a majority; the same is removed from the others. */
static void decide_break(struct round *round)
{
	const struct quorum *quorum = round->quorum;

	if (round->n_ok > 0 && round->n_ok + round->n_gone >= majority(quorum))
		round_answer(round, STORE_OK);
	else if (round->n_gone > spare(quorum))
		round_answer(round, STORE_GONE);
	else if (n_lost(round) > spare(quorum))
		round_fail_if_any(round);
}

static void decide_raise(struct round *round)
{
	if (round->n_ok >= majority(round->quorum))
		round_answer(round, STORE_OK);
	else if (n_lost(round) > spare(round->quorum))
		round_fail_if_any(round);
}

/* Answers the asker if enough is known. */
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
		decide_break(round);
		break;
	case STORE_RAISE:
		decide_raise(round);
		break;
	}
}

static void note_text(struct round *round, const char *text)
{
	if (!*round->text)
		snprintf(round->text, sizeof(round->text), "%s", text);
}

/* Takes down what a member said to the command itself, in time. */
static void count_part(struct round *round, struct part *part)
{
	part->answered = true;
	round->n_answered++;
	switch (part->status) {
	case STORE_OK:
		round->n_ok++;
		round->n_new += part->fence_is_new;
		break;
	case STORE_HELD:
		round->n_held++;
		break;
	case STORE_GONE:
		round->n_gone++;
		break;
	case STORE_REFUSED:
		round->n_refused++;
		break;
	case STORE_UNKNOWN:
		round->n_unknown++;
		break;
	}
}

static void note_answer(struct round *round, struct part *part)
{
	const struct store_op *op = &part->op;

	part->status = op->status;
	part->settled = is_definite(op->status) && op->settled;
	if (is_definite(op->status) && round->fenced) {
		part->fence = op->fence;
		part->fence_is_new = op->fence_is_new;
	}
	if (op->status == STORE_OK && op->broken)
		part->broken = xstrdup(op->broken);
	if (op->status == STORE_HELD) {
		part->pttl_ms = op->pttl_ms;
		part->other = op->other;
		part->holder = op->holder ? xstrdup(op->holder) : NULL;
	}
	claims_note(round, part, round->verb);
	if (part->answered)
		return; /* it was given up */
	count_part(round, part);
	if (!is_definite(op->status)) {
		note_text(round, op->text);
		round->n_lasting += op->status == STORE_REFUSED && op->lasting;
		return;
	}
	round->contenders = max64(round->contenders, op->contenders);
	round->receivers = max64(round->receivers, op->receivers);
}

static void part_done(struct store_op *op)
{
	struct part *part = container_of(op, struct part, op);
	struct round *round = part->round;
	const bool first = part->asked;

	part->busy = part->asked = false;
	round->n_busy--;
	if (first) {
		note_answer(round, part);
		if (round->op && round->phase == ROUND_RAISING)
			raise_part(round, part);
	} else if (op->verb == STORE_RAISE && op->status == STORE_OK) {
		part->fence = max64(part->fence, op->fence_floor);
		part->fence_is_new = false;
	} else {
		claims_note(round, part, op->verb);
	}
	if (round->op)
		decide(round);
	else if (first)
		follow_up(round, part);
	if (!round->op && !round->n_busy)
		round_free(round);
}

/* Members that have not answered yet are given up: what counts is what is known. */
static void round_expire(struct round *round)
{
	const struct quorum *quorum = round->quorum;

	round->over = true;
	for (unsigned i = 0; i < quorum->n; i++) {
		struct part *part = &round->parts[i];
		char text[160];

		if (part->answered)
			continue;
		snprintf(text, sizeof(text), "%.100s: no answer within %lld ms",
			 quorum->members[i]->name, (long long)(round->timeout_us / MS_US));
		note_text(round, text);
		part->status = STORE_UNKNOWN;
		count_part(round, part);
	}
	decide(round);
	assert(!round->op);
	if (!round->n_busy)
		round_free(round);
}

static void round_timer_fired(struct timer *timer)
{
	struct round *round = container_of(timer, struct round, timer);
	struct quorum *quorum = round->quorum;

	if (round->hurried) {
		round_expire(round);
		return;
	}
	round->hurried = true;
	timer_set(&quorum->timers, timer, round->submitted_us + round->timeout_us);
	decide(round);
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

/* Notes which strings the command may set, or end. */
static void claims_begin(struct round *round)
{
	struct quorum *quorum = round->quorum;
	const uint16_t all = (uint16_t)((1u << quorum->n) - 1);

	if (round->verb == STORE_ACQUIRE)
		claim_note_round(round, round->value, 0, false);
	else if (round->verb == STORE_EXTEND)
		claim_note_round(round, round->value, all, false);
	else if (round->verb == STORE_REPLACE || round->verb == STORE_RELEASE)
		claim_note_round(round, round->value, all, true);
	if (round->verb == STORE_REPLACE)
		claim_note_round(round, round->next, 0, false);
}

static int64_t timeout_us(const struct quorum *quorum, const struct store_op *op)
{
	const int64_t all_us = quorum->env.timeout_ms * MS_US, ttl_us = op->ttl_ms * MS_US;

	if (op->verb != STORE_ACQUIRE && op->verb != STORE_REPLACE && op->verb != STORE_EXTEND)
		return all_us;
	return min64(all_us, max64(ttl_us / LEASE_SHARE, min64(ttl_us / 2, SHORT_US)));
}

static void quorum_submit(struct store *store, struct store_op *op)
{
	struct quorum *quorum = quorum_of(store);
	struct round *round = xcalloc(1, sizeof(*round) + quorum->n * sizeof(*round->parts));

	round->quorum = quorum;
	round->number = ++quorum->n_rounds;
	round->op = op;
	round->verb = op->verb;
	/* The asker may be answered, and gone, before the last member is. */
	store_key_init(&round->key, op->key->key);
	strcpy(round->value, op->value);
	strcpy(round->next, op->next);
	round->ttl_ms = op->ttl_ms;
	round->fenced = op->fenced && (op->verb == STORE_ACQUIRE || op->verb == STORE_REPLACE);
	round->announce = op->announce ? xstrdup(op->announce) : NULL;
	round->contenders = round->receivers = -1;
	round->submitted_us = now_us(quorum);
	round->timeout_us = timeout_us(quorum, op);
	timer_init(&round->timer, round_timer_fired);
	op->contested = false;
	op->pttl_ms = -2;
	TAILQ_INSERT_TAIL(&quorum->submitted, round, entry);
	if (quorum->ending)
		return;
	quorum->store.stats.commands++;
	timer_set(&quorum->timers, &round->timer, round->submitted_us + round->timeout_us / 2);
	rearm(quorum);
	claims_begin(round);
	for (unsigned i = 0; i < quorum->n; i++) {
		struct part *part = &round->parts[i];

		part->round = round;
		part->index = i;
		part->pttl_ms = -2;
		part->asked = true;
		part->op = (struct store_op){
			.ttl_ms = op->ttl_ms,
			.fenced = op->fenced,
			.proposed = op->fenced,
			/* Not plain: that does not say who holds it. */
			.want = op->want,
			.fence_floor = op->fence_floor,
			.announce = round->announce,
			.unannounced = op->unannounced,
		};
		strcpy(part->op.value, op->value);
		strcpy(part->op.next, op->next);
		part_submit(round, part, op->verb);
	}
}

static bool quorum_flush(struct store *store)
{
	struct quorum *quorum = quorum_of(store);
	struct store_stats *stats = &quorum->store.stats;
	struct round *round;
	bool any = false;

	while ((round = TAILQ_FIRST(&quorum->submitted))) {
		TAILQ_REMOVE(&quorum->submitted, round, entry);
		TAILQ_INSERT_TAIL(&quorum->rounds, round, entry);
		round->flushed = true;
		if (round->op)
			round->op->written = true; /* from here on nobody shares it */
	}
	stats->connects = stats->disconnects = 0;
	for (unsigned i = 0; i < quorum->n; i++) {
		any |= store_flush(quorum->members[i]);
		stats->connects += quorum->members[i]->stats.connects;
		stats->disconnects += quorum->members[i]->stats.disconnects;
	}
	return any;
}

void quorum_run(struct store *store)
{
	struct quorum *quorum = quorum_of(store);

	quorum->armed_us = CLOCK_NEVER;
	timers_run(&quorum->timers, now_us(quorum));
	rearm(quorum);
}

/* ------------------------------------------------------------------ listening */

/*
 * Ready when a majority is: of any release that makes the mutex free, one of them hears. A member
 * whose ear is interrupted says nothing until it is ready again, so is_ready stays as it is then;
 * what is missed meanwhile is heard by the others.
 */
static void ear_ready(struct store_watch *watch)
{
	struct ear *ear = container_of(watch, struct ear, watch);
	struct channel *channel = ear->channel;

	const bool again = ear->ready;

	ear->ready = true;
	channel->n_ready += !again;
	if (channel->n_ready < majority(channel->quorum) || (channel->watch->is_ready && !again))
		return;
	channel->watch->is_ready = true;
	channel->watch->ready(channel->watch);
}

/*
 * A release is published on every member: it is passed on when a majority has let go, since before
 * that nobody could take it. What single members let go of, after tries that came to nothing, is
 * forgotten after a while.
 */
static void ear_message(struct store_watch *watch, enum store_message message)
{
	struct ear *ear = container_of(watch, struct ear, watch);
	struct channel *channel = ear->channel;
	const struct quorum *quorum = channel->quorum;

	if (message == STORE_MESSAGE_FREE) {
		const int64_t at_us = now_us(quorum);
		unsigned n_heard = 0;

		ear->heard_us = at_us;
		for (unsigned i = 0; i < quorum->n; i++)
			n_heard += channel->ears[i].heard_us != CLOCK_NEVER &&
				   at_us - channel->ears[i].heard_us < HEARD_US;
		if (n_heard < majority(quorum))
			return;
		for (unsigned i = 0; i < quorum->n; i++)
			channel->ears[i].heard_us = CLOCK_NEVER;
	}
	channel->watch->message(channel->watch, message);
}

static void quorum_watch(struct store *store, struct store_watch *watch)
{
	struct quorum *quorum = quorum_of(store);
	struct channel *channel = xcalloc(1, sizeof(*channel) + quorum->n * sizeof(*channel->ears));

	channel->quorum = quorum;
	channel->watch = watch;
	watch->private = channel;
	watch->is_ready = false;
	for (unsigned i = 0; i < quorum->n; i++) {
		struct ear *ear = &channel->ears[i];

		ear->channel = channel;
		ear->heard_us = CLOCK_NEVER;
		ear->watch.key = watch->key;
		ear->watch.ready = ear_ready;
		ear->watch.message = ear_message;
		store_watch(quorum->members[i], &ear->watch);
	}
}

static void quorum_unwatch(struct store *store, struct store_watch *watch)
{
	struct quorum *quorum = quorum_of(store);
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

	if (quorum->ending)
		return;
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

/* Answers all that is open, and what the answers cause to be submitted. */
static void answer_all(struct round_list *rounds)
{
	struct round *round, *next;

	for (round = TAILQ_FIRST(rounds); round; round = next) {
		if (round->op) {
			note_text(round, "the store is being closed");
			round_fail(round, round->op->written ? STORE_UNKNOWN : STORE_REFUSED);
		}
		next = TAILQ_NEXT(round, entry);
		if (!round->n_busy)
			round_free(round);
	}
}

static void quorum_free(struct store *store)
{
	struct quorum *quorum = quorum_of(store);
	struct removal *removal;

	quorum->ending = true;
	answer_all(&quorum->rounds);
	answer_all(&quorum->submitted);
	/* They answer what is still busy. */
	for (unsigned i = 0; i < quorum->n; i++)
		store_free(quorum->members[i]);
	assert(TAILQ_EMPTY(&quorum->rounds) && TAILQ_EMPTY(&quorum->submitted));
	while ((removal = TAILQ_FIRST(&quorum->removals)))
		removal_free(removal);
	while (quorum->claims)
		claim_free(quorum, quorum->claims);
	if (quorum->armed_us != CLOCK_NEVER)
		quorum->env.arm(quorum->env.arg, CLOCK_NEVER);
	if (quorum->env.closed)
		quorum->env.closed(quorum->env.arg);
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

	assert(env->timeout_ms > 0);
	quorum->store.class = &quorum_class;
	quorum->store.listener = listener;
	quorum->store.name = xstrdup(name);
	quorum->member_listener.event = member_event;
	quorum->env = *env;
	quorum->armed_us = CLOCK_NEVER;
	timers_init(&quorum->timers);
	TAILQ_INIT(&quorum->submitted);
	TAILQ_INIT(&quorum->rounds);
	TAILQ_INIT(&quorum->removals);
	return &quorum->store;
}

struct store_listener *quorum_member_listener(struct store *store)
{
	return &quorum_of(store)->member_listener;
}

void quorum_add(struct store *store, struct store *member)
{
	struct quorum *quorum = quorum_of(store);

	assert(quorum->n < QUORUM_MEMBERS_MAX);
	quorum->members[quorum->n++] = member;
}
