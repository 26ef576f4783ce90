/* SPDX-License-Identifier: MIT */
/* The state file: what is in it after any end, and what is made of files that are not as expected.
 */
#include "config.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/mutex_private.h"
#include "core_world.h"
#include "serve/journal.h"
#include "suite.h"

static char dir[] = "/tmp/redmutexd-journal-XXXXXX";
static char path[64], aside[64];
static struct journal_file *file;
static struct client a, b;
static struct request ra, rb, rc;
static unsigned char boot = 1; /* the first byte of the boot id */

static int64_t now_us(struct clock *clock)
{
	(void)clock;
	return world_now_us;
}

static struct clock clock_by_hand = {now_us};

static int try_open(void)
{
	struct journal_env env = {.path = path, .clock = &clock_by_hand, .boot = {boot}};

	file = NULL;
	return journal_open(&env, &file);
}

/* Opens it, for the table of a world to note its claims in. */
static void open_file(void)
{
	ck_assert_int_eq(try_open(), 0);
	world_journal = journal_interface(file);
}

static void close_file(void)
{
	journal_close(file);
	file = NULL;
}

static void setup(void)
{
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/held", dir);
	snprintf(aside, sizeof(aside), "%s/held.bad", dir);
	client_init(&a);
	client_init(&b);
	world_now_us = INT64_C(1000000000);
}

static void teardown(void)
{
	close_file();
	unlink(path);
	unlink(aside);
	ck_assert_int_eq(rmdir(dir), 0);
}

/* The only entry that there is. */
static struct journal_entry only_entry(void)
{
	struct journal_entry entry, found = {0};
	unsigned n = 0;

	for (uint32_t slot = 1; slot <= journal_n_slots(file); slot++) {
		if (journal_read(file, slot, &entry)) {
			found = entry;
			n++;
		}
	}
	ck_assert_uint_eq(n, 1);
	return found;
}

static unsigned n_entries(void)
{
	struct journal_entry entry;
	unsigned n = 0;

	for (uint32_t slot = 1; slot <= journal_n_slots(file); slot++)
		n += journal_read(file, slot, &entry);
	return n;
}

static void hold(struct request *request, struct client *client)
{
	world_acquire(request, client, 0);
	world_answer_ok(STORE_ACQUIRE, 7);
	ck_assert_int_eq(request->ask.outcome, OUTCOME_OK);
}

/* The process ends without a word, and the next one opens the file. */
static void crash(void)
{
	world_end();
	close_file();
	open_file();
}

/* ------------------------------------------------------------------ what is noted */

START_TEST(a_new_file_is_private_and_empty)
	{
		struct stat status;

		open_file();
		ck_assert_int_eq(stat(path, &status), 0);
		ck_assert_uint_eq(status.st_mode & 07777, 0600);
		ck_assert_uint_eq(n_entries(), 0);
		ck_assert_uint_eq(journal_n_slots(file), JOURNAL_CHUNK_SLOTS);
	}
END_TEST

START_TEST(a_claim_that_was_never_granted_is_read_as_such)
	{
		struct journal_entry entry;
		char value[LOCK_STRING_SIZE];

		open_file();
		world_begin();
		world_acquire(&ra, &a, 0);
		strcpy(value, world_first()->value);
		entry = only_entry();
		ck_assert_int_eq(entry.state, JOURNAL_CLAIMED);
		ck_assert_str_eq(entry.name, "m");
		ck_assert_str_eq(entry.key, "key");
		ck_assert_uint_eq(entry.store_hash, journal_hash("scripted:"));
		ck_assert_str_eq(entry.value, value);
		ck_assert(entry.doubtful);
		world_reply(STORE_ACQUIRE, STORE_HELD);
		ck_assert_uint_eq(n_entries(), 0);
		world_end();
	}
END_TEST

START_TEST(a_lock_is_read_as_it_was_granted)
	{
		struct journal_entry entry;

		open_file();
		world_begin();
		a.holder.kind = HOLDER_PID;
		a.holder.pid = 4711;
		a.holder.born = 12;
		ra = (struct request){0};
		world_acquire_ttl(&ra, &a, 0, 5000, true);
		world_answer_ok(STORE_ACQUIRE, 7);
		world_now_us += 1000;
		crash();
		entry = only_entry();
		ck_assert_int_eq(entry.state, JOURNAL_GRANTED);
		ck_assert(entry.same_boot && entry.lease_known && !entry.doubtful);
		ck_assert_str_eq(entry.value, ra.string);
		ck_assert_str_eq(entry.lock.string, ra.string);
		ck_assert_int_eq(entry.kind, HOLDER_PID);
		ck_assert_int_eq(entry.pid, 4711);
		ck_assert_uint_eq(entry.born, 12);
		ck_assert_int_eq(entry.lock.fence, 7 * 1024);
		ck_assert(entry.lock.renew);
		ck_assert_int_eq(entry.lock.lease.ttl_us, 5000000);
		ck_assert_int_eq(entry.lock.lease.from_us, world_now_us - 1000);
		ck_assert_int_eq(entry.lease.end_us, entry.lock.lease.end_us);
		ck_assert_str_eq(entry.note, "");
	}
END_TEST

START_TEST(what_its_holder_has_let_go_of_is_nobodys)
	{
		open_file();
		world_begin();
		hold(&ra, &a);
		ck_assert_int_eq(only_entry().state, JOURNAL_GRANTED);
		world_release(&rb, ra.string);
		ck_assert_int_eq(only_entry().state, JOURNAL_REVOKED);
		world_reply(STORE_RELEASE, STORE_OK);
		ck_assert_uint_eq(n_entries(), 0);
		world_end();
	}
END_TEST

START_TEST(a_local_pass_leaves_the_string_and_changes_the_holder)
	{
		struct journal_entry before, after;

		world_settings.handoff = HANDOFF_LOCAL;
		open_file();
		world_begin();
		hold(&ra, &a);
		before = only_entry();
		world_acquire(&rb, &b, CLOCK_NEVER);
		world_release(&rc, ra.string);
		after = only_entry();
		ck_assert_int_eq(after.state, JOURNAL_GRANTED);
		ck_assert_str_eq(after.value, before.value);
		ck_assert_str_eq(after.lock.string, rb.string);
		ck_assert_str_ne(rb.string, ra.string);
		world_end();
	}
END_TEST

START_TEST(locks_that_nobody_owns_are_known_after_the_machine_was_started_again)
	{
		struct journal_entry entry;

		open_file();
		world_begin();
		a.holder.kind = HOLDER_NOBODY;
		hold(&ra, &a);
		a.holder.kind = HOLDER_CONNECTION;
		world_end();
		close_file();
		boot++;
		world_now_us = 5000000; /* its clock has started anew */
		open_file();
		entry = only_entry();
		ck_assert(!entry.same_boot && entry.lease_known);
		/* It was noted less than a second ago by the clock on the wall. */
		ck_assert_int_le(entry.lease.from_us, world_now_us);
		ck_assert_int_ge(entry.lease.from_us, world_now_us - 1000000);
		ck_assert_int_eq(entry.lease.ttl_us, 10000000);
	}
END_TEST

START_TEST(it_grows_and_gives_slots_back)
	{
		enum { N = 3 * JOURNAL_CHUNK_SLOTS - 5 };
		static uint32_t slots[N];
		char value[LOCK_STRING_SIZE] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
		const struct journal_class *class;

		open_file();
		class = world_journal->class;
		world_begin();
		for (unsigned i = 0; i < N; i++) {
			value[0] = (char)('A' + i % 26);
			slots[i] = class->claim(world_journal, world_mutex(), value);
			ck_assert_uint_eq(slots[i], i + 1);
		}
		ck_assert_uint_eq(n_entries(), N);
		close_file();
		open_file();
		ck_assert_uint_eq(journal_n_slots(file), 3 * JOURNAL_CHUNK_SLOTS);
		ck_assert_uint_eq(n_entries(), N);
		for (unsigned i = 0; i < N; i++)
			class->drop(world_journal, slots[i]);
		ck_assert_uint_eq(n_entries(), 0);
		ck_assert_uint_eq(class->claim(world_journal, world_mutex(), value), slots[N - 1]);
		world_journal = NULL;
		world_end();
	}
END_TEST

/* It often lies in memory: what was needed once is given back by the next start. */
START_TEST(what_is_empty_at_its_end_is_cut_off_at_the_next_start)
	{
		enum { N = 3 * JOURNAL_CHUNK_SLOTS };
		static uint32_t slots[N];
		const char value[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
		const struct journal_class *class;
		struct stat status;

		open_file();
		class = world_journal->class;
		world_begin();
		for (unsigned i = 0; i < N; i++)
			slots[i] = class->claim(world_journal, world_mutex(), value);
		/* The first slot of the second chunk stays, so that only the third can go. */
		for (unsigned i = 0; i < N; i++) {
			if (i != JOURNAL_CHUNK_SLOTS)
				class->drop(world_journal, slots[i]);
		}
		close_file();
		open_file();
		ck_assert_uint_eq(journal_n_slots(file), 2 * JOURNAL_CHUNK_SLOTS);
		ck_assert_int_eq(stat(path, &status), 0);
		ck_assert_int_eq(status.st_size,
				 JOURNAL_HEADER_SIZE + 2 * JOURNAL_CHUNK_SLOTS * JOURNAL_SLOT_SIZE);
		ck_assert_uint_eq(n_entries(), 1);
		/* What is left is all there, and it can grow again. */
		for (unsigned i = 0; i < N - 1; i++)
			ck_assert_uint_gt(class->claim(world_journal, world_mutex(), value), 0);
		ck_assert_uint_eq(n_entries(), N);
		world_journal = NULL;
		world_end();
	}
END_TEST

/* A limit on the size of files stands for a disk that is full. */
static void set_room(rlim_t bytes)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

START_TEST(without_room_to_grow_it_keeps_what_it_has)
	{
		const char value[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
		const struct journal_class *class;
		struct stat status;

		signal(SIGXFSZ, SIG_IGN);
		set_room(1000);
		ck_assert_int_lt(try_open(), 0);
		set_room(RLIM_INFINITY);
		open_file();
		class = world_journal->class;
		world_begin();
		ck_assert_int_eq(stat(path, &status), 0);
		set_room((rlim_t)status.st_size);
		for (unsigned i = 0; i < JOURNAL_CHUNK_SLOTS; i++)
			ck_assert_uint_gt(class->claim(world_journal, world_mutex(), value), 0);
		ck_assert_uint_eq(class->claim(world_journal, world_mutex(), value), 0);
		ck_assert_uint_eq(n_entries(), JOURNAL_CHUNK_SLOTS);
		/* It tries again after a while. */
		set_room(RLIM_INFINITY);
		ck_assert_uint_eq(class->claim(world_journal, world_mutex(), value), 0);
		world_now_us += 11000000;
		ck_assert_uint_gt(class->claim(world_journal, world_mutex(), value), 0);
		close_file();
		open_file();
		ck_assert_uint_eq(n_entries(), JOURNAL_CHUNK_SLOTS + 1);
		world_journal = NULL;
		world_end();
	}
END_TEST

START_TEST(of_a_key_that_is_too_long_the_hash_is_kept)
	{
		struct section *section;
		struct journal_entry entry;
		char key[JOURNAL_KEY_MAX + 2];

		memset(key, 'k', sizeof(key) - 1);
		key[sizeof(key) - 1] = '\0';
		open_file();
		world_begin();
		section = world_section("m", key, &world_settings);
		table_configure(table, &section, 1);
		world_acquire(&ra, &a, 0);
		entry = only_entry();
		ck_assert_str_eq(entry.key, "");
		ck_assert_uint_eq(entry.key_hash, journal_hash(key));
		world_reply(STORE_ACQUIRE, STORE_HELD);
		world_end();
	}
END_TEST

/* ------------------------------------------------------------------ torn and damaged */

struct snapshot {
	unsigned char bytes[JOURNAL_SLOT_SIZE];
	struct journal_entry entry;
	bool valid;
};

static void slot_read(unsigned char *bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(pread(fd, bytes, JOURNAL_SLOT_SIZE, JOURNAL_HEADER_SIZE),
			 JOURNAL_SLOT_SIZE);
	close(fd);
}

static void slot_write(int fd, const unsigned char *bytes)
{
	ck_assert_int_eq(pwrite(fd, bytes, JOURNAL_SLOT_SIZE, JOURNAL_HEADER_SIZE),
			 JOURNAL_SLOT_SIZE);
}

static void snap(struct snapshot *snapshot)
{
	slot_read(snapshot->bytes);
	snapshot->valid = journal_read(file, 1, &snapshot->entry);
}

static bool entries_equal(const struct journal_entry *x, const struct journal_entry *y)
{
	return x->state == y->state && strcmp(x->name, y->name) == 0 &&
	       strcmp(x->value, y->value) == 0 && strcmp(x->lock.string, y->lock.string) == 0 &&
	       x->lock.fence == y->lock.fence && x->lock.lease.from_us == y->lock.lease.from_us &&
	       x->lock.lease.ttl_us == y->lock.lease.ttl_us && x->kind == y->kind;
}

static bool comes_from(const struct journal_entry *torn, const struct journal_entry *whole)
{
	return entries_equal(torn, whole) ||
	       (torn->state != JOURNAL_GRANTED && strcmp(torn->value, whole->value) == 0);
}

/*
 * Half of one state and half of the next, cut at each byte: it is the one or the other, or held by
 * nobody as one of them might be. @stands: the string must be known in any case.
 */
static void tear(const struct snapshot *before, const struct snapshot *after, bool stands)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct journal_entry entry;
	unsigned char torn[JOURNAL_SLOT_SIZE];

	for (size_t cut = 0; cut <= 2 * sizeof(torn); cut++) {
		const struct snapshot *first = cut <= sizeof(torn) ? after : before;
		const struct snapshot *rest = first == after ? before : after;
		const size_t at = cut <= sizeof(torn) ? cut : cut - sizeof(torn);

		memcpy(torn, first->bytes, at);
		memcpy(torn + at, rest->bytes + at, sizeof(torn) - at);
		slot_write(fd, torn);
		if (!journal_read(file, 1, &entry)) {
			ck_assert_msg(!stands, "the string is forgotten when it is cut at %zu", at);
			continue;
		}
		ck_assert_msg(!stands || before->entry.state == JOURNAL_CLAIMED ||
				      entry.state != JOURNAL_CLAIMED,
			      "cut at %zu its holder is forgotten", at);
		ck_assert_msg((before->valid && comes_from(&entry, &before->entry)) ||
				      (after->valid && comes_from(&entry, &after->entry)),
			      "cut at %zu it is neither the one nor the other", at);
	}
	close(fd);
}

START_TEST(a_write_that_was_cut_off_at_any_byte_leaves_the_old_or_the_new)
	{
		struct snapshot shots[8] = {0};
		size_t n = 0;

		/* One write from each to the next: that is what a kill can cut in two. */
		world_settings.handoff = HANDOFF_LOCAL;
		world_settings.renew = true;
		open_file();
		world_begin();
		snap(&shots[n++]);
		world_acquire(&ra, &a, 0);
		snap(&shots[n++]); /* claimed */
		world_answer_ok(STORE_ACQUIRE, 7);
		snap(&shots[n++]); /* granted */
		world_pass_ms(3400);
		snap(&shots[n++]); /* the holder was given more of the claim */
		world_reply(STORE_EXTEND, STORE_OK);
		snap(&shots[n++]); /* renewed */
		world_acquire(&rb, &b, CLOCK_NEVER);
		world_release(&rc, ra.string);
		snap(&shots[n++]); /* granted to the next */
		table_drop_holder(table, &b.holder);
		snap(&shots[n++]); /* let go of */
		world_reply(STORE_RELEASE, STORE_OK);
		snap(&shots[n++]); /* gone */
		world_journal = NULL;
		world_end();
		ck_assert_int_eq(shots[1].entry.state, JOURNAL_CLAIMED);
		ck_assert_int_eq(shots[2].entry.state, JOURNAL_GRANTED);
		ck_assert_str_eq(shots[5].entry.lock.string, rb.string);
		ck_assert_int_eq(shots[6].entry.state, JOURNAL_REVOKED);
		ck_assert(!shots[7].valid);
		for (size_t i = 0; i + 1 < n; i++)
			tear(&shots[i], &shots[i + 1], shots[i].valid && shots[i + 1].valid);
	}
END_TEST

START_TEST(a_slot_that_is_used_again_never_shows_its_former_holder)
	{
		struct snapshot before = {0}, after = {0};

		open_file();
		world_begin();
		hold(&ra, &a);
		snap(&before);
		world_release(&rc, ra.string);
		world_reply(STORE_RELEASE, STORE_OK);
		world_acquire(&rb, &b, 0);
		snap(&after);
		world_answer_ok(STORE_ACQUIRE, 8);
		world_end();
		ck_assert_int_eq(before.entry.state, JOURNAL_GRANTED);
		ck_assert_int_eq(after.entry.state, JOURNAL_CLAIMED);
		tear(&before, &after, false);
	}
END_TEST

static uint64_t random_state;

static uint32_t random_below(uint32_t limit)
{
	/* splitmix64, https://prng.di.unimi.it/splitmix64.c */
	uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)((z ^ (z >> 31)) >> 32) % limit;
}

static struct holder *heir_at_random(void *arg, const struct journal_entry *entry)
{
	(void)arg;
	ck_assert_uint_eq(strlen(entry->lock.string), LOCK_STRING_LEN);
	return entry->kind == HOLDER_NOBODY ? table_nobody(table) : NULL;
}

/* Overwrites some bytes at random; more often than not where entries are. */
static void mutate(int fd)
{
	struct stat status;
	unsigned n = 1 + random_below(20);

	ck_assert_int_eq(fstat(fd, &status), 0);
	while (n-- > 0) {
		off_t at = random_below(10) ? JOURNAL_HEADER_SIZE + random_below(4000)
					    : random_below((uint32_t)status.st_size);
		unsigned char bytes[8];
		unsigned size = 1 + random_below(sizeof(bytes));

		for (unsigned i = 0; i < size; i++)
			bytes[i] = random_below(3) ? (unsigned char)random_below(256)
						   : (unsigned char)-random_below(2);
		if (random_below(30) == 0)
			at = random_below(16);
		ck_assert_int_eq(pwrite(fd, bytes, size, at), size);
	}
	if (random_below(20) == 0)
		ck_assert_int_eq(ftruncate(fd, random_below((uint32_t)status.st_size)), 0);
}

START_TEST(whatever_stands_in_the_file_the_daemon_starts)
	{
		const char *seed = getenv("JOURNAL_SEED");
		struct store_op *op;
		int fd;

		random_state = seed ? strtoull(seed, NULL, 10) : 1;
		for (int round = 0; round < 300; round++) {
			open_file();
			world_begin();
			a.holder.kind = round % 2 ? HOLDER_NOBODY : HOLDER_CONNECTION;
			hold(&ra, &a);
			world_journal = NULL;
			world_end();
			close_file();
			fd = open(path, O_RDWR | O_CLOEXEC);
			mutate(fd);
			close(fd);
			open_file();
			world_begin();
			journal_recover(file, table, heir_at_random, NULL);
			for (int i = 0; i < 200; i++) {
				world_pass_ms(1000);
				while ((op = world_first()))
					world_answer(op, STORE_GONE);
			}
			world_end();
			ck_assert_uint_eq(n_entries(), 0);
			close_file();
			client_init(&a);
		}
	}
END_TEST

/* ------------------------------------------------------------------ files that are not ours */

static void write_file(const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
}

START_TEST(a_damaged_file_is_set_aside)
	{
		struct stat status;

		write_file("this is no state file", 0600);
		open_file();
		ck_assert_uint_eq(n_entries(), 0);
		ck_assert_int_eq(stat(aside, &status), 0);
		ck_assert_int_eq(status.st_size, 21);
	}
END_TEST

START_TEST(a_file_of_another_version_is_set_aside)
	{
		const uint32_t version = 99;
		int fd;

		open_file();
		close_file();
		fd = open(path, O_RDWR | O_CLOEXEC);
		ck_assert_int_eq(pwrite(fd, &version, sizeof(version), 8), sizeof(version));
		close(fd);
		open_file();
		ck_assert_int_eq(access(aside, F_OK), 0);
	}
END_TEST

START_TEST(a_file_that_is_not_like_ours_is_left_alone)
	{
		struct stat status;

		write_file("root:x:0:0:", 0644);
		ck_assert_int_lt(try_open(), 0);
		ck_assert_int_ne(access(aside, F_OK), 0);
		ck_assert_int_eq(stat(path, &status), 0);
		ck_assert_int_eq(status.st_size, 11);
		ck_assert_uint_eq(status.st_mode & 07777, 0644);
	}
END_TEST

START_TEST(a_file_that_others_may_write_is_not_trusted)
	{
		open_file();
		close_file();
		ck_assert_int_eq(chmod(path, 0620), 0);
		ck_assert_int_lt(try_open(), 0);
		ck_assert_int_eq(chmod(path, 0602), 0);
		ck_assert_int_lt(try_open(), 0);
	}
END_TEST

START_TEST(a_file_that_others_may_read_is_made_private)
	{
		struct stat status;

		open_file();
		close_file();
		ck_assert_int_eq(chmod(path, 0644), 0);
		open_file();
		ck_assert_int_eq(stat(path, &status), 0);
		ck_assert_uint_eq(status.st_mode & 07777, 0600);
	}
END_TEST

START_TEST(a_file_of_another_user_is_not_trusted)
	{
		if (geteuid() != 0)
			return; /* nobody else can make one */
		open_file();
		close_file();
		ck_assert_int_eq(chown(path, 12345, 12345), 0);
		ck_assert_int_lt(try_open(), 0);
	}
END_TEST

START_TEST(links_and_what_is_no_file_are_not_followed)
	{
		char target[64];

		snprintf(target, sizeof(target), "%s/target", dir);
		ck_assert_int_eq(symlink(target, path), 0);
		ck_assert_int_lt(try_open(), 0);
		ck_assert_int_ne(access(target, F_OK), 0);
		unlink(path);

		ck_assert_int_eq(mkfifo(path, 0600), 0);
		ck_assert_int_lt(try_open(), 0);
		unlink(path);

		open_file();
		close_file();
		ck_assert_int_eq(link(path, target), 0);
		ck_assert_int_lt(try_open(), 0);
		unlink(target);

		unlink(path);
		ck_assert_int_eq(mkdir(path, 0700), 0);
		ck_assert_int_lt(try_open(), 0);
		ck_assert_int_eq(rmdir(path), 0);
	}
END_TEST

START_TEST(a_file_that_is_in_use_is_refused)
	{
		struct journal_file *first;

		open_file();
		first = file;
		ck_assert_int_eq(try_open(), JOURNAL_E_BUSY);
		ck_assert_ptr_null(file);
		journal_close(first);
		open_file();
	}
END_TEST

/* ------------------------------------------------------------------ SIGKILL at any instant */

/* What the process that is killed says of itself, in memory that it shares with the test. */
struct witness {
	char held[LOCK_STRING_SIZE];
	uint64_t n;
};

static void commit_text(char *to, const char *from)
{
	strcpy(to + 1, from + 1);
	__atomic_store_n(to, from[0], __ATOMIC_RELEASE);
}

static void work_done(struct ask *ask)
{
	if (ask->kind == ASK_ACQUIRE)
		strcpy(ra.string, ask->lock->string);
}

static struct ask work_ask(void)
{
	struct ask ask = {.done = work_done, .owner = &a.holder, .acquirer = &a.holder};

	strcpy(ask.string, ra.string);
	return ask;
}

/*
 * Locks and unlocks as fast as it can. Asserts nothing: Check hears of each assertion by a pipe,
 * which a process that is killed must not share.
 */
static void work(struct witness *witness)
{
	if (try_open() != 0)
		_exit(1);
	world_journal = journal_interface(file);
	world_begin();
	for (;;) {
		struct ask ask = work_ask();

		mutex_acquire(world_mutex(), &ask);
		world_answer(world_first(), STORE_OK);
		commit_text(witness->held, ra.string);
		ask = work_ask();
		ask.ttl_ms = 5000;
		mutex_extend(world_mutex(), &ask);
		world_answer(world_first(), STORE_OK);
		world_now_us++;
		__atomic_store_n(witness->held, '\0', __ATOMIC_RELEASE);
		ask = work_ask();
		mutex_release(world_mutex(), &ask);
		world_answer(world_first(), STORE_OK);
		witness->n++;
	}
}

START_TEST(sigkill_at_any_instant_leaves_what_is_held)
	{
		struct witness *witness = mmap(NULL, sizeof(*witness), PROT_READ | PROT_WRITE,
					       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		unsigned n_held = 0;

		random_state = 1;
		for (int round = 0; round < 200; round++) {
			const uint64_t before = witness->n;
			struct journal_entry entry;
			pid_t pid = fork();

			if (pid == 0)
				work(witness);
			while (__atomic_load_n(&witness->n, __ATOMIC_ACQUIRE) == before)
				usleep(100);
			usleep(random_below(300));
			kill(pid, SIGKILL);
			ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
			world_now_us += 60000000; /* later than anything that was written */
			open_file();
			if (witness->held[0]) {
				entry = only_entry();
				ck_assert_int_eq(entry.state, JOURNAL_GRANTED);
				ck_assert_str_eq(entry.value, witness->held);
				ck_assert_str_eq(entry.lock.string, witness->held);
				n_held++;
			} else {
				ck_assert_uint_le(n_entries(), 1);
			}
			witness->held[0] = '\0';
			close_file();
			unlink(path);
		}
		ck_assert_uint_gt(n_held, 10);
		munmap(witness, sizeof(*witness));
	}
END_TEST

static Suite *journal_suite(void)
{
	Suite *suite = suite_create("serve/journal");
	TCase *tc;

#define CASE(name)                                                                                 \
	tc = tcase_create(name);                                                                   \
	tcase_add_checked_fixture(tc, setup, teardown);                                            \
	tcase_set_timeout(tc, 60);                                                                 \
	suite_add_tcase(suite, tc)

	CASE("notes");
	tcase_add_test(tc, a_new_file_is_private_and_empty);
	tcase_add_test(tc, a_claim_that_was_never_granted_is_read_as_such);
	tcase_add_test(tc, a_lock_is_read_as_it_was_granted);
	tcase_add_test(tc, what_its_holder_has_let_go_of_is_nobodys);
	tcase_add_test(tc, a_local_pass_leaves_the_string_and_changes_the_holder);
	tcase_add_test(tc, locks_that_nobody_owns_are_known_after_the_machine_was_started_again);
	tcase_add_test(tc, it_grows_and_gives_slots_back);
	tcase_add_test(tc, without_room_to_grow_it_keeps_what_it_has);
	tcase_add_test(tc, what_is_empty_at_its_end_is_cut_off_at_the_next_start);
	tcase_add_test(tc, of_a_key_that_is_too_long_the_hash_is_kept);
	CASE("damage");
	tcase_add_test(tc, a_write_that_was_cut_off_at_any_byte_leaves_the_old_or_the_new);
	tcase_add_test(tc, a_slot_that_is_used_again_never_shows_its_former_holder);
	tcase_add_test(tc, whatever_stands_in_the_file_the_daemon_starts);
	CASE("foreign files");
	tcase_add_test(tc, a_damaged_file_is_set_aside);
	tcase_add_test(tc, a_file_of_another_version_is_set_aside);
	tcase_add_test(tc, a_file_that_is_not_like_ours_is_left_alone);
	tcase_add_test(tc, a_file_that_others_may_write_is_not_trusted);
	tcase_add_test(tc, a_file_that_others_may_read_is_made_private);
	tcase_add_test(tc, a_file_of_another_user_is_not_trusted);
	tcase_add_test(tc, links_and_what_is_no_file_are_not_followed);
	tcase_add_test(tc, a_file_that_is_in_use_is_refused);
	CASE("sigkill");
	tcase_add_test(tc, sigkill_at_any_instant_leaves_what_is_held);
	return suite;
}

int main(void)
{
	return suite_run(journal_suite());
}
