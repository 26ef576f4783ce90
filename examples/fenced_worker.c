/* SPDX-License-Identifier: MIT */
/*
 * A worker whose store refuses it when its lock is an old one. However long the worker was paused
 * between its last look at the lock and its write, the fence keeps the write out once somebody else
 * has held the lock and written. The store here is a file: the highest fence, and a value.
 *
 *	fenced_worker MUTEX FILE
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <client/redmutex.h> /* installed: <redmutex.h> */

/*
 * What any store must do to be safe: compare and write in one step (in SQL: UPDATE ... WHERE fence
 * <= ?). Return: 0, -1 when the fence is an old one, -2 when the file can't be written.
 */
static int store_write(const char *path, int64_t fence, long value)
{
	char text[64] = "";
	long long highest = 0;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int len, result = -2;

	if (fd < 0)
		return result;
	if (flock(fd, LOCK_EX) == 0 && read(fd, text, sizeof(text) - 1) >= 0) {
		sscanf(text, "%lld", &highest);
		len = snprintf(text, sizeof(text), "%lld %ld\n", (long long)fence, value);
		if (fence < highest)
			result = -1;
		else if (ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)len, 0) == len)
			result = 0;
	}
	close(fd);
	return result;
}

int main(int argc, char **argv)
{
	struct redmutex_acquire_options options = REDMUTEX_ACQUIRE_OPTIONS_INIT;
	struct redmutex_lock first = REDMUTEX_LOCK_INIT, second = REDMUTEX_LOCK_INIT;
	redmutex_t *rm;
	int error;

	if (argc != 3 || redmutex_connect(&rm, NULL, NULL) < 0) {
		fprintf(stderr, "%s\n",
			argc != 3 ? "which mutex, and file?" : redmutex_error_text(NULL));
		return EXIT_FAILURE;
	}
	options.wait_ms = 5000;
	error = redmutex_acquire(rm, argv[1], &options, &first);
	if (error == 0)
		error = redmutex_release(rm, argv[1], first.lock);
	if (error == 0)
		error = redmutex_acquire(rm, argv[1], &options, &second);
	if (error < 0) {
		fprintf(stderr, "%s: %s\n", argv[1], redmutex_strerror(error));
		return EXIT_FAILURE;
	}
	if (store_write(argv[2], second.fence, 2) != 0) {
		fprintf(stderr, "%s: cannot be written\n", argv[2]);
		return EXIT_FAILURE;
	}
	/* The holder of the first lock wakes up late, and does not know that it has lost it. */
	if (store_write(argv[2], first.fence, 1) != -1) {
		fprintf(stderr, "%s: a late write got through\n", argv[2]);
		return EXIT_FAILURE;
	}
	printf("the late write was refused\n");
	redmutex_close(rm);
	return EXIT_SUCCESS;
}
