/* SPDX-License-Identifier: MIT */
/*
 * Any bytes at all, read as a client's requests and as a daemon's replies. What can be read must
 * come out the same when it is written and read again. A libFuzzer target; replay_main.c runs it
 * without.
 */
#include "config.h"

#include "fuzz.h"

#include <string.h>

#include "proto/line.h"
#include "proto/name.h"
#include "proto/reply.h"
#include "proto/request.h"

static bool same(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

static bool inside(struct span part, struct span whole)
{
	return part.len == 0 || (part.at >= whole.at && part.at + part.len <= whole.at + whole.len);
}

static void check_same_request(const struct request *a, const struct request *b)
{
	CHECK(a->verb == b->verb);
	CHECK(same(a->tag, b->tag) && same(a->name, b->name) && same(a->lock, b->lock));
	CHECK(same(a->target, b->target) && same(a->pattern, b->pattern));
	CHECK(a->given == b->given && a->protocol == b->protocol);
	CHECK(a->wait_ms == b->wait_ms && a->ttl_ms == b->ttl_ms && a->renew == b->renew);
	CHECK(a->owner == b->owner && a->owner_pid == b->owner_pid);
	CHECK(strcmp(a->note, b->note) == 0);
}

static void try_request(struct span line)
{
	struct request request, again;
	char why[200] = "", out[PROTO_LINE_MAX], twice[PROTO_LINE_MAX];
	enum proto_error error = request_parse(line, &request, why, sizeof(why));
	struct span bytes, written;
	int len;

	CHECK(inside(request.tag, line));
	if (error != PROTO_OK) {
		CHECK(error == PROTO_E_SYNTAX || error == PROTO_E_UNKNOWN_COMMAND);
		CHECK(why[0] != '\0' && strlen(why) <= 150);
		for (const char *c = why; *c != '\0'; c++)
			CHECK(*c >= ' ' && *c < 0x7f);
		return;
	}
	CHECK(inside(request.name, line) && inside(request.lock, line));
	CHECK(inside(request.target, line) && inside(request.pattern, line));

	len = request_format(&request, out, sizeof(out));
	CHECK(len > 0);
	bytes = (struct span){out, (size_t)len};
	CHECK(line_next(&bytes, PROTO_LINE_MAX, &written) == LINE_READY && bytes.len == 0);
	CHECK(request_parse(written, &again, why, sizeof(why)) == PROTO_OK);
	check_same_request(&request, &again);
	CHECK(request_format(&again, twice, sizeof(twice)) == len);
	CHECK(memcmp(out, twice, (size_t)len) == 0);
}

/* Return: false when a value can't be decoded, so that the reply can't be written again. */
static bool write_again(const struct reply *reply, struct reply_writer *w, char *out, size_t size)
{
	static const char *const kinds[] = {
		[REPLY_OK] = "OK", [REPLY_ITEM] = "ITEM", [REPLY_EVENT] = "EVENT"};
	char value[PROTO_REPLY_MAX];

	reply_begin(w, out, size, reply->tag, kinds[reply->kind]);
	for (unsigned i = 0; i < reply->n_words; i++)
		reply_span(w, reply->words[i]);
	for (unsigned i = 0; i < reply->n_options; i++) {
		if (percent_decode(reply->options[i].value, value, sizeof(value)) < 0)
			return false;
		reply_option(w, reply->options[i].option, value);
	}
	return true;
}

static void try_reply(struct span line)
{
	struct reply reply, again;
	struct reply_writer w;
	char out[PROTO_REPLY_MAX], text[PROTO_REPLY_MAX];
	struct span bytes, written;

	if (reply_parse(line, &reply) < 0)
		return;
	CHECK(inside(reply.tag, line));
	CHECK(reply.n_words <= REPLY_WORDS_MAX && reply.n_options <= REPLY_OPTIONS_MAX);
	if (reply.kind == REPLY_ERR) {
		CHECK(reply.code.len > 0 && inside(reply.code, line) && inside(reply.text, line));
		CHECK(reply.error > PROTO_OK && reply.error < N_PROTO_ERRORS);
		memcpy(text, reply.text.at, reply.text.len);
		text[reply.text.len] = '\0';
		bytes.at = out;
		bytes.len = reply_error(out, sizeof(out), reply.tag, reply.error, text);
	} else {
		if (!write_again(&reply, &w, out, sizeof(out)))
			return;
		bytes = (struct span){out, reply_end(&w)};
	}
	CHECK(line_next(&bytes, PROTO_REPLY_MAX, &written) == LINE_READY && bytes.len == 0);
	CHECK(reply_parse(written, &again) == 0);
	CHECK(again.kind == reply.kind && again.error == reply.error);
	CHECK(same(again.tag, reply.tag));
	CHECK(again.n_words == reply.n_words && again.n_options == reply.n_options);
	for (unsigned i = 0; i < reply.n_words; i++)
		CHECK(same(again.words[i], reply.words[i]));
	for (unsigned i = 0; i < reply.n_options; i++)
		CHECK(again.options[i].option == reply.options[i].option);
}

/* A daemon's or a client's loop over what it has read. */
static void try_lines(struct span bytes, size_t limit, void (*try_line)(struct span line))
{
	for (;;) {
		struct span before = bytes, line;

		switch (line_next(&bytes, limit, &line)) {
		case LINE_READY:
			CHECK(bytes.len < before.len && before.len - bytes.len <= limit);
			CHECK(inside(line, before));
			CHECK(line.len == 0 || memchr(line.at, '\n', line.len) == NULL);
			if (line.len > 0)
				try_line(line);
			break;
		case LINE_PARTIAL:
			CHECK(bytes.len < limit && same(bytes, before));
			return;
		case LINE_TOO_LONG:
			CHECK(bytes.len >= limit && same(bytes, before));
			return;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span bytes = {(const char *)data, size};
	size_t half = size / 2;

	try_lines(bytes, PROTO_LINE_MAX, try_request);
	try_lines(bytes, PROTO_REPLY_MAX, try_reply);
	pattern_matches((struct span){bytes.at, half}, (struct span){bytes.at + half, size - half});
	return 0;
}
