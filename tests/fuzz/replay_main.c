/* SPDX-License-Identifier: MIT */
/*
 * Runs a libFuzzer target where there is no libFuzzer: over a folder of inputs, and over mutations
 * of them, the same ones for the same seed.
 *
 *	fuzz_x SEED RUNS FOLDER
 */
#include "config.h"

#ifndef WITH_LIBFUZZER
#include "fuzz.h"

#include <dirent.h>
#include <err.h>
#include <limits.h>
#include <string.h>

enum { INPUT_MAX = 4096, INPUTS_MAX = 1024, MUTATIONS_MAX = 6 };

struct input {
	uint8_t *bytes;
	size_t len;
};

static struct input inputs[INPUTS_MAX];
static size_t n_inputs;
static uint64_t state;

/* splitmix64, see Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014). */
static uint64_t next_random(void)
{
	uint64_t z = (state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static size_t below(size_t n)
{
	return (size_t)(next_random() % n);
}

/* In a block of exactly its size, so that a checker of memory sees a byte too many. */
static void run(const uint8_t *bytes, size_t len)
{
	uint8_t *exact = malloc(len > 0 ? len : 1);

	if (exact == NULL)
		err(EXIT_FAILURE, "malloc");
	memcpy(exact, bytes, len);
	LLVMFuzzerTestOneInput(exact, len);
	free(exact);
}

static void read_inputs(const char *folder)
{
	struct dirent **entries;
	int n = scandir(folder, &entries, NULL, alphasort); /* one order, for one outcome */

	if (n < 0)
		err(EXIT_FAILURE, "%s", folder);
	for (int i = 0; i < n; i++) {
		struct input *input = &inputs[n_inputs];
		char path[PATH_MAX];
		FILE *file;

		snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.' && n_inputs < INPUTS_MAX) {
			file = fopen(path, "rb");
			input->bytes = malloc(INPUT_MAX);
			if (file == NULL || input->bytes == NULL)
				err(EXIT_FAILURE, "%s", path);
			input->len = fread(input->bytes, 1, INPUT_MAX, file);
			fclose(file);
			n_inputs++;
		}
		free(entries[i]);
	}
	free(entries);
}

/* Puts some of `from` into `to` at a place. Return: the new length. */
static size_t splice(uint8_t *to, size_t len, const struct input *from)
{
	size_t at = below(len + 1);
	size_t start = from->len > 0 ? below(from->len) : 0;
	size_t n = from->len > start ? 1 + below(from->len - start) : 0;

	if (n > INPUT_MAX - len)
		n = INPUT_MAX - len;
	memmove(to + at + n, to + at, len - at);
	memcpy(to + at, from->bytes + start, n);
	return len + n;
}

static size_t mutate(uint8_t *bytes, size_t len)
{
	static const char special[] = " \r\n@=%\0\x7f\xff*:/0";
	size_t at, n;

	switch (below(6)) {
	case 0: /* another bit */
		if (len > 0)
			bytes[below(len)] ^= (uint8_t)(1u << below(8));
		return len;
	case 1: /* a byte that means something */
		if (len > 0)
			bytes[below(len)] = (uint8_t)special[below(sizeof(special))];
		return len;
	case 2: /* some bytes less */
		if (len == 0)
			return 0;
		at = below(len);
		n = 1 + below(len - at);
		memmove(bytes + at, bytes + at + n, len - at - n);
		return len - n;
	case 3: /* one byte over and over: what is too long */
		if (len == 0 || len == INPUT_MAX)
			return len;
		at = below(len);
		n = 1 + below(len < 64 ? 300 : INPUT_MAX - len);
		if (n > INPUT_MAX - len)
			n = INPUT_MAX - len;
		memmove(bytes + at + n, bytes + at, len - at);
		memset(bytes + at, bytes[at + n], n);
		return len + n;
	default:
		return splice(bytes, len, &inputs[below(n_inputs)]);
	}
}

int main(int argc, char **argv)
{
	uint8_t bytes[INPUT_MAX];
	unsigned long runs;

	if (argc != 4)
		errx(EXIT_FAILURE, "usage: %s SEED RUNS FOLDER", argv[0]);
	state = strtoull(argv[1], NULL, 10);
	runs = strtoul(argv[2], NULL, 10);
	read_inputs(argv[3]);
	if (n_inputs == 0)
		errx(EXIT_FAILURE, "%s holds no inputs", argv[3]);

	for (size_t i = 0; i < n_inputs; i++)
		run(inputs[i].bytes, inputs[i].len);
	for (unsigned long i = 0; i < runs; i++) {
		const struct input *input = &inputs[below(n_inputs)];
		size_t len = input->len;

		memcpy(bytes, input->bytes, len);
		for (size_t n = 1 + below(MUTATIONS_MAX); n > 0; n--)
			len = mutate(bytes, len);
		run(bytes, len);
	}
	for (size_t i = 0; i < n_inputs; i++)
		free(inputs[i].bytes);
	printf("%zu inputs and %lu mutations of them\n", n_inputs, runs);
	return EXIT_SUCCESS;
}
#endif
