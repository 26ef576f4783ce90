/* SPDX-License-Identifier: MIT */
/*
 * What each verb of a store is in Redis.
 *
 * For a key K: the keys K (the lock), {K}:holder (who holds it, if announced), {K}:fence (the
 * counter, with `fence = yes`) and the channel {K}:free; if K has a hash tag of its own, K:holder
 * and so on. K is used as RedMutex uses it: a plain string with an expiry.
 *
 *	at connect	AUTH, SELECT, CLIENT SETNAME, CLIENT ID, CLIENT KILL ID (only of connections
 *			that were lost with commands in flight), INFO, CONFIG GET save, SCRIPT LOAD
 *	all but check	EVALSHA, EVAL; by these:
 *	acquire		GET and SET of K; with fences TIME, GET and SET of {K}:fence; when announced
 *			SET of {K}:holder; if it is taken PTTL of K, PUBLISH to {K}:free
 *	plain acquire	SET of K, without a script
 *	replace		GET and SET of K; with fences TIME, GET and SET of {K}:fence; when announced
 *			SET of {K}:holder; PUBSUB NUMSUB of {K}:free
 *	release		GET and DEL of K, when announced DEL of {K}:holder, PUBLISH to {K}:free
 *	extend		GET and PEXPIRE of K, when announced PEXPIRE of {K}:holder, PUBSUB NUMSUB of
 *			{K}:free
 *	check		GET of K, without a script
 *	look		GET and PTTL of K, GET of {K}:holder, PUBLISH to {K}:free
 *	break		GET of K, DEL of K and {K}:holder, PUBLISH to {K}:free
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
 * and for a cluster +cluster|slots +asking; for the sentinels' own users +auth +subscribe
 * +sentinel|get-master-addr-by-name +sentinel|master &+switch-master &+promoted-slave.
 *
 * CLIENT, INFO, SCRIPT, PUBLISH, PUBSUB and SUBSCRIBE may be refused: locks work without, but what
 * they are for (certainty after lost connections, warnings, shorter commands, quick wake-ups) does
 * not. CONFIG is for nobody whom the rule above names; who has it is warned of a server that makes
 * no snapshots either.
 *
 * The scripts answer an array whose first member is how it went: 0 done, 1 another value stands
 * there, 2 nothing stands there. Those that are called for nearly every lock answer a bare number
 * when they are done, which costs both sides less: acquire the fence, or 0 (negative if there was
 * no counter), release, extend and a replace without fences the number of listeners.
 *
 * Whatever may fail stands before the first write, so that an error means that nothing was changed;
 * the first write is the one to the lock, which a server that is out of memory refuses. The others
 * to follow are of the same kind, and so are not refused then.
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
 * A week less an hour later the server's clock alone gives a larger fence than any that was handed
 * out before: the counter is ahead of the clock only by grants at more than a million a second, or
 * after the clock was set back, and then by less than a week, we trust; and the floor of the
 * daemons that have seen a fence goes on in any case.
 */
enum { FENCE_TTL_MS = 7 * 24 * 3600 * 1000, FENCE_TTL_LEASES = 10 };

/* One line of Lua a line. */
/* clang-format off */

/*
 * Leaves the counter in `last`, or false, what follows it in `least`, and the next fence in `fence`.
 * Lua's numbers are doubles: beyond 2^53 adding one does nothing. KEYS[2]: the counter.
 */
#define LUA_NEXT_FENCE(floor)                                                                      \
	"local now, last = redis.call('TIME'), redis.call('GET', KEYS[2])\n"                       \
	"local fence, least = now[1] * 1000000 + now[2], " floor " + 1\n"                          \
	"if least > fence then fence = least end\n"                                                \
	"least = (tonumber(last) or 0) + 1\n"                                                      \
	"if least > fence then fence = least end\n"                                                \
	"if fence >= 9007199254740992 then\n"                                                      \
	"  return redis.error_reply('FENCE the counter ' .. KEYS[2] .. ' is out of range')\n"      \
	"end\n"

/*
 * With a negative ttl only if there was a counter before. The counter's expiry is put off once an
 * hour, by the clock that it shows: an expiry with each grant takes a server longer than the rest
 * of the SET. %d prints all digits of a fence if the server has 64 bits, and fewer than twelve
 * else; %.0f does so everywhere, in three times the time. (Servers from 7.2 on would write some
 * with an exponent if they were given the number itself.)
 */
#define LUA_SET_FENCE(ttl)                                                                         \
	"local digits = string.format('%d', fence)\n"                                              \
	"if #digits < 12 then digits = string.format('%.0f', fence) end\n"                         \
	"if last and least > fence - fence % 3600000000 then\n"                                    \
	"  redis.call('SET', KEYS[2], digits, 'KEEPTTL')\n"                                        \
	"elseif string.byte(" ttl ") ~= 45 then\n"                                                 \
	"  redis.call('SET', KEYS[2], digits, 'PX', " ttl ")\n"                                    \
	"elseif last then\n"                                                                       \
	"  redis.call('SET', KEYS[2], digits, 'PX', string.sub(" ttl ", 2))\n"                     \
	"end\n"

/* Leaves the number of subscribers in `others`. */
#define LUA_OTHERS(channel)                                                                        \
	"local others = redis.pcall('PUBSUB', 'NUMSUB', " channel ")[2] or -1\n"

/*
 * What is announced bears the mark of the lock that it belongs to: what an earlier lock has left
 * says nothing of a later one, and need not be deleted at every hand-over.
 */
#define LUA_MARK(value) "redis.sha1hex(" value ") .. ' '"

#define LUA_ANNOUNCE(key, value, ttl, text)                                                        \
	"if " key " then\n"                                                                        \
	"  redis.call('SET', " key ", " LUA_MARK(value) " .. " text ", 'PX', " ttl ")\n"           \
	"end\n"

/* Leaves in `got` how many have received it; -1 when an ACL refuses it. */
#define LUA_PUBLISH(channel, message)                                                              \
	"local got = redis.pcall('PUBLISH', " channel ", " message ")\n"                           \
	"if type(got) ~= 'number' then got = -1 end\n"

/* The same, if there is a channel to say it on. */
#define LUA_WANT(channel, message)                                                                 \
	"local got = -1\n"                                                                         \
	"if " channel " then\n"                                                                    \
	"  got = redis.pcall('PUBLISH', " channel ", " message ")\n"                               \
	"  if type(got) ~= 'number' then got = -1 end\n"                                           \
	"end\n"

/* `more`: what to answer beside the usual to who finds it held. */
#define LUA_SET_NX(channel, message, more)                                                         \
	"if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then\n"                   \
	"  local there = redis.call('GET', KEYS[1])\n"                                             \
	"  if there ~= ARGV[1] then\n"                                                             \
	LUA_WANT(channel, message)                                                                 \
	"    return {1, redis.call('PTTL', KEYS[1]), got, string.sub(there, 1, 8)" more "}\n"      \
	"  end\n"                                                                                  \
	"  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])\n"                                   \
	"end\n"

static const char *const scripts[N_SCRIPTS] = {
	/* KEYS: the lock [, holder]. ARGV: value, ttl [, announcement [, channel, message]] */
	[SCRIPT_ACQUIRE] =
		LUA_SET_NX("ARGV[4]", "ARGV[5]", "")
		LUA_ANNOUNCE("KEYS[2]", "ARGV[1]", "ARGV[2]", "ARGV[3]")
		"return 0\n",

	/*
	 * KEYS: the lock, the counter [, holder].
	 * ARGV: value, ttl, floor, the counter's ttl [, announcement [, channel, message]]
	 */
	[SCRIPT_ACQUIRE_FENCED] =
		LUA_NEXT_FENCE("ARGV[3]")
		LUA_SET_NX("ARGV[6]", "ARGV[7]", ", fence, last and 0 or 1")
		LUA_SET_FENCE("ARGV[4]")
		LUA_ANNOUNCE("KEYS[3]", "ARGV[1]", "ARGV[2]", "ARGV[5]")
		"return last and fence or -fence\n",

	/* KEYS: the lock [, holder]. ARGV: value, next, ttl, channel [, announcement] */
	[SCRIPT_REPLACE] =
		"local there = redis.call('GET', KEYS[1])\n"
		"if not there then return {2} end\n"
		"if there ~= ARGV[1] and there ~= ARGV[2] then return {1} end\n"
		"redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])\n"
		LUA_ANNOUNCE("KEYS[2]", "ARGV[2]", "ARGV[3]", "ARGV[5]")
		LUA_OTHERS("ARGV[4]")
		"return others\n",

	/*
	 * KEYS: the lock, the counter [, holder].
	 * ARGV: value, next, ttl, channel, floor, the counter's ttl [, announcement]
	 */
	[SCRIPT_REPLACE_FENCED] =
		LUA_NEXT_FENCE("ARGV[5]")
		"local new = last and 0 or 1\n"
		"local there = redis.call('GET', KEYS[1])\n"
		"if not there then return {2, fence, -1, new} end\n"
		"if there ~= ARGV[1] and there ~= ARGV[2] then return {1, fence, -1, new} end\n"
		"redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])\n"
		LUA_SET_FENCE("ARGV[6]")
		LUA_ANNOUNCE("KEYS[3]", "ARGV[2]", "ARGV[3]", "ARGV[7]")
		LUA_OTHERS("ARGV[4]")
		"return {0, fence, others, new}\n",

	/* KEYS: the lock [, holder]. ARGV: value, channel, message */
	[SCRIPT_RELEASE] =
		"local there = redis.call('GET', KEYS[1])\n"
		"if there ~= ARGV[1] then return {there and 1 or 2} end\n"
		"redis.call('DEL', KEYS[1])\n"
		"if KEYS[2] then redis.pcall('DEL', KEYS[2]) end\n"
		LUA_PUBLISH("ARGV[2]", "ARGV[3]")
		"return got\n",

	/* KEYS: the lock [, holder]. ARGV: value, ttl, channel */
	[SCRIPT_EXTEND] =
		"local there = redis.call('GET', KEYS[1])\n"
		"if there ~= ARGV[1] then return {there and 1 or 2} end\n"
		"redis.call('PEXPIRE', KEYS[1], ARGV[2])\n"
		"if KEYS[2] then redis.pcall('PEXPIRE', KEYS[2], ARGV[2]) end\n"
		LUA_OTHERS("ARGV[3]")
		"return others\n",

	/* KEYS: the lock, holder. ARGV: [channel, message] */
	[SCRIPT_LOOK] =
		"local there = redis.call('GET', KEYS[1])\n"
		"if not there then return {2} end\n"
		"local mark = " LUA_MARK("there") "\n"
		"local text = redis.pcall('GET', KEYS[2])\n"
		"if type(text) ~= 'string' or string.sub(text, 1, #mark) ~= mark then text = mark end\n"
		LUA_WANT("ARGV[1]", "ARGV[2]")
		"return {1, redis.call('PTTL', KEYS[1]), got, string.sub(text, #mark + 1)}\n",

	/* KEYS: the lock, holder. ARGV: channel, message */
	[SCRIPT_BREAK] =
		"local there = redis.pcall('GET', KEYS[1])\n"
		"if redis.call('DEL', KEYS[1]) == 0 then return {2} end\n"
		"redis.pcall('DEL', KEYS[2])\n"
		LUA_PUBLISH("ARGV[1]", "ARGV[2]")
		"return {0, type(there) == 'string' and there or ''}\n",

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

/* A script, and the keys that it is called with. */
struct script_call {
	enum script_id id;
	size_t n_keys;
	const char *keys[3];
};

static struct script_call script_call(enum script_id id, const char *key)
{
	return (struct script_call){.id = id, .n_keys = 1, .keys = {key}};
}

static void script_call_add_key(struct script_call *call, const char *key)
{
	call->keys[call->n_keys++] = key;
}

/* Calls a script with one key; the companions are arguments, which it is told to take for keys. */
static void script_write_alone(struct resp *out, const struct script_call *call, size_t n_args)
{
	static const char take[] = ", table.remove(ARGV, 1)";
	const size_t n_more = call->n_keys - 1;
	char *text = xasprintf("local KEYS = {KEYS[1]%s%s}\n%s", n_more > 0 ? take : "",
			       n_more > 1 ? take : "", scripts[call->id]);

	resp_command(out, 3 + call->n_keys + n_args);
	resp_text(out, "EVAL");
	resp_text(out, text);
	resp_integer(out, 1);
	for (size_t i = 0; i < call->n_keys; i++)
		resp_text(out, call->keys[i]);
	free(text);
}

/* EVALSHA or EVAL; n_args more words follow. */
static void script_write_call(struct resp *out, const struct script_call *call,
			      const struct script_names *names, enum script_form form,
			      size_t n_args)
{
	const char *sha = names->sha[call->id];

	if (form == SCRIPT_ALONE) {
		script_write_alone(out, call, n_args);
		return;
	}
	resp_command(out, 3 + call->n_keys + n_args);
	if (form == SCRIPT_SHORT && *sha) {
		resp_text(out, "EVALSHA");
		resp_bytes(out, sha, SCRIPT_SHA_LEN);
	} else {
		resp_text(out, "EVAL");
		resp_text(out, scripts[call->id]);
	}
	resp_integer(out, (int64_t)call->n_keys);
	for (size_t i = 0; i < call->n_keys; i++)
		resp_text(out, call->keys[i]);
}

static int64_t script_fence_ttl_ms(const struct store_op *op)
{
	int64_t leases_ms = op->ttl_ms * FENCE_TTL_LEASES;

	return leases_ms > FENCE_TTL_MS ? leases_ms : FENCE_TTL_MS;
}

static void script_write_fence(struct resp *out, const struct store_op *op)
{
	if (!op->fenced)
		return;
	resp_integer(out, op->fence_floor);
	resp_integer(out, op->proposed ? -script_fence_ttl_ms(op) : script_fence_ttl_ms(op));
}

/* Two words: a channel, and what to say on it. */
static void script_write_message(struct resp *out, const struct store_op *op, const char *word,
				 const char *daemon_id)
{
	char message[64];
	size_t word_len = strlen(word), id_len = strlen(daemon_id);

	assert(word_len + 1 + id_len <= sizeof(message));
	memcpy(message, word, word_len);
	message[word_len] = ' ';
	memcpy(message + word_len + 1, daemon_id, id_len);
	resp_text(out, op->key->channel);
	resp_bytes(out, message, word_len + 1 + id_len);
}

/* The bare SET NX PX. */
static void script_write_plain(struct resp *out, const struct store_op *op)
{
	resp_command(out, 6);
	resp_text(out, "SET");
	resp_text(out, op->key->key);
	resp_text(out, op->value);
	resp_text(out, "NX");
	resp_text(out, "PX");
	resp_integer(out, op->ttl_ms);
}

static void script_write_acquire(struct resp *out, const struct store_op *op,
				 const struct script_names *names, const char *daemon_id,
				 enum script_form form)
{
	struct script_call call =
		script_call(op->fenced ? SCRIPT_ACQUIRE_FENCED : SCRIPT_ACQUIRE, op->key->key);
	size_t n_more = op->want ? 3 : op->announce ? 1 : 0;

	if (op->fenced)
		script_call_add_key(&call, op->key->fence);
	if (op->announce)
		script_call_add_key(&call, op->key->holder);
	script_write_call(out, &call, names, form, 2 + (op->fenced ? 2 : 0) + n_more);
	resp_text(out, op->value);
	resp_integer(out, op->ttl_ms);
	script_write_fence(out, op);
	if (n_more > 0)
		resp_text(out, op->announce ? op->announce : "");
	if (op->want)
		script_write_message(out, op, "want", daemon_id);
}

static void script_write_replace(struct resp *out, const struct store_op *op,
				 const struct script_names *names, enum script_form form)
{
	struct script_call call =
		script_call(op->fenced ? SCRIPT_REPLACE_FENCED : SCRIPT_REPLACE, op->key->key);

	if (op->fenced)
		script_call_add_key(&call, op->key->fence);
	if (op->announce)
		script_call_add_key(&call, op->key->holder);
	script_write_call(out, &call, names, form,
			  4 + (op->fenced ? 2 : 0) + (op->announce ? 1 : 0));
	resp_text(out, op->value);
	resp_text(out, op->next);
	resp_integer(out, op->ttl_ms);
	resp_text(out, op->key->channel);
	script_write_fence(out, op);
	if (op->announce)
		resp_text(out, op->announce);
}

void script_write(struct resp *out, const struct store_op *op, const struct script_names *names,
		  const char *daemon_id, enum script_form form)
{
	const struct store_key *key = op->key;
	struct script_call call;

	switch (op->verb) {
	case STORE_ACQUIRE:
		if (op->plain)
			script_write_plain(out, op);
		else
			script_write_acquire(out, op, names, daemon_id, form);
		break;
	case STORE_REPLACE:
		script_write_replace(out, op, names, form);
		break;
	case STORE_RELEASE:
		call = script_call(SCRIPT_RELEASE, key->key);
		if (!op->unannounced)
			script_call_add_key(&call, key->holder);
		script_write_call(out, &call, names, form, 3);
		resp_text(out, op->value);
		script_write_message(out, op, op->want ? "free,want" : "free", daemon_id);
		break;
	case STORE_EXTEND:
		call = script_call(SCRIPT_EXTEND, key->key);
		if (!op->unannounced)
			script_call_add_key(&call, key->holder);
		script_write_call(out, &call, names, form, 3);
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
		call = script_call(SCRIPT_LOOK, key->key);
		script_call_add_key(&call, key->holder);
		script_write_call(out, &call, names, form, op->want ? 2 : 0);
		if (op->want)
			script_write_message(out, op, "want", daemon_id);
		break;
	case STORE_BREAK:
		call = script_call(SCRIPT_BREAK, key->key);
		script_call_add_key(&call, key->holder);
		script_write_call(out, &call, names, form, 2);
		script_write_message(out, op, "free", daemon_id);
		break;
	case STORE_RAISE:
		call = script_call(SCRIPT_RAISE, key->fence);
		script_write_call(out, &call, names, form, 2);
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
	struct store_op release = {
		.verb = STORE_RELEASE,
		.key = op->key,
		.unannounced = !op->announce,
	};

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
	case STORE_REPLACE:
		op->contenders = number;
		return number >= -1 && !op->fenced;
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
		if (reply->elements > 1 && reply->element[1]->type == REDIS_REPLY_STRING &&
		    reply->element[1]->len > 0)
			op->broken = reply->element[1]->str;
		return true;
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
