/* SPDX-License-Identifier: MIT */
/* The state file: its layout, how it is written, and how it is made to last. */
#include "config.h"

#include "serve/journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/name.h"

#include "util/alloc.h"
#include "util/log.h"

#define MS_US INT64_C(1000)
#define SECOND_US (1000 * MS_US)

/* How long, and how often, to wait for a process that has the file and is about to end. */
#define BUSY_TRIES 50
#define BUSY_PAUSE_US 10000
/* Other processes may replace the file while it is being opened: so often at most. */
#define OPEN_TRIES 10

/* ------------------------------------------------------------------ layout */

static const char magic[8] = "RMTXHELD";
enum { FORMAT_VERSION = 1 };

struct header {
	char magic[8]; /* written last */
	uint32_t version;
	uint32_t slot_size;
};

/* Byte order is that of the machine: the file never leaves it. */
struct claim_part {
	uint64_t commit;  /* 0: the slot is free */
	uint64_t revoked; /* grants up to this turn: their holders have let go */
	/* From here on it is covered by the commit word. */
	unsigned char boot[JOURNAL_BOOT_SIZE];
	uint64_t store_hash, key_hash;
	char value[LOCK_STRING_LEN];
	uint16_t name_len, key_len;
	char text[]; /* the name, the key */
};

struct grant_part {
	uint64_t commit; /* 0: none */
	/* From here on it is covered by the commit word. */
	uint64_t claim; /* the commit word of the claim that it belongs to */
	uint64_t turn;	/* the higher of two counts */
	unsigned char boot[JOURNAL_BOOT_SIZE];
	int64_t written_us, wall_us; /* by both clocks; wall_us is 0 if that does not matter */
	int64_t from_us, ttl_us;     /* the holder's lease */
	int64_t claim_from_us, claim_ttl_us;
	int64_t granted_us;
	int64_t fence;
	uint64_t born;
	int32_t pid, asker_pid;
	uint32_t asker_uid;
	uint8_t kind, renew, doubtful, expiring_told;
	char string[LOCK_STRING_LEN];
	uint32_t note_len;
	char note[];
};

struct slot {
	_Alignas(8) unsigned char claim[JOURNAL_PART_SIZE];
	_Alignas(8) unsigned char grants[2][JOURNAL_PART_SIZE];
};

#define CHUNK_SIZE ((off_t)JOURNAL_CHUNK_SLOTS * JOURNAL_SLOT_SIZE)

_Static_assert(sizeof(struct slot) == JOURNAL_SLOT_SIZE, "a slot is three parts");
_Static_assert(CHUNK_SIZE % JOURNAL_HEADER_SIZE == 0, "chunks begin where pages do");
_Static_assert(sizeof(struct claim_part) + JOURNAL_NAME_MAX + JOURNAL_KEY_MAX < JOURNAL_PART_SIZE,
	       "a claim fits");
_Static_assert(sizeof(struct grant_part) + JOURNAL_NOTE_MAX < JOURNAL_PART_SIZE, "a grant fits");

struct journal_file {
	struct journal journal;
	char *path;
	struct clock *clock;
	unsigned char boot[JOURNAL_BOOT_SIZE];
	int fd;
	struct slot *chunks[JOURNAL_MAX_CHUNKS];
	uint32_t n_chunks;
	uint32_t *free; /* slots, the last is taken first */
	uint32_t n_free;
	uint64_t turn;
	int64_t retry_us; /* growing failed: not again before */
};

static struct slot *slot_at(const struct journal_file *file, uint32_t slot)
{
	const uint32_t index = slot - 1;

	assert(slot > 0 && index / JOURNAL_CHUNK_SLOTS < file->n_chunks);
	return &file->chunks[index / JOURNAL_CHUNK_SLOTS][index % JOURNAL_CHUNK_SLOTS];
}

static struct claim_part *claim_of(struct slot *slot)
{
	return (struct claim_part *)slot->claim;
}

static struct grant_part *grant_of(struct slot *slot, unsigned i)
{
	return (struct grant_part *)slot->grants[i];
}

/* ------------------------------------------------------------------ checksums */

static uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ hash >> 29;
}

/*
 * A checksum, never 0. Not proof against anybody who means harm: such a one can't write the file.
 * It ends as MurmurHash3 does (https://github.com/aappleby/smhasher), so that each bit counts.
 */
static uint64_t checksum(const void *data, size_t size)
{
	const unsigned char *bytes = data;
	uint64_t hash = mix(UINT64_C(0x2545f4914f6cdd1d), size), word;

	for (; size >= sizeof(word); bytes += sizeof(word), size -= sizeof(word)) {
		memcpy(&word, bytes, sizeof(word));
		hash = mix(hash, word);
	}
	word = 0;
	memcpy(&word, bytes, size);
	hash = mix(hash, word);
	hash = (hash ^ hash >> 33) * UINT64_C(0xff51afd7ed558ccd);
	hash = (hash ^ hash >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	hash ^= hash >> 33;
	return hash ? hash : 1;
}

uint64_t journal_hash(const char *text)
{
	return checksum(text, strlen(text));
}

/* The commit word that a part should have; its lengths must have been looked at. */
static uint64_t claim_sum(const struct claim_part *claim)
{
	const size_t skip = offsetof(struct claim_part, boot);
	const size_t key_len = claim->key_len <= JOURNAL_KEY_MAX ? claim->key_len : 0;

	return checksum(claim->boot,
			offsetof(struct claim_part, text) - skip + claim->name_len + key_len);
}

static uint64_t grant_sum(const struct grant_part *grant)
{
	const size_t skip = offsetof(struct grant_part, claim);

	return checksum(&grant->claim, offsetof(struct grant_part, note) - skip + grant->note_len);
}

/*
 * Stores to memory become visible to whoever maps the file next in the order in which they were
 * carried out; it is the compiler that must not change that.
 */
static void commit(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* ------------------------------------------------------------------ growing */

static int file_map_chunk(struct journal_file *file)
{
	const off_t offset = JOURNAL_HEADER_SIZE + file->n_chunks * CHUNK_SIZE;
	void *chunk;
	int error;

	/* Disk that is promised now is not missing in the middle of a store. */
	error = posix_fallocate(file->fd, offset, CHUNK_SIZE);
	if (error)
		return -error;
	chunk = mmap(NULL, (size_t)CHUNK_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		     file->fd, offset);
	if (chunk == MAP_FAILED)
		return -errno;
	file->chunks[file->n_chunks++] = chunk;
	file->free = xrealloc(file->free, (size_t)file->n_chunks * JOURNAL_CHUNK_SLOTS,
			      sizeof(*file->free));
	return 0;
}

/* Makes the slots of the last chunk available, the lowest first. */
static void file_free_chunk(struct journal_file *file)
{
	const uint32_t first = (file->n_chunks - 1) * JOURNAL_CHUNK_SLOTS + 1;

	for (uint32_t i = JOURNAL_CHUNK_SLOTS; i-- > 0;)
		file->free[file->n_free++] = first + i;
}

static bool file_grow(struct journal_file *file)
{
	int error;

	if (clock_now_us(file->clock) < file->retry_us)
		return false;
	error = file->n_chunks < JOURNAL_MAX_CHUNKS ? file_map_chunk(file) : -EFBIG;
	if (error) {
		log_error("%s can't grow: %s; what is locked beyond it is not removed after a "
			  "crash, but expires",
			  file->path, strerror(-error));
		file->retry_us = clock_now_us(file->clock) + 10 * SECOND_US;
		return false;
	}
	file_free_chunk(file);
	return true;
}

/* ------------------------------------------------------------------ writing */

static struct journal_file *file_of(struct journal *journal)
{
	return container_of(journal, struct journal_file, journal);
}

static uint32_t journal_claim(struct journal *journal, const struct mutex *mutex, const char *value)
{
	struct journal_file *file = file_of(journal);
	const char *name = mutex_name(mutex), *key = mutex_key(mutex)->key;
	const size_t name_len = strlen(name), key_len = strlen(key);
	struct claim_part *claim;
	struct slot *slot;
	uint32_t number;

	if (name_len > JOURNAL_NAME_MAX || (file->n_free == 0 && !file_grow(file)))
		return 0;
	number = file->free[--file->n_free];
	slot = slot_at(file, number);
	claim = claim_of(slot);
	assert(claim->commit == 0);
	claim->revoked = 0;
	memcpy(claim->boot, file->boot, sizeof(claim->boot));
	claim->store_hash = journal_hash(mutex_store(mutex)->name);
	claim->key_hash = checksum(key, key_len);
	memcpy(claim->value, value, sizeof(claim->value));
	claim->name_len = (uint16_t)name_len;
	claim->key_len = key_len <= JOURNAL_KEY_MAX ? (uint16_t)key_len : UINT16_MAX;
	memcpy(claim->text, name, name_len);
	if (key_len <= JOURNAL_KEY_MAX)
		memcpy(claim->text + name_len, key, key_len);
	grant_of(slot, 0)->commit = grant_of(slot, 1)->commit = 0;
	commit(&claim->commit, claim_sum(claim));
	return number;
}

static int64_t wall_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * SECOND_US + now.tv_nsec / 1000;
}

static void journal_grant(struct journal *journal, uint32_t number, const struct lock *lock)
{
	struct journal_file *file = file_of(journal);
	struct slot *slot = slot_at(file, number);
	struct claim_part *claim = claim_of(slot);
	struct grant_part *a = grant_of(slot, 0), *b = grant_of(slot, 1), *grant;
	const struct claim stands = mutex_claim(lock->mutex);
	const struct holder *owner = lock->owner;
	size_t note_len = lock->note ? strlen(lock->note) : 0;

	if (note_len > JOURNAL_NOTE_MAX)
		note_len = JOURNAL_NOTE_MAX;
	/* The one that is newer is left as it is. */
	grant = a->commit && (!b->commit || a->turn > b->turn) ? b : a;
	commit(&grant->commit, 0);
	*grant = (struct grant_part){
		.claim = claim->commit,
		.turn = ++file->turn,
		.written_us = clock_now_us(file->clock),
		/* Nothing else outlives the machine's next start. */
		.wall_us = owner->kind == HOLDER_NOBODY ? wall_now_us() : 0,
		.from_us = lock->lease.from_us,
		.ttl_us = lock->lease.ttl_us,
		.claim_from_us = stands.lease.from_us,
		.claim_ttl_us = stands.lease.ttl_us,
		.granted_us = lock->granted_us,
		.fence = lock->fence,
		.born = owner->born,
		.pid = owner->pid,
		.asker_pid = lock->asker.pid,
		.asker_uid = lock->asker.uid,
		.kind = (uint8_t)owner->kind,
		.renew = lock->renew,
		.doubtful = stands.doubtful,
		.expiring_told = lock->expiring_told,
		.note_len = (uint32_t)note_len,
	};
	memcpy(grant->boot, file->boot, sizeof(grant->boot));
	memcpy(grant->string, lock->string, sizeof(grant->string));
	if (note_len > 0)
		memcpy(grant->note, lock->note, note_len);
	commit(&grant->commit, grant_sum(grant));
}

static void journal_drop(struct journal *journal, uint32_t number)
{
	struct journal_file *file = file_of(journal);
	struct claim_part *claim = claim_of(slot_at(file, number));

	assert(claim->commit != 0);
	commit(&claim->commit, 0);
	file->free[file->n_free++] = number;
}

static void journal_revoke(struct journal *journal, uint32_t number)
{
	struct slot *slot = slot_at(file_of(journal), number);
	uint64_t turn = 0;

	for (unsigned i = 0; i < 2; i++) {
		const struct grant_part *grant = grant_of(slot, i);

		if (grant->commit && grant->turn > turn)
			turn = grant->turn;
	}
	commit(&claim_of(slot)->revoked, turn);
}

static const struct journal_class journal_class = {
	.claim = journal_claim,
	.grant = journal_grant,
	.drop = journal_drop,
	.revoke = journal_revoke,
};

struct journal *journal_interface(struct journal_file *file)
{
	return &file->journal;
}

/* ------------------------------------------------------------------ reading */

uint32_t journal_n_slots(const struct journal_file *file)
{
	return file->n_chunks * JOURNAL_CHUNK_SLOTS;
}

static bool lock_chars_valid(const char *string)
{
	return lock_string_valid((struct span){string, LOCK_STRING_LEN});
}

static bool claim_read(const struct claim_part *claim, struct journal_entry *entry)
{
	const bool has_key = claim->key_len <= JOURNAL_KEY_MAX;

	if (claim->commit == 0 || claim->name_len > JOURNAL_NAME_MAX ||
	    (!has_key && claim->key_len != UINT16_MAX) || claim->commit != claim_sum(claim))
		return false;
	if (!name_valid((struct span){claim->text, claim->name_len}) ||
	    !lock_chars_valid(claim->value) ||
	    (has_key && memchr(claim->text + claim->name_len, '\0', claim->key_len)))
		return false;
	memcpy(entry->name, claim->text, claim->name_len);
	if (has_key)
		memcpy(entry->key, claim->text + claim->name_len, claim->key_len);
	memcpy(entry->value, claim->value, LOCK_STRING_LEN);
	entry->key_hash = claim->key_hash;
	entry->store_hash = claim->store_hash;
	return true;
}

static bool lease_valid(int64_t from_us, int64_t ttl_us)
{
	/* Wide enough for all that can be, narrow enough for the sums that are made of it. */
	const int64_t limit_us = INT64_C(1) << 60;

	return from_us > -limit_us && from_us < limit_us && ttl_us > 0 &&
	       ttl_us <= PROTO_TTL_MAX_MS * MS_US;
}

static bool grant_valid(const struct grant_part *grant, const struct claim_part *claim)
{
	return grant->commit != 0 && grant->note_len <= JOURNAL_NOTE_MAX &&
	       grant->commit == grant_sum(grant) && grant->claim == claim->commit &&
	       lease_valid(grant->from_us, grant->ttl_us) &&
	       lease_valid(grant->claim_from_us, grant->claim_ttl_us) && grant->written_us >= 0 &&
	       grant->wall_us >= 0 && grant->granted_us <= grant->written_us && grant->fence >= 0 &&
	       grant->kind <= HOLDER_NOBODY && (grant->kind != HOLDER_PID || grant->pid > 0) &&
	       lock_chars_valid(grant->string) && !memchr(grant->note, '\0', grant->note_len);
}

/* How much later it is by this boot's clock than the time that the entry has for the same. */
static bool time_shift(const struct journal_file *file, const struct grant_part *grant,
		       bool same_boot, int64_t *shift_us)
{
	const int64_t now_us = clock_now_us(file->clock);
	int64_t elapsed_us;

	if (same_boot) {
		*shift_us = 0;
		return grant->written_us <= now_us;
	}
	elapsed_us = wall_now_us() - grant->wall_us;
	*shift_us = now_us - elapsed_us - grant->written_us;
	return grant->wall_us > 0 && elapsed_us >= 0;
}

static void grant_read(const struct journal_file *file, const struct grant_part *grant,
		       struct journal_entry *entry)
{
	int64_t shift_us;

	entry->same_boot = memcmp(grant->boot, file->boot, sizeof(grant->boot)) == 0;
	entry->lease_known = time_shift(file, grant, entry->same_boot, &shift_us);
	entry->lease = lease_make(grant->claim_from_us + shift_us, grant->claim_ttl_us);
	entry->kind = (enum holder_kind)grant->kind;
	entry->pid = grant->pid;
	entry->born = grant->born;
	entry->doubtful = grant->doubtful != 0;
	entry->lock = (struct lock){
		.fence = grant->fence,
		.lease = lease_make(grant->from_us + shift_us, grant->ttl_us),
		.renew = grant->renew != 0,
		.expiring_told = grant->expiring_told != 0,
		.granted_us = grant->granted_us + shift_us,
		.asker = {.pid = grant->asker_pid, .uid = grant->asker_uid},
	};
	memcpy(entry->lock.string, grant->string, LOCK_STRING_LEN);
	memcpy(entry->note, grant->note, grant->note_len);
}

bool journal_read(const struct journal_file *file, uint32_t number, struct journal_entry *entry)
{
	struct slot *slot = slot_at(file, number);
	const struct claim_part *claim = claim_of(slot);
	const struct grant_part *latest = NULL;

	*entry = (struct journal_entry){.doubtful = true};
	if (!claim_read(claim, entry))
		return false;
	entry->same_boot = memcmp(claim->boot, file->boot, sizeof(claim->boot)) == 0;
	for (unsigned i = 0; i < 2; i++) {
		const struct grant_part *grant = grant_of(slot, i);

		if (grant_valid(grant, claim) && (!latest || grant->turn > latest->turn))
			latest = grant;
	}
	entry->state = JOURNAL_CLAIMED;
	if (latest) {
		grant_read(file, latest, entry);
		entry->state = latest->turn > claim->revoked ? JOURNAL_GRANTED : JOURNAL_REVOKED;
	}
	return true;
}

/* ------------------------------------------------------------------ opening */

void journal_boot_id(struct entropy *entropy, unsigned char boot[JOURNAL_BOOT_SIZE])
{
	static const char path[] = "/proc/sys/kernel/random/boot_id";
	FILE *in = fopen(path, "re");
	size_t n = 0;
	int high = -1, c;

	/* Hexadecimal digits with dashes between, see random(4). */
	while (in && n < JOURNAL_BOOT_SIZE && (c = getc(in)) != EOF) {
		const char *digits = "0123456789abcdef", *digit = strchr(digits, c);

		if (!digit || !c)
			continue;
		if (high < 0) {
			high = (int)(digit - digits);
		} else {
			boot[n++] = (unsigned char)(high << 4 | (int)(digit - digits));
			high = -1;
		}
	}
	if (in)
		fclose(in);
	if (n == JOURNAL_BOOT_SIZE)
		return;
	log_warning("%s can't be read: locks are not taken over after a crash", path);
	entropy->fill(entropy, boot, JOURNAL_BOOT_SIZE);
}

/* Return: 0, JOURNAL_E_BUSY, or a negative errno. */
static int lock_file(int fd)
{
	for (int i = 0; i < BUSY_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK)
			return -errno;
		usleep(BUSY_PAUSE_US); /* it may be the last process, about to end */
	}
	return JOURNAL_E_BUSY;
}

static bool status_trusted(const struct stat *status, const char **why)
{
	if (!S_ISREG(status->st_mode))
		*why = "it is no regular file";
	else if (status->st_uid != geteuid())
		*why = "it belongs to another user";
	else if (status->st_nlink > 1)
		*why = "it has other names";
	else if (status->st_mode & (S_IWGRP | S_IWOTH))
		*why = "others may write it";
	else
		return true;
	return false;
}

/*
 * Opens and locks what has the path, or makes it.
 * Return: a descriptor; -JOURNAL_E_BUSY is none: see *busy; or a negative errno, logged.
 */
static int open_locked(const char *path, bool *busy)
{
	const char *why = "nothing can be found out about it";
	struct stat status, named;
	int fd, error;

	*busy = false;
	for (int i = 0; i < OPEN_TRIES; i++) {
		fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
		if (fd < 0 && errno == ENOENT)
			fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0 && errno == EEXIST)
			continue;
		if (fd < 0) {
			error = errno;
			log_error("%s: %s", path,
				  error == ELOOP ? "is a symbolic link" : strerror(error));
			return -error;
		}
		if (fstat(fd, &status) < 0 || !status_trusted(&status, &why)) {
			log_error("%s is not used: %s", path, why);
			close(fd);
			return -EPERM;
		}
		error = lock_file(fd);
		if (error) {
			*busy = error == JOURNAL_E_BUSY;
			if (!*busy)
				log_error("%s: can't be locked: %s", path, strerror(-error));
			close(fd);
			return *busy ? -EBUSY : error;
		}
		/* Is it still what the next daemon would find there? */
		if (stat(path, &named) == 0 && named.st_dev == status.st_dev &&
		    named.st_ino == status.st_ino)
			return fd;
		close(fd);
	}
	log_error("%s: others replace it again and again", path);
	return -EAGAIN;
}

enum condition { CONDITION_NEW, CONDITION_GOOD, CONDITION_DAMAGED };

static enum condition file_condition(int fd, off_t size)
{
	struct header header = {0};
	static const struct header zero;

	if (size == 0)
		return CONDITION_NEW;
	if (size < JOURNAL_HEADER_SIZE || pread(fd, &header, sizeof(header), 0) != sizeof(header))
		return CONDITION_DAMAGED;
	/* The magic is written last: whoever made it did not come so far. */
	if (memcmp(header.magic, zero.magic, sizeof(zero.magic)) == 0)
		return CONDITION_NEW;
	if (memcmp(header.magic, magic, sizeof(magic)) != 0 || header.version != FORMAT_VERSION ||
	    header.slot_size != JOURNAL_SLOT_SIZE ||
	    size > JOURNAL_HEADER_SIZE + JOURNAL_MAX_CHUNKS * CHUNK_SIZE)
		return CONDITION_DAMAGED;
	return CONDITION_GOOD;
}

static int write_header(int fd)
{
	struct header header = {.version = FORMAT_VERSION, .slot_size = JOURNAL_SLOT_SIZE};
	const size_t rest = sizeof(header) - sizeof(header.magic);
	const char *after_magic = (const char *)&header + sizeof(header.magic);
	int error;

	if (ftruncate(fd, 0) < 0)
		return -errno;
	error = posix_fallocate(fd, 0, JOURNAL_HEADER_SIZE + CHUNK_SIZE);
	if (error)
		return -error;
	if (pwrite(fd, after_magic, rest, sizeof(header.magic)) != (ssize_t)rest ||
	    pwrite(fd, magic, sizeof(magic), 0) != sizeof(magic))
		return errno ? -errno : -EIO;
	return 0;
}

static int set_aside(const char *path, const struct stat *status)
{
	char *aside = xasprintf("%s.bad", path);
	int error = -EINVAL;

	/* Perhaps a path was mistyped, and it is somebody's: what we make looks like this. */
	if ((status->st_mode & 07777) != 0600)
		log_error("%s is not used: it is no state file of this version", path);
	else if (rename(path, aside) < 0)
		log_error("%s is no state file of this version, and can't be renamed to %s: %s",
			  path, aside, strerror(errno));
	else
		error = 0;
	if (!error)
		log_error("%s is no state file of this version, or damaged; it is now %s, and what "
			  "stood in it is left to expire",
			  path, aside);
	free(aside);
	return error;
}

/*
 * Return: a descriptor of a file that has a header; -EBUSY with *busy; or a negative errno,
 * logged.
 */
static int open_prepared(const char *path, bool *busy)
{
	struct stat status;
	int fd = open_locked(path, busy), error;

	if (fd < 0)
		return fd;
	if (fstat(fd, &status) == 0 && file_condition(fd, status.st_size) == CONDITION_DAMAGED) {
		error = set_aside(path, &status);
		close(fd);
		if (error)
			return error;
		fd = open_locked(path, busy);
		if (fd < 0)
			return fd;
	}
	error = 0;
	if (fstat(fd, &status) < 0 || fchmod(fd, 0600) < 0)
		error = -errno;
	else if (file_condition(fd, status.st_size) == CONDITION_NEW)
		error = write_header(fd);
	if (!error)
		return fd;
	log_error("%s: %s", path, strerror(-error));
	close(fd);
	return error;
}

/* Maps all that there is, at least one chunk. */
static int file_map(struct journal_file *file)
{
	struct stat status;
	off_t n_chunks;

	if (fstat(file->fd, &status) < 0)
		return -errno;
	/* One that was cut off is made whole: what is missing reads as free slots. */
	n_chunks = (status.st_size - JOURNAL_HEADER_SIZE + CHUNK_SIZE - 1) / CHUNK_SIZE;
	do {
		int error = file_map_chunk(file);

		if (error)
			return error;
	} while (file->n_chunks < n_chunks);
	return 0;
}

/* Frees what is empty or makes no sense; finds out where the turns stand. */
static void file_scan(struct journal_file *file)
{
	struct journal_entry entry;
	uint32_t n_damaged = 0;

	for (uint32_t number = journal_n_slots(file); number > 0; number--) {
		struct slot *slot = slot_at(file, number);
		struct claim_part *claim = claim_of(slot);

		if (claim->commit == 0) {
			file->free[file->n_free++] = number;
		} else if (!journal_read(file, number, &entry)) {
			n_damaged++;
			commit(&claim->commit, 0);
			file->free[file->n_free++] = number;
		} else {
			for (unsigned i = 0; i < 2; i++) {
				const struct grant_part *grant = grant_of(slot, i);

				if (grant_valid(grant, claim) && grant->turn > file->turn)
					file->turn = grant->turn;
			}
		}
	}
	if (n_damaged > 0)
		log_error("%s: %u entries are damaged; what they stood for is left to expire",
			  file->path, n_damaged);
}

/*
 * Gives back what is empty at its end, which often is memory. To be called when nothing has been
 * claimed since file_scan(): the highest free slots come first.
 */
static void file_shrink(struct journal_file *file)
{
	const uint32_t before = file->n_chunks;

	while (file->n_chunks > 1 && file->n_free >= JOURNAL_CHUNK_SLOTS &&
	       file->free[JOURNAL_CHUNK_SLOTS - 1] ==
		       journal_n_slots(file) - JOURNAL_CHUNK_SLOTS + 1) {
		file->n_free -= JOURNAL_CHUNK_SLOTS;
		memmove(file->free, file->free + JOURNAL_CHUNK_SLOTS,
			file->n_free * sizeof(*file->free));
		munmap(file->chunks[--file->n_chunks], (size_t)CHUNK_SIZE);
	}
	if (file->n_chunks < before &&
	    ftruncate(file->fd, JOURNAL_HEADER_SIZE + file->n_chunks * CHUNK_SIZE) < 0)
		log_warning("%s can't be made smaller: %s", file->path, strerror(errno));
}

/* The rest, once there is a descriptor, which is taken over. */
static int file_new(const struct journal_env *env, int fd, struct journal_file **out)
{
	struct journal_file *file = xcalloc(1, sizeof(*file));
	int error;

	file->journal.class = &journal_class;
	file->path = xstrdup(env->path);
	file->clock = env->clock;
	memcpy(file->boot, env->boot, sizeof(file->boot));
	file->fd = fd;
	error = file_map(file);
	if (error) {
		log_error("%s: %s", env->path, strerror(-error));
		journal_close(file);
		return error;
	}
	file_scan(file);
	file_shrink(file);
	*out = file;
	return 0;
}

int journal_open(const struct journal_env *env, struct journal_file **out)
{
	bool busy;
	int fd = open_prepared(env->path, &busy);

	if (busy) {
		log_error("%s is in use by another daemon; give this one another state_file, or "
			  "another socket",
			  env->path);
		return JOURNAL_E_BUSY;
	}
	return fd < 0 ? fd : file_new(env, fd, out);
}

int journal_inherit(const struct journal_env *env, int fd, struct journal_file **out)
{
	struct stat status;

	if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fstat(fd, &status) == 0 &&
	    S_ISREG(status.st_mode) && file_condition(fd, status.st_size) == CONDITION_GOOD)
		return file_new(env, fd, out);
	log_error("%s: the program before had it in another form", env->path);
	close(fd);
	return -EINVAL;
}

int journal_fd(const struct journal_file *file)
{
	return file->fd;
}

const char *journal_path(const struct journal_file *file)
{
	return file->path;
}

void journal_close(struct journal_file *file)
{
	if (!file)
		return;
	for (uint32_t i = 0; i < file->n_chunks; i++)
		munmap(file->chunks[i], (size_t)CHUNK_SIZE);
	close(file->fd);
	free(file->free);
	free(file->path);
	free(file);
}
