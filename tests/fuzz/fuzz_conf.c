/* SPDX-License-Identifier: MIT */
/*
 * Any bytes at all, read as a configuration file. What loads must come out the same when it is
 * dumped and loaded again; and each line is taken for urls, too.
 */
#include "config.h"

#include "fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conf/conf.h"
#include "conf/conf_url.h"
#include "store/url.h"
#include "util/alloc.h"

/* Keys that make the daemon read other files: here they could name any. */
static const char *const leading_out[] = {"include", "_file", "tls_"};

/* ------------------------------------------------------------------ in place of store/open.c */

bool store_settings_check(const struct store_settings *settings, char *why, size_t size)
{
	char *urls = xstrdup(settings->url), *rest = urls, *text;
	struct url url;
	bool good = true;

	CHECK(settings->pool_size >= 1 && settings->command_timeout_ms >= 1);
	while (good && (text = strsep(&rest, " "))) {
		good = url_parse(&url, text, why, size);
		if (good)
			url_deinit(&url);
	}
	free(urls);
	return good;
}

void store_settings_deinit(struct store_settings *settings)
{
	free(settings->url);
	free(settings->username);
	free(settings->password_file);
	free(settings->sentinel_username);
	free(settings->sentinel_password_file);
	free(settings->tls_ca);
	free(settings->tls_cert);
	free(settings->tls_key);
	free(settings->tls_server_name);
}

/* ------------------------------------------------------------------ files */

static void count_fault(void *arg, const char *file, int line, const char *text)
{
	unsigned *n = arg;

	CHECK(file && line >= 0 && text[0] != '\0');
	++*n;
}

/* Return: what the text says, or NULL; each the other's reason. */
static struct conf *load(const char *text, size_t len)
{
	unsigned n_faults = 0;
	struct conf *conf;
	char path[64];
	int fd = memfd_create("conf", MFD_CLOEXEC);

	CHECK(fd >= 0 && write(fd, text, len) == (ssize_t)len);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	conf = conf_load(path, count_fault, &n_faults);
	CHECK((conf == NULL) == (n_faults > 0));
	close(fd);
	return conf;
}

/* Comments tell the line that each section came from. */
static void drop_comments(char *text)
{
	char *to = text, *rest = text, *line;

	while ((line = strsep(&rest, "\n"))) {
		const size_t len = strlen(line);

		if (*line == ';')
			continue;
		memmove(to, line, len);
		to += len;
		*to++ = '\n';
	}
	to[-1] = '\0';
}

static char *dump(const struct conf *conf)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	CHECK(out != NULL);
	conf_dump(conf, out);
	CHECK(fclose(out) == 0);
	return text;
}

static void try_file(const char *text, size_t len)
{
	struct conf *conf, *again;
	char *once, *twice;

	for (size_t i = 0; i < sizeof(leading_out) / sizeof(*leading_out); i++) {
		if (memmem(text, len, leading_out[i], strlen(leading_out[i])))
			return;
	}
	conf = load(text, len);
	if (!conf)
		return;
	once = dump(conf);
	again = load(once, strlen(once));
	CHECK(again != NULL);
	twice = dump(again);
	drop_comments(once);
	drop_comments(twice);
	CHECK(strcmp(once, twice) == 0);
	conf_free(conf);
	conf_free(again);
	free(once);
	free(twice);
}

/* ------------------------------------------------------------------ urls */

static void try_url(const char *text)
{
	char why[256] = "", *masked, *once, *twice;
	struct url url;

	masked = conf_url_mask(text);
	once = conf_url_canonical(text);
	if (url_parse(&url, text, why, sizeof(why))) {
		CHECK(url.name[0] != '\0' && (url.scheme != URL_REDIS || !strchr(url.name, '@')));
		CHECK(url.scheme != URL_REDIS || (url.host[0] != '\0' && url.port > 0));
		CHECK(url.n_hosts <= URL_HOSTS_MAX && url.db >= 0 && url.db <= URL_DB_MAX);
		url_deinit(&url);
		twice = conf_url_canonical(masked); /* where a place is, is no secret */
		CHECK(strcmp(once, twice) == 0);
		free(twice);
	} else {
		CHECK(why[0] != '\0');
	}
	free(masked);
	free(once);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = xstrndup((const char *)data, size), *rest = text, *line;

	try_file((const char *)data, size);
	while ((line = strsep(&rest, "\n"))) {
		const char *value = strchr(line, '=');

		try_url(line);
		if (value)
			try_url(value + 1 + strspn(value + 1, " "));
	}
	free(text);
	return 0;
}
