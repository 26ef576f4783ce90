/* SPDX-License-Identifier: MIT */
#ifndef REDMUTEXD_SERVE_JOURNAL_H
#define REDMUTEXD_SERVE_JOURNAL_H
/*
 * The state file: what stands in the stores because of this daemon, and who holds it, so that the
 * next start can look after it if this process ends without a word.
 *
 * A header and slots of one size, mapped and shared: a lock is noted by a few stores to memory, and
 * what was stored is in the file even if SIGKILL comes with the next instruction. A slot has three
 * parts, each with a commit word, which is a checksum of the part and is written last: the claim
 * (which string stands where), and two grants (who holds it, until when) that are written in turns,
 * so that the one before stands until the new one is whole.
 *
 * The file is private to its daemon, mode 0600, and locked while that lives. What is read from it
 * is believed only as far as its checksums go.
 */
#include <stdbool.h>
#include <stdint.h>

#include "core/journal.h"
#include "core/table.h"

struct journal_file;

enum {
	_JOURNAL_E_SUCCESS,
	JOURNAL_E_BUSY, /* another daemon has it */
};

enum {
	JOURNAL_BOOT_SIZE = 16,
	JOURNAL_HEADER_SIZE = 65536, /* the largest page that a machine may have */
	JOURNAL_PART_SIZE = 512,
	JOURNAL_SLOT_SIZE = 3 * JOURNAL_PART_SIZE,
	JOURNAL_CHUNK_SLOTS = 512, /* by which it grows */
	JOURNAL_MAX_CHUNKS = 2048,
	JOURNAL_NAME_MAX = 128,
	JOURNAL_KEY_MAX = 255, /* of a longer one only a hash is kept */
	JOURNAL_NOTE_MAX = 256,
};

struct journal_env {
	const char *path;
	struct clock *clock;		       /* CLOCK_BOOTTIME */
	unsigned char boot[JOURNAL_BOOT_SIZE]; /* tells one start of the machine from the next */
};

/* The kernel's boot id; where there is none, one that never comes again. */
void journal_boot_id(struct entropy *entropy, unsigned char boot[JOURNAL_BOOT_SIZE]);

/*
 * journal_open - open the state file, or make one
 * @env: copied, but for the clock, which must outlive it
 * @out: set on success only
 *
 * What an earlier process left in it is kept until journal_recover(). A file that is not to be
 * trusted is left alone; one of ours that is damaged as a whole is renamed to "<path>.bad" and
 * replaced. If another process has it locked, that one gets half a second to end.
 *
 * Return: 0; JOURNAL_E_BUSY; or a negative errno. The reason was logged.
 */
int journal_open(const struct journal_env *env, struct journal_file **out);
/*
 * journal_inherit - go on with the file that another program had open in this process
 * @env: its path is that of the file
 * @fd: locked still; taken over
 *
 * Its slots keep their numbers, and need no journal_recover().
 * Return: 0, or a negative errno; the reason was logged.
 */
int journal_inherit(const struct journal_env *env, int fd, struct journal_file **out);
/* What that needs: borrowed. */
int journal_fd(const struct journal_file *file);
const char *journal_path(const struct journal_file *file);
/* Unmaps it; what is noted stays for the next start. Accepts NULL. */
void journal_close(struct journal_file *file);

/* For struct table_env. */
struct journal *journal_interface(struct journal_file *file);

/* Who held a lock. */
enum journal_state {
	JOURNAL_CLAIMED, /* never granted: its command may still be on its way */
	JOURNAL_GRANTED,
	JOURNAL_REVOKED, /* its holder has let go */
};

/* One slot, read. */
struct journal_entry {
	enum journal_state state;
	char name[JOURNAL_NAME_MAX + 1];
	char key[JOURNAL_KEY_MAX + 1]; /* empty: it was longer */
	uint64_t key_hash, store_hash; /* see journal_hash() */
	char value[LOCK_STRING_SIZE];
	bool doubtful;
	bool same_boot;

	/* If it was ever granted. Times are this boot's, converted if they were another's. */
	enum holder_kind kind;
	pid_t pid; /* HOLDER_PID */
	uint64_t born;
	struct lock lock; /* a description for table_adopt(), without owner */
	char note[JOURNAL_NOTE_MAX + 1];
	struct lease lease; /* of the value in the store */
	bool lease_known;   /* false: the wall clock makes no sense of it */
};

/* Of slots 1 to n; some are empty. */
uint32_t journal_n_slots(const struct journal_file *file);
/* Return: false when nothing, or nothing that makes sense, stands there. */
bool journal_read(const struct journal_file *file, uint32_t slot, struct journal_entry *entry);

/* The hash by which stores (their names) and long keys are known. */
uint64_t journal_hash(const char *text);

/*
 * journal_heir_fn - who holds this lock now?
 *
 * Return: the holder, or NULL when there is none any more.
 */
typedef struct holder *journal_heir_fn(void *arg, const struct journal_entry *entry);

/*
 * journal_recover - look after what the last process left
 * @table: configured, and with this journal
 * @heir: asked for each lock that was granted and not let go of
 *
 * What has a holder is adopted, the rest is removed from the stores: at once, except that what
 * connections held is left in place for a second, in which those learn that they lost it. To be
 * called once, before the first client is served.
 */
void journal_recover(struct journal_file *file, struct table *table, journal_heir_fn *heir,
		     void *arg);

#endif
