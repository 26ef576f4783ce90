/* SPDX-License-Identifier: MIT */
/*
 * The same load without the daemon: each client a thread with a blocking connection to Redis of its
 * own, as the usual lock libraries do it: SET NX PX, and a script that compares and deletes. With
 * fences the SET is in a script that counts too. Who waits for a lock asks again each millisecond.
 */
#include "config.h"

#include "bench/bench.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static const char acquire_script[] =
	"if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then"
	" return redis.call('INCR', KEYS[2]) end "
	"return 0";
static const char release_script[] = "if redis.call('GET', KEYS[1]) == ARGV[1] then"
				     " return redis.call('DEL', KEYS[1]) end "
				     "return 0";
static const char ttl_ms[] = "3600000";
enum { POLL_US = 1000 };

struct client {
	redisContext *redis;
	const struct bench_options *options;
	char key[160], fence_key[176];
	char lock[45];
	uint64_t seed, n; /* of lock strings */
	char acquire_sha[41], release_sha[41];
};

/* Unlike any other, at next to no cost: what a library spends on randomness is not measured. */
static void lock_make(struct client *client)
{
	snprintf(client->lock, sizeof(client->lock), "%016llx%028llx",
		 (unsigned long long)client->seed, (unsigned long long)client->n++);
}

static redisReply *reply_get(struct client *client)
{
	void *reply = NULL;

	if (redisGetReply(client->redis, &reply) != REDIS_OK)
		bench_die("Redis: %s", client->redis->errstr);
	if (((redisReply *)reply)->type == REDIS_REPLY_ERROR)
		bench_die("Redis: %s", ((redisReply *)reply)->str);
	return reply;
}

static void script_load(struct client *client, const char *script, char sha[41])
{
	redisReply *reply;

	redisAppendCommand(client->redis, "SCRIPT LOAD %s", script);
	reply = reply_get(client);
	snprintf(sha, 41, "%s", reply->str);
	freeReplyObject(reply);
}

static void client_open(struct client *client, const struct bench_options *options, unsigned id)
{
	client->options = options;
	client->redis = redisConnectUnix(options->socket);
	if (!client->redis || client->redis->err)
		bench_die("cannot connect to %s: %s", options->socket,
			  client->redis ? client->redis->errstr : "out of memory");
	snprintf(client->key, sizeof(client->key), "%s-%u", options->prefix, options->one ? 0 : id);
	snprintf(client->fence_key, sizeof(client->fence_key), "{%s}:fence", client->key);
	if (getrandom(&client->seed, sizeof(client->seed), 0) != sizeof(client->seed))
		bench_die("no random numbers");
	script_load(client, acquire_script, client->acquire_sha);
	script_load(client, release_script, client->release_sha);
}

static void acquire_append(struct client *client)
{
	lock_make(client);
	if (client->options->fence) {
		const char *argv[] = {"EVALSHA",	 client->acquire_sha, "2",   client->key,
				      client->fence_key, client->lock,	      ttl_ms};

		redisAppendCommandArgv(client->redis, 7, argv, NULL);
	} else {
		const char *argv[] = {"SET", client->key, client->lock, "NX", "PX", ttl_ms};

		redisAppendCommandArgv(client->redis, 6, argv, NULL);
	}
}

static bool acquire_worked(struct client *client)
{
	redisReply *reply = reply_get(client);
	bool worked =
		client->options->fence ? reply->integer > 0 : reply->type == REDIS_REPLY_STATUS;

	freeReplyObject(reply);
	return worked;
}

static void acquire_finish(struct client *client)
{
	while (!acquire_worked(client)) {
		if (!client->options->one)
			bench_die("%s is locked by somebody else", client->key);
		usleep(POLL_US);
		acquire_append(client);
	}
}

static void release_append(struct client *client)
{
	const char *argv[] = {"EVALSHA", client->release_sha, "1", client->key, client->lock};

	redisAppendCommandArgv(client->redis, 5, argv, NULL);
}

static void release_finish(struct client *client)
{
	redisReply *reply = reply_get(client);

	if (reply->integer != 1)
		bench_die("%s was not locked any more", client->key);
	freeReplyObject(reply);
}

/* A client a thread, whatever -T says: a blocking connection cannot be shared. */
static void run(struct bench_thread *thread)
{
	struct client client = {0};
	uint64_t begin;

	if (thread->n != 1)
		bench_die("bench_direct has a thread for each client: no -T");
	client_open(&client, thread->options, thread->first);
	bench_go();
	begin = bench_now_ns();
	acquire_append(&client);
	acquire_finish(&client);
	for (;;) {
		bool more, ahead;

		/* The lock is held. */
		more = bench_goes_on();
		ahead = more && client.options->ahead;
		release_append(&client);
		if (ahead)
			acquire_append(&client);
		release_finish(&client);
		bench_count(thread, begin);
		if (!more)
			break;
		begin = bench_now_ns();
		if (!ahead)
			acquire_append(&client);
		acquire_finish(&client);
	}
	redisFree(client.redis);
}

int main(int argc, char **argv)
{
	return bench_main(argc, argv, run);
}
