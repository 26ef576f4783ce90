/* SPDX-License-Identifier: MIT */
/*
 * What each verb of a store is in Redis.
 *
 * For a key K: the keys K (the lock), {K}:holder (who holds it, if announced), {K}:fence (the
 * counter, with `fence = yes`) and the channel {K}:free; if K has a hash tag of its own, K:holder
 * and so on. K is used as RedMutex uses it: a plain string with an expiry.
 *
 *	at connect	AUTH, SELECT, CLIENT SETNAME, CLIENT ID, CLIENT KILL ID (only of connections
 *			that were lost with commands in flight), INFO, SCRIPT LOAD
 *	all but check	EVALSHA, EVAL; by these:
 *	acquire		GET and SET of K; with fences TIME, GET and SET of {K}:fence; when announced
 *			SET of {K}:holder; if it is taken PTTL of K, PUBLISH to {K}:free
 *	plain acquire	SET of K, without a script
 *	replace		GET and SET of K; with fences TIME, GET and SET of {K}:fence; when announced
 *			SET of {K}:holder; PUBSUB NUMSUB of {K}:free
 *	release		GET of K, DEL of K and {K}:holder, PUBLISH to {K}:free
 *	extend		GET and PEXPIRE of K, PEXPIRE of {K}:holder, PUBSUB NUMSUB of {K}:free
 *	check		GET of K, without a script
 *	look		GET and PTTL of K, GET of {K}:holder, PUBLISH to {K}:free
 *	break		DEL of K and {K}:holder, PUBLISH to {K}:free
 *	raise		GET and SET of {K}:fence (for majorities of servers only)
 *	in a cluster	CLUSTER SLOTS, ASKING
 *	wait_replicas	WAIT, behind acquire, replace and extend
 *	messages	SUBSCRIBE, UNSUBSCRIBE and PING on a connection of their own, {K}:free
 *
 * As an ACL rule for keys and channels that begin with "orders:":
 *
 *	~orders:* ~{orders:*}:* &{orders:*}:* +auth +select +client|setname +client|id +client|kill
 *	+info +script|load +evalsha +eval +get +set +del +pttl +pexpire +time +wait +publish
 *	+pubsub|numsub +subscribe +unsubscribe +ping
 *
 * and for a cluster +cluster|slots +asking.
 *
 * CLIENT, INFO, SCRIPT, PUBLISH, PUBSUB and SUBSCRIBE may be refused: locks work without, but what
 * they are for (certainty after lost connections, warnings, shorter commands, quick wake-ups) does
 * not.
 *
 * The scripts answer an array whose first member is how it went: 0 done, 1 another value stands
 * there, 2 nothing stands there. Those that are called for nearly every lock answer a bare number
 * when they are done, which costs both sides less: acquire the fence, or 0 (negative if there was
 * no counter), release and extend the number of listeners. Whatever may fail stands before the
 * first write, so that an error means that nothing was changed; the first write is the one to the
 * lock, which a server that is out of memory refuses. The others to follow are of the same kind,
 * and so are not refused then.
 */
#include "config.h"

#include "store/script.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"

enum script_outcome { SCRIPT_DONE, SCRIPT_HELD, SCRIPT_GONE };

/*
 * A counter that is not used expires, so that families of mutexes do not fill a server for ever.
 * After a week the server's clock alone gives a larger fence than any that was handed out before:
 * the counter is ahead of the clock only by grants at more than a million a second, or after the
 * clock was set back, and then by less than a week, we trust; and the floor of the daemons that
 * have seen a fence goes on in any case.
 */
enum { FENCE_TTL_MS = 7 * 24 * 3600 * 1000, FENCE_TTL_LEASES = 10 };

/* One line of Lua a line. */
/* clang-format off */

/*
 * Leaves the next fence in `fence`, and in `new` whether there was no counter. Lua's numbers are
 * doubles: beyond 2^53 adding one does nothing, and %.0f is what prints all digits of one. (Servers
 * from 7.2 on would write some of them with an exponent if they were given the number itself.)
 * KEYS[3]: the counter.
 */
#define LUA_NEXT_FENCE(floor)                                                                      \
	"local fence, new = 0, 0\n"                                                                \
	"if " floor " ~= '' then\n"                                                                \
	"  local now = redis.call('TIME')\n"                                                       \
	"  local last = redis.call('GET', KEYS[3])\n"                                              \
	"  if not last then last, new = 0, 1 end\n"                                                \
	"  last = tonumber(last) or 0\n"                                                           \
	"  fence = math.max(last + 1, now[1] * 1000000 + now[2], " floor " + 1)\n"                 \
	"  if fence >= 9007199254740992 then\n"                                                    \
	"    return redis.error_reply('FENCE the counter ' .. KEYS[3] .. ' is out of range')\n"    \
	"  end\n"                                                                                  \
	"end\n"

/* With a negative ttl only if there was a counter before. */
#define LUA_SET_FENCE(ttl)                                                                         \
	"if fence ~= 0 and string.byte(" ttl ") ~= 45 then\n"                                      \
	"  redis.call('SET', KEYS[3], string.format('%.0f', fence), 'PX', " ttl ")\n"               \
	"elseif fence ~= 0 and new == 0 then\n"                                                    \
	"  redis.call('SET', KEYS[3], string.format('%.0f', fence), 'PX', string.sub(" ttl ", 2))\n" \
	"end\n"

/* Says something, and leaves the number of receivers in `got`. An ACL may refuse it. */
#define LUA_PUBLISH(channel, word, id)                                                             \
	"local got = redis.pcall('PUBLISH', " channel ", '" word " ' .. " id ")\n"                 \
	"if type(got) ~= 'number' then got = -1 end\n"

/* The same, if it is to be said. */
#define LUA_WANT(channel, id)                                                                      \
	"local got = -1\n"                                                                         \
	"if " channel " ~= '' then\n"                                                              \
	"  got = redis.pcall('PUBLISH', " channel ", 'want ' .. " id ")\n"                         \
	"  if type(got) ~= 'number' then got = -1 end\n"                                           \
	"end\n"

/* Leaves the number of subscribers in `others`. */
#define LUA_OTHERS(channel)                                                                        \
	"local others = redis.pcall('PUBSUB', 'NUMSUB', " channel ")[2] or -1\n"

/*
 * What is announced bears the mark of the lock that it belongs to: what an earlier lock has left
 * says nothing of a later one, and need not be deleted at every hand-over.
 */
#define LUA_MARK(value) "redis.sha1hex(" value ") .. ' '"

static const char *const scripts[N_SCRIPTS] = {
	/* ARGV: value, ttl, floor or '', the counter's ttl, announcement or '', channel or '', id */
	[SCRIPT_ACQUIRE] =
		LUA_NEXT_FENCE("ARGV[3]")
		"if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then\n"
		"  local there = redis.call('GET', KEYS[1])\n"
		"  if there ~= ARGV[1] then\n"
		LUA_WANT("ARGV[6]", "ARGV[7]")
		"    return {1, redis.call('PTTL', KEYS[1]), got, string.sub(there, 1, 8), fence, new}\n"
		"  end\n"
		"  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])\n"
		"end\n"
		LUA_SET_FENCE("ARGV[4]")
		"if ARGV[5] ~= '' then\n"
		"  redis.call('SET', KEYS[2], " LUA_MARK("ARGV[1]") " .. ARGV[5], 'PX', ARGV[2])\n"
		"end\n"
		"return new == 1 and -fence or fence\n",

	/* ARGV: value, next, ttl, floor or '', the counter's ttl, announcement or '', channel */
	[SCRIPT_REPLACE] =
		LUA_NEXT_FENCE("ARGV[4]")
		"local there = redis.call('GET', KEYS[1])\n"
		"if not there then return {2, fence, -1, new} end\n"
		"if there ~= ARGV[1] and there ~= ARGV[2] then return {1, fence, -1, new} end\n"
		"redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])\n"
		LUA_SET_FENCE("ARGV[5]")
		"if ARGV[6] ~= '' then\n"
		"  redis.call('SET', KEYS[2], " LUA_MARK("ARGV[2]") " .. ARGV[6], 'PX', ARGV[3])\n"
		"end\n"
		LUA_OTHERS("ARGV[7]")
		"return {0, fence, others, new}\n",

	/* ARGV: value, channel, id */
	[SCRIPT_RELEASE] =
		"local there = redis.call('GET', KEYS[1])\n"
		"if not there then return {2} end\n"
		"if there ~= ARGV[1] then return {1} end\n"
		"if type(redis.pcall('DEL', KEYS[1], KEYS[2])) ~= 'number' then\n"
		"  redis.call('DEL', KEYS[1])\n"
		"end\n"
		LUA_PUBLISH("ARGV[2]", "free", "ARGV[3]")
		"return got\n",

	/* ARGV: value, ttl, channel */
	[SCRIPT_EXTEND] =
		"local there = redis.call('GET', KEYS[1])\n"
		"if not there then return {2} end\n"
		"if there ~= ARGV[1] then return {1} end\n"
		"redis.call('PEXPIRE', KEYS[1], ARGV[2])\n"
		"redis.pcall('PEXPIRE', KEYS[2], ARGV[2])\n"
		LUA_OTHERS("ARGV[3]")
		"return others\n",

	/* ARGV: channel or '', id */
	[SCRIPT_LOOK] =
		"local there = redis.call('GET', KEYS[1])\n"
		"if not there then return {2} end\n"
		"local mark = " LUA_MARK("there") "\n"
		"local text = redis.pcall('GET', KEYS[2])\n"
		"if type(text) ~= 'string' or string.sub(text, 1, #mark) ~= mark then text = mark end\n"
		LUA_WANT("ARGV[1]", "ARGV[2]")
		"return {1, redis.call('PTTL', KEYS[1]), got, string.sub(text, #mark + 1)}\n",

	/* ARGV: channel, id */
	[SCRIPT_BREAK] =
		"if redis.call('DEL', KEYS[1]) == 0 then return {2} end\n"
		"redis.pcall('DEL', KEYS[2])\n"
		LUA_PUBLISH("ARGV[1]", "free", "ARGV[2]")
		"return {0}\n",

	/* KEYS: the counter alone. ARGV: floor, the counter's ttl */
	[SCRIPT_RAISE] =
		"local last = tonumber(redis.call('GET', KEYS[1]) or 0) or 0\n"
		"if last < tonumber(ARGV[1]) then\n"
		"  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])\n"
		"end\n"
		"return {0}\n",
};
/* clang-format on */

void script_write_load(struct resp *out, enum script_id id)
{
	resp_command(out, 3);
	resp_text(out, "SCRIPT");
	resp_text(out, "LOAD");
	resp_text(out, scripts[id]);
}

/* Gives a script that was called with one key the companions too, which are arguments then. */
static const char alone_prelude[] =
	"local KEYS = {KEYS[1], table.remove(ARGV, 1), table.remove(ARGV, 1)}\n";

static void script_write_alone(struct resp *out, const struct store_op *op, enum script_id id,
			       size_t n_args)
{
	char *text = xasprintf("%s%s", alone_prelude, scripts[id]);

	resp_command(out, 6 + n_args);
	resp_text(out, "EVAL");
	resp_text(out, text);
	resp_integer(out, 1);
	resp_text(out, op->key->key);
	resp_text(out, op->key->holder);
	resp_text(out, op->key->fence);
	free(text);
}

/* EVALSHA or EVAL with the lock's keys; n_args more words follow. */
static void script_write_call(struct resp *out, const struct store_op *op, enum script_id id,
			      const struct script_names *names, enum script_form form,
			      size_t n_keys, size_t n_args)
{
	bool whole = form != SCRIPT_SHORT || !*names->sha[id];

	if (form == SCRIPT_ALONE && id != SCRIPT_RAISE) {
		script_write_alone(out, op, id, n_args);
		return;
	}
	resp_command(out, 3 + n_keys + n_args);
	resp_text(out, whole ? "EVAL" : "EVALSHA");
	if (whole)
		resp_text(out, scripts[id]);
	else
		resp_bytes(out, names->sha[id], SCRIPT_SHA_LEN);
	resp_integer(out, (int64_t)n_keys);
	if (id == SCRIPT_RAISE) {
		resp_text(out, op->key->fence);
		return;
	}
	resp_text(out, op->key->key);
	resp_text(out, op->key->holder);
	if (n_keys > 2)
		resp_text(out, op->key->fence);
}

static int64_t script_fence_ttl_ms(const struct store_op *op)
{
	int64_t leases_ms = op->ttl_ms * FENCE_TTL_LEASES;

	return leases_ms > FENCE_TTL_MS ? leases_ms : FENCE_TTL_MS;
}

/* The last arguments of acquire and replace but one or two. */
static void script_write_grant(struct resp *out, const struct store_op *op)
{
	resp_integer(out, op->ttl_ms);
	if (op->fenced)
		resp_integer(out, op->fence_floor);
	else
		resp_text(out, "");
	resp_integer(out, op->proposed ? -script_fence_ttl_ms(op) : script_fence_ttl_ms(op));
	resp_text(out, op->announce ? op->announce : "");
}

void script_write(struct resp *out, const struct store_op *op, const struct script_names *names,
		  const char *daemon_id, enum script_form form)
{
	const struct store_key *key = op->key;
	size_t n_keys = op->fenced ? 3 : 2;

	switch (op->verb) {
	case STORE_ACQUIRE:
		if (op->plain) {
			resp_command(out, 6);
			resp_text(out, "SET");
			resp_text(out, key->key);
			resp_text(out, op->value);
			resp_text(out, "NX");
			resp_text(out, "PX");
			resp_integer(out, op->ttl_ms);
			break;
		}
		script_write_call(out, op, SCRIPT_ACQUIRE, names, form, n_keys, 7);
		resp_text(out, op->value);
		script_write_grant(out, op);
		resp_text(out, op->want ? key->channel : "");
		resp_text(out, daemon_id);
		break;
	case STORE_REPLACE:
		script_write_call(out, op, SCRIPT_REPLACE, names, form, n_keys, 7);
		resp_text(out, op->value);
		resp_text(out, op->next);
		script_write_grant(out, op);
		resp_text(out, key->channel);
		break;
	case STORE_RELEASE:
		script_write_call(out, op, SCRIPT_RELEASE, names, form, 2, 3);
		resp_text(out, op->value);
		resp_text(out, key->channel);
		resp_text(out, daemon_id);
		break;
	case STORE_EXTEND:
		script_write_call(out, op, SCRIPT_EXTEND, names, form, 2, 3);
		resp_text(out, op->value);
		resp_integer(out, op->ttl_ms);
		resp_text(out, key->channel);
		break;
	case STORE_CHECK:
		resp_command(out, 2);
		resp_text(out, "GET");
		resp_text(out, key->key);
		break;
	case STORE_LOOK:
		script_write_call(out, op, SCRIPT_LOOK, names, form, 2, 2);
		resp_text(out, op->want ? key->channel : "");
		resp_text(out, daemon_id);
		break;
	case STORE_BREAK:
		script_write_call(out, op, SCRIPT_BREAK, names, form, 2, 2);
		resp_text(out, key->channel);
		resp_text(out, daemon_id);
		break;
	case STORE_RAISE:
		script_write_call(out, op, SCRIPT_RAISE, names, form, 1, 2);
		resp_integer(out, op->fence_floor);
		resp_integer(out, FENCE_TTL_MS);
		break;
	}
}

bool script_needs_replicas(const struct store_op *op)
{
	return op->verb == STORE_ACQUIRE || op->verb == STORE_REPLACE || op->verb == STORE_EXTEND;
}

void script_write_wait(struct resp *out, unsigned n_replicas, int64_t timeout_ms)
{
	resp_command(out, 3);
	resp_text(out, "WAIT");
	resp_integer(out, n_replicas);
	resp_integer(out, timeout_ms > 0 ? timeout_ms : 1); /* 0 is for ever */
}

void script_write_take_back(struct resp *out, const struct store_op *op,
			    const struct script_names *names, const char *daemon_id,
			    enum script_form form)
{
	struct store_op release = {.verb = STORE_RELEASE, .key = op->key};

	strcpy(release.value, op->verb == STORE_REPLACE ? op->next : op->value);
	script_write(out, &release, names, daemon_id, form);
}

/* ------------------------------------------------------------------ replies */

/* Return: whether member i is there and an integer, or a string of digits. */
static bool reply_integer(const redisReply *reply, size_t i, int64_t *integer)
{
	const redisReply *member;
	char *end;

	if (i >= reply->elements)
		return false;
	member = reply->element[i];
	if (member->type == REDIS_REPLY_INTEGER) {
		*integer = member->integer;
		return true;
	}
	if (member->type != REDIS_REPLY_STRING || member->len == 0)
		return false;
	*integer = strtoll(member->str, &end, 10);
	return *end == '\0';
}

/* SET NX of a plain acquire: a status, or nil when another lock stands there. */
static bool script_read_plain(struct store_op *op, const redisReply *reply)
{
	op->status = reply->type == REDIS_REPLY_NIL ? STORE_HELD : STORE_OK;
	return reply->type == REDIS_REPLY_NIL || reply->type == REDIS_REPLY_STATUS;
}

/* The GET of a check. */
static bool script_read_check(struct store_op *op, const redisReply *reply)
{
	if (reply->type == REDIS_REPLY_NIL)
		op->status = STORE_GONE;
	else if ((size_t)reply->len == strlen(op->value) &&
		 memcmp(reply->str, op->value, (size_t)reply->len) == 0)
		op->status = STORE_OK;
	else
		op->status = STORE_HELD;
	return reply->type == REDIS_REPLY_NIL || reply->type == REDIS_REPLY_STRING;
}

static bool script_read_held(struct store_op *op, const redisReply *reply)
{
	if (op->verb != STORE_ACQUIRE && op->verb != STORE_LOOK)
		return true;
	if (!reply_integer(reply, 1, &op->pttl_ms) || !reply_integer(reply, 2, &op->receivers))
		return false;
	if (reply->elements <= 3 || reply->element[3]->type != REDIS_REPLY_STRING)
		return true;
	if (op->verb == STORE_ACQUIRE)
		op->other = store_other(reply->element[3]->str);
	else if (reply->element[3]->len > 0)
		op->holder = reply->element[3]->str;
	return true;
}

static bool script_read_fence(struct store_op *op, const redisReply *reply)
{
	const size_t at = op->verb == STORE_ACQUIRE && op->status == STORE_HELD ? 4 : 1;
	const size_t new_at = at == 4 ? 5 : 3;
	int64_t is_new;

	if (!op->fenced || (op->verb != STORE_ACQUIRE && op->verb != STORE_REPLACE))
		return true;
	if (!reply_integer(reply, at, &op->fence) || op->fence < 1 ||
	    !reply_integer(reply, new_at, &is_new))
		return false;
	op->fence_is_new = is_new != 0;
	return true;
}

/* The bare number of those that are called most, when they are done. */
static bool script_read_number(struct store_op *op, int64_t number)
{
	op->status = STORE_OK;
	switch (op->verb) {
	case STORE_ACQUIRE:
		op->fence_is_new = number < 0;
		op->fence = number < 0 ? -number : number;
		return op->fenced == (number != 0);
	case STORE_RELEASE:
	case STORE_EXTEND:
		op->contenders = number;
		return number >= -1;
	default:
		return false;
	}
}

static bool script_read_done(struct store_op *op, const redisReply *reply)
{
	switch (op->verb) {
	case STORE_REPLACE:
		return reply_integer(reply, 2, &op->contenders);
	case STORE_BREAK:
	case STORE_RAISE:
		return true;
	default:
		return false;
	}
}

bool script_read(struct store_op *op, const redisReply *reply)
{
	int64_t outcome;

	op->fence = 0;
	op->fence_is_new = false;
	op->contested = false;
	op->other = 0;
	op->pttl_ms = -2;
	op->contenders = -1;
	op->receivers = -1;
	op->holder = NULL;
	if (op->verb == STORE_ACQUIRE && op->plain)
		return script_read_plain(op, reply);
	if (op->verb == STORE_CHECK)
		return script_read_check(op, reply);
	if (reply->type == REDIS_REPLY_INTEGER)
		return script_read_number(op, reply->integer);
	if (reply->type != REDIS_REPLY_ARRAY || !reply_integer(reply, 0, &outcome))
		return false;
	switch (outcome) {
	case SCRIPT_DONE:
		op->status = STORE_OK;
		return script_read_fence(op, reply) && script_read_done(op, reply);
	case SCRIPT_HELD:
		op->status = STORE_HELD;
		return script_read_fence(op, reply) && script_read_held(op, reply);
	case SCRIPT_GONE:
		op->status = STORE_GONE;
		return script_read_fence(op, reply);
	default:
		return false;
	}
}
