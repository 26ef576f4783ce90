/* SPDX-License-Identifier: MIT */
/*
 * Any bytes at all, read as what a Redis server answers to each command of ours. The first byte
 * says what was asked.
 */
#include "config.h"

#include "fuzz.h"

#include <hiredis/hiredis.h>
#include <string.h>

#include "store/script.h"
#include "store/server_error.h"

static char own[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

static bool holds(const redisReply *reply, const char *text)
{
	if (reply->str == text)
		return true;
	for (size_t i = 0; i < reply->elements; i++) {
		if (holds(reply->element[i], text))
			return true;
	}
	return false;
}

static void try_reply(uint8_t asked, const redisReply *reply)
{
	struct store_op op = {
		.verb = (enum store_verb)(asked % (STORE_RAISE + 1)),
		.fenced = asked & 0x10,
		.plain = (asked & 0x30) == 0x20,
		.want = asked & 0x40,
		.ttl_ms = 1000,
	};

	strcpy(op.value, own);
	if (reply->type == REDIS_REPLY_ERROR) {
		CHECK(server_error_classify(reply->str) <= SERVER_ERROR_REDIRECT);
		return;
	}
	if (!script_read(&op, reply))
		return;
	CHECK(op.status == STORE_OK || op.status == STORE_HELD || op.status == STORE_GONE);
	CHECK(op.fence >= 0 && (op.fence > 0 || !op.fence_is_new));
	CHECK(!op.holder || (op.verb == STORE_LOOK && holds(reply, op.holder)));
	if (op.fenced && op.status == STORE_OK && op.verb <= STORE_REPLACE)
		CHECK(op.fence > 0);
}

/* hiredis takes a server at its word, and memory for as many members as that announces. */
static bool announces_too_much(const uint8_t *data, size_t size)
{
	size_t n_digits = 0;
	bool counts = false;

	for (size_t i = 0; i < size; i++) {
		if (data[i] == '*') {
			counts = true;
			n_digits = 0;
		} else if (data[i] < '0' || data[i] > '9') {
			counts = counts && (data[i] == '+' || data[i] == '-');
		} else if (counts && ++n_digits > 4) {
			return true;
		}
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	redisReader *reader;
	void *reply;

	if (size == 0 || announces_too_much(data, size))
		return 0;
	reader = redisReaderCreate();
	CHECK(reader != NULL);
	/* In two pieces, as a socket may bring them. */
	for (int half = 0; half < 2; half++) {
		const size_t middle = 1 + (size - 1) / 2;
		const size_t from = half ? middle : 1, to = half ? size : middle;

		if (to > from && redisReaderFeed(reader, (const char *)data + from, to - from))
			break;
		while (redisReaderGetReply(reader, &reply) == REDIS_OK && reply) {
			try_reply(data[0], reply);
			freeReplyObject(reply);
		}
	}
	redisReaderFree(reader);
	return 0;
}
