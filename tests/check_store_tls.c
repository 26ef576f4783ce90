/* SPDX-License-Identifier: MIT */
/* rediss:// urls, with a real server and certificates that openssl(1) makes. */
#include "config.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "redis_server.h"
#include "store/tls.h"
#include "store_bench.h"
#include "suite.h"
#include "util/alloc.h"

/* Two authorities; of the first, a server's and a client's certificate. */
static const char make_certificates[] =
	"set -e; exec 2>openssl.log\n"
	"for ca in ca other; do\n"
	"  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \\\n"
	"    -keyout $ca.key -out $ca.pem -subj /CN=redmutexd-test-$ca \\\n"
	"    -addext basicConstraints=critical,CA:TRUE\n"
	"done\n"
	"for who in server client; do\n"
	"  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $who.key \\\n"
	"    -out $who.csr -subj /CN=redmutexd-test-$who\n"
	"  echo subjectAltName=DNS:redis.test,DNS:localhost,IP:127.0.0.1 >$who.ext\n"
	"  openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \\\n"
	"    -extfile $who.ext -out $who.pem\n"
	"done\n";

static char dir[32];
static struct redis_server server;
static struct bench bench;
static struct store_key key;
static const char *ca, *cert, *server_name; /* of the next store; NULL: not given */

static char *file_path(const char *name)
{
	return name ? xasprintf("%s/%s", dir, name) : NULL;
}

static void tune(struct store_settings *settings)
{
	settings->tls_ca = file_path(ca);
	if (cert) {
		settings->tls_cert = xasprintf("%s/%s.pem", dir, cert);
		settings->tls_key = xasprintf("%s/%s.key", dir, cert);
	}
	settings->tls_server_name = server_name ? xstrdup(server_name) : NULL;
}

static void make_folder(void)
{
	char *command;

	strcpy(dir, "/tmp/redmutexd-tls-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	command = xasprintf("cd %s && { %s}", dir, make_certificates);
	ck_assert_int_eq(system(command), 0);
	free(command);
}

static void remove_folder(void)
{
	char *command = xasprintf("rm -rf %s", dir);

	ck_assert_int_eq(system(command), 0);
	free(command);
}

enum { TLS_ARGS = 16 };

/* What a server that speaks TLS is told, and that; valid until the next call. */
static const char *const *tls_args(const char *const *more)
{
	static char pem[64], its_key[64], its_ca[64];
	static const char *args[TLS_ARGS + 1] = {
		"--tls-cert-file", pem, "--tls-key-file", its_key, "--tls-ca-cert-file", its_ca};
	size_t n = 6;

	snprintf(pem, sizeof(pem), "%s/server.pem", dir);
	snprintf(its_key, sizeof(its_key), "%s/server.key", dir);
	snprintf(its_ca, sizeof(its_ca), "%s/ca.pem", dir);
	while (*more) {
		ck_assert_uint_lt(n, TLS_ARGS);
		args[n++] = *more++;
	}
	args[n] = NULL;
	return args;
}

static void start_server(const char *clients)
{
	redis_server_start_tls(&server,
			       tls_args((const char *[]){"--tls-auth-clients", clients, NULL}));
}

static void open_at(const char *host, int port)
{
	char url[128];

	snprintf(url, sizeof(url), "rediss://%s:%d", host, port);
	bench_open(&bench, url, tune);
}

static void setup(void)
{
	ca = "ca.pem";
	cert = server_name = NULL;
	store_key_init(&key, "k");
	bench_init(&bench);
	start_server("no");
}

static void setup_clients(void)
{
	setup();
	redis_server_stop(&server);
	start_server("yes");
}

static void teardown(void)
{
	bench_deinit(&bench);
	redis_server_stop(&server);
	store_key_deinit(&key);
}

#define ASK(verb, value) bench_do(&bench, verb, &key, value)->op.status

static void expect_refused(bool lasting, const char *text)
{
	const struct answer *answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');

	ck_assert_int_eq(answer->op.status, STORE_REFUSED);
	ck_assert_msg(strstr(answer->text, text) != NULL, "%s", answer->text);
	ck_assert_msg(answer->op.lasting == lasting, "%s", answer->text);
	ck_assert_str_eq(redis_server_ask(&server, "GET k"), "(nil)");
}

START_TEST(locks_are_kept_over_tls)
	{
		open_at("127.0.0.1", server.port);
		ck_assert_int_eq(ASK(STORE_ACQUIRE, 'a'), STORE_OK);
		ck_assert_int_eq(redis_server_ask(&server, "GET k")[0], 'a');
		ck_assert_int_eq(ASK(STORE_REPLACE, 'a'), STORE_OK);
		ck_assert_int_eq(ASK(STORE_RELEASE, 'b'), STORE_OK);
		ck_assert_str_eq(redis_server_ask(&server, "GET k"), "(nil)");
		ck_assert_ptr_nonnull(strstr(bench.store->name, "rediss://127.0.0.1:"));
	}
END_TEST

START_TEST(a_name_is_looked_up_and_expected_in_the_certificate)
	{
		open_at("localhost", server.port);
		ck_assert_int_eq(ASK(STORE_ACQUIRE, 'a'), STORE_OK);
	}
END_TEST

START_TEST(another_name_may_be_expected)
	{
		server_name = "redis.test";
		open_at("127.0.0.1", server.port);
		ck_assert_int_eq(ASK(STORE_ACQUIRE, 'a'), STORE_OK);
	}
END_TEST

START_TEST(a_certificate_for_another_name_is_not_accepted)
	{
		server_name = "other.test";
		open_at("127.0.0.1", server.port);
		expect_refused(true, "the certificate of 'other.test' is not accepted: hostname "
				     "mismatch");
	}
END_TEST

START_TEST(a_certificate_for_another_address_is_not_accepted)
	{
		server_name = "127.0.0.2";
		open_at("127.0.0.1", server.port);
		expect_refused(true, "IP address mismatch");
	}
END_TEST

START_TEST(a_certificate_of_another_authority_is_not_accepted)
	{
		ca = "other.pem";
		open_at("127.0.0.1", server.port);
		expect_refused(true, "the certificate of '127.0.0.1' is not accepted: ");
	}
END_TEST

START_TEST(whom_the_system_does_not_trust_is_not_accepted)
	{
		ca = NULL;
		open_at("127.0.0.1", server.port);
		expect_refused(true, "the certificate of '127.0.0.1' is not accepted: ");
	}
END_TEST

START_TEST(whom_the_system_trusts_is_accepted)
	{
		char *path = file_path("ca.pem");

		/* OpenSSL's own way to say where the system's certificates are. */
		setenv("SSL_CERT_FILE", path, 1);
		free(path);
		ca = NULL;
		open_at("127.0.0.1", server.port);
		ck_assert_int_eq(ASK(STORE_ACQUIRE, 'a'), STORE_OK);
	}
END_TEST

START_TEST(a_server_that_wants_a_certificate_gets_it)
	{
		cert = "client";
		open_at("127.0.0.1", server.port);
		ck_assert_int_eq(ASK(STORE_ACQUIRE, 'a'), STORE_OK);
	}
END_TEST

START_TEST(a_server_that_wants_a_certificate_refuses_who_has_none)
	{
		open_at("127.0.0.1", server.port);
		expect_refused(true, "certificate required");
	}
END_TEST

static void write_file(const char *name, const char *text)
{
	char *path = file_path(name);
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
	free(path);
}

static void copy_file(const char *from, const char *to)
{
	char *command = xasprintf("cd %s && cp %s %s", dir, from, to);

	ck_assert_int_eq(system(command), 0);
	free(command);
}

START_TEST(a_file_that_is_wrong_is_named_and_read_again_when_it_has_changed)
	{
		write_file("late.pem", "no certificate\n");
		ca = "late.pem";
		open_at("127.0.0.1", server.port);
		expect_refused(true, "tls_ca '");
		copy_file("ca.pem", "late.pem");
		bench_await_count(&bench, &bench.n_up, 1);
		ck_assert_int_eq(ASK(STORE_ACQUIRE, 'a'), STORE_OK);
		/* And one that is being written when the connection ends changes nothing. */
		write_file("late.pem", "no certificate\n");
		redis_server_ask(&server, "CLIENT KILL TYPE normal SKIPME yes");
		bench_await_count(&bench, &bench.n_up, 2);
		ck_assert_int_eq(ASK(STORE_CHECK, 'a'), STORE_OK);
	}
END_TEST

START_TEST(a_key_that_does_not_fit_is_named)
	{
		cert = "mixed";
		copy_file("client.pem", "mixed.pem");
		copy_file("server.key", "mixed.key");
		open_at("127.0.0.1", server.port);
		expect_refused(true, "tls_key '");
	}
END_TEST

START_TEST(a_server_that_says_nothing_ends_at_the_connect_timeout)
	{
		struct sockaddr_in address = {.sin_family = AF_INET};
		socklen_t len = sizeof(address);
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		int64_t began_ms;

		address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, len), 0);
		ck_assert_int_eq(listen(fd, 5), 0);
		ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
		began_ms = bench_now_ms();
		open_at("127.0.0.1", ntohs(address.sin_port));
		expect_refused(false, "");
		ck_assert_int_ge(bench_now_ms() - began_ms, 900);
		ck_assert_int_lt(bench_now_ms() - began_ms, 2500);
		close(fd);
	}
END_TEST

START_TEST(a_server_without_tls_is_not_spoken_to)
	{
		struct redis_server plain;

		redis_server_start(&plain, true, NULL);
		open_at("127.0.0.1", plain.port);
		ck_assert_int_eq(ASK(STORE_ACQUIRE, 'a'), STORE_REFUSED);
		ck_assert_str_eq(redis_server_ask(&plain, "GET k"), "(nil)");
		redis_server_stop(&plain);
	}
END_TEST

START_TEST(much_at_once_is_answered_in_order)
	{
		enum { MANY = 5000 };
		struct answer *answers = calloc(MANY, sizeof(*answers));
		char *holder = xcalloc(4001, 1);

		memset(holder, 'h', 4000);
		open_at("127.0.0.1", server.port);
		for (int i = 0; i < MANY; i++) {
			answer_init(&answers[i], i % 2 ? STORE_CHECK : STORE_ACQUIRE, &key, 'a');
			answers[i].op.announce = holder; /* so that it does not fit in a record */
			bench_submit(&bench, &answers[i]);
		}
		for (int i = 0; i < MANY; i++) {
			bench_await(&bench, &answers[i]);
			ck_assert_msg(answers[i].op.status == STORE_OK, "%d: %s", i,
				      answers[i].text);
			ck_assert(i == 0 || answers[i].order > answers[i - 1].order);
		}
		free(answers);
		free(holder);
	}
END_TEST

static unsigned n_ready, n_messages;

static void note_ready(struct store_watch *watch)
{
	(void)watch;
	n_ready++;
}

static void note_message(struct store_watch *watch, enum store_message message)
{
	(void)watch;
	(void)message;
	n_messages++;
}

START_TEST(messages_come_over_tls)
	{
		struct store_watch watch = {
			.key = &key, .ready = note_ready, .message = note_message};

		open_at("127.0.0.1", server.port);
		store_watch(bench.store, &watch);
		bench_await_count(&bench, &n_ready, 1);
		redis_server_ask(&server, "PUBLISH %s %s", key.channel, "free x");
		bench_await_count(&bench, &n_messages, 1);
		store_unwatch(bench.store, &watch);
	}
END_TEST

START_TEST(a_server_that_restarts_is_used_again)
	{
		open_at("127.0.0.1", server.port);
		ck_assert_int_eq(ASK(STORE_ACQUIRE, 'a'), STORE_OK);
		redis_server_kill(&server);
		while (ASK(STORE_CHECK, 'a') == STORE_OK)
			;
		redis_server_restart(&server);
		bench_await_count(&bench, &bench.n_up, 1);
		ck_assert_int_eq(ASK(STORE_CHECK, 'a'), STORE_GONE);
	}
END_TEST

/* ------------------------------------------------------------------ sentinels and clusters */

static struct redis_server sentinel;

/* @tls: on the sentinel's own port; the master has it in any case */
static void start_sentinel(bool tls)
{
	redis_server_start_sentinel(&sentinel, tls,
				    tls_args((const char *[]){"--tls-replication", "yes",
							      "--tls-auth-clients", "no", NULL}));
	ck_assert_str_eq(redis_server_ask(&sentinel, "SENTINEL MONITOR mymaster 127.0.0.1 %d 1",
					  server.port),
			 "OK");
}

static void open_sentinel(const char *scheme)
{
	char url[128];

	snprintf(url, sizeof(url), "%s://127.0.0.1:%d/mymaster", scheme, sentinel.port);
	bench_open(&bench, url, tune);
}

static void teardown_sentinel(void)
{
	teardown();
	if (*sentinel.dir)
		redis_server_stop(&sentinel);
}

START_TEST(sentinels_and_their_master_speak_tls)
	{
		start_sentinel(true);
		open_sentinel("rediss-sentinel");
		ck_assert_int_eq(ASK(STORE_ACQUIRE, 'a'), STORE_OK);
		ck_assert_int_eq(redis_server_ask(&server, "GET k")[0], 'a');
	}
END_TEST

START_TEST(a_master_speaks_tls_though_its_sentinels_do_not)
	{
		start_sentinel(false);
		open_sentinel("redis-sentinel");
		ck_assert_int_eq(ASK(STORE_ACQUIRE, 'a'), STORE_OK);
	}
END_TEST

START_TEST(a_sentinel_of_another_authority_is_not_believed)
	{
		ca = "other.pem";
		start_sentinel(true);
		open_sentinel("rediss-sentinel");
		expect_refused(false, "is not accepted: ");
	}
END_TEST

enum { N_NODES = 2 };

static struct redis_server nodes[N_NODES];

static void await_cluster(struct redis_server *node, const char *text)
{
	int64_t end_ms = bench_now_ms() + 20000;

	while (!strstr(redis_server_ask(node, "CLUSTER INFO"), text)) {
		ck_assert_msg(bench_now_ms() < end_ms, "no %s", text);
		poll(NULL, 0, 20);
	}
}

/* Two masters with half of the slots each. */
static void setup_cluster(void)
{
	static char add_slots[16384 * 6 + 32];

	ca = "ca.pem";
	cert = server_name = NULL;
	store_key_init(&key, "k");
	bench_init(&bench);
	for (int i = 0; i < N_NODES; i++) {
		char *end = add_slots + sprintf(add_slots, "CLUSTER ADDSLOTS");

		redis_server_start_tls(
			&nodes[i],
			tls_args((const char *[]){"--tls-cluster", "yes", "--tls-auth-clients",
						  "no", "--cluster-enabled", "yes", NULL}));
		for (int slot = 8192 * i; slot < 8192 * (i + 1); slot++)
			end += sprintf(end, " %d", slot);
		ck_assert_str_eq(redis_server_ask(&nodes[i], add_slots), "OK");
		redis_server_ask(&nodes[i], "CLUSTER SET-CONFIG-EPOCH %d", i + 1);
	}
	redis_server_ask(&nodes[1], "CLUSTER MEET 127.0.0.1 %d", nodes[0].port);
	for (int i = 0; i < N_NODES; i++) {
		await_cluster(&nodes[i], "cluster_known_nodes:2");
		await_cluster(&nodes[i], "cluster_state:ok");
	}
}

static void teardown_cluster(void)
{
	bench_deinit(&bench);
	for (int i = 0; i < N_NODES; i++)
		redis_server_stop(&nodes[i]);
	store_key_deinit(&key);
}

static void open_cluster(const char *scheme)
{
	char url[128];

	snprintf(url, sizeof(url), "%s://127.0.0.1:%d", scheme, nodes[0].port);
	bench_open(&bench, url, tune);
}

/* The two schemes: with the keys for TLS both say the same of a cluster. */
START_TEST(all_nodes_of_a_cluster_speak_tls)
	{
		/* Slots of either node, and the second is known from the first alone. */
		static const char *const names[] = {"foo", "bar", "red_mutex_lock"};

		open_cluster(_i == 0 ? "rediss-cluster" : "redis-cluster");
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
			struct store_key mine;

			store_key_init(&mine, names[i]);
			ck_assert_int_eq(bench_do(&bench, STORE_ACQUIRE, &mine, 'a')->op.status,
					 STORE_OK);
			store_key_deinit(&mine);
		}
		ck_assert_int_ge(redis_server_ask_integer(&nodes[0], "DBSIZE"), 1);
		ck_assert_int_ge(redis_server_ask_integer(&nodes[1], "DBSIZE"), 1);
	}
END_TEST

START_TEST(a_redirection_in_a_cluster_leads_to_tls)
	{
		const int slot = 12182; /* of foo */
		struct store_key mine;

		store_key_init(&mine, "foo");
		open_cluster("rediss-cluster");
		ck_assert_int_eq(bench_do(&bench, STORE_ACQUIRE, &mine, 'a')->op.status, STORE_OK);
		ck_assert_int_eq(bench_do(&bench, STORE_RELEASE, &mine, 'a')->op.status, STORE_OK);
		for (int i = 0; i < N_NODES; i++) {
			char id[41];

			snprintf(id, sizeof(id), "%s", redis_server_ask(&nodes[0], "CLUSTER MYID"));
			redis_server_ask(&nodes[1 - i], "DEL {foo}:fence");
			ck_assert_str_eq(
				redis_server_ask(&nodes[i], "CLUSTER SETSLOT %d NODE %s", slot, id),
				"OK");
		}
		ck_assert_int_eq(bench_do(&bench, STORE_ACQUIRE, &mine, 'a')->op.status, STORE_OK);
		ck_assert_int_eq(redis_server_ask_integer(&nodes[0], "EXISTS foo"), 1);
		store_key_deinit(&mine);
	}
END_TEST

START_TEST(a_cluster_of_another_authority_is_not_believed)
	{
		const struct answer *answer;

		ca = "other.pem";
		open_cluster("rediss-cluster");
		answer = bench_do(&bench, STORE_ACQUIRE, &key, 'a');
		ck_assert_int_eq(answer->op.status, STORE_REFUSED);
		ck_assert_msg(strstr(answer->text, "is not accepted: ") != NULL, "%s",
			      answer->text);
	}
END_TEST

/* ------------------------------------------------------------------ settings */

static bool check(const char *url, const char *its_cert, const char *its_key, char *why,
		  size_t size)
{
	struct store_settings settings = {
		.url = (char *)url,
		.pool_size = 1,
		.connect_timeout_ms = 1,
		.command_timeout_ms = 1,
		.tls_cert = (char *)its_cert,
		.tls_key = (char *)its_key,
	};

	why[0] = '\0';
	return store_settings_check(&settings, why, size);
}

START_TEST(a_build_says_whether_it_has_tls)
	{
		char why[256];

		ck_assert_int_eq(check("rediss://h", NULL, NULL, why, sizeof(why)),
				 tls_supported());
		if (!tls_supported()) {
			ck_assert_ptr_nonnull(strstr(why, "hiredis 1.0 or later"));
			ck_assert_ptr_nonnull(strstr(why, "libhiredis-dev"));
		}
		/* It may come from what is common to all mutexes. */
		ck_assert(check("redis://h", "cert", NULL, why, sizeof(why)));
	}
END_TEST

START_TEST(keys_for_tls_mean_it_with_sentinels_and_clusters)
	{
		static const char *const urls[] = {"redis-sentinel://h/m", "redis-cluster://h"};
		char why[256];

		for (size_t i = 0; i < 2; i++) {
			ck_assert(check(urls[i], NULL, NULL, why, sizeof(why)));
			ck_assert_int_eq(check(urls[i], "cert", "key", why, sizeof(why)),
					 tls_supported());
			ck_assert(!check(urls[i], "cert", NULL, why, sizeof(why)));
		}
		ck_assert_int_eq(check("rediss-sentinel://h/m", NULL, NULL, why, sizeof(why)),
				 tls_supported());
		ck_assert_int_eq(check("rediss-cluster://h", NULL, NULL, why, sizeof(why)),
				 tls_supported());
	}
END_TEST

START_TEST(certificate_and_key_need_each_other)
	{
		char why[256];

		ck_assert(!check("rediss://h", "cert", NULL, why, sizeof(why)));
		ck_assert_ptr_nonnull(strstr(why, "tls_key"));
		ck_assert(!check("rediss://h", NULL, "key", why, sizeof(why)));
		ck_assert(check("rediss://h", "cert", "key", why, sizeof(why)));
	}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store_tls");
	TCase *settings = tcase_create("settings"), *tls = tcase_create("tls"),
	      *clients = tcase_create("clients"), *sentinels = tcase_create("sentinels"),
	      *clusters = tcase_create("clusters");

	tcase_add_test(settings, a_build_says_whether_it_has_tls);
	tcase_add_test(settings, keys_for_tls_mean_it_with_sentinels_and_clusters);
	suite_add_tcase(suite, settings);
	if (tls_supported())
		tcase_add_test(settings, certificate_and_key_need_each_other);
	if (tls_supported() && redis_server_installed()) {
		tcase_set_timeout(tls, 60);
		tcase_add_unchecked_fixture(tls, make_folder, remove_folder);
		tcase_add_checked_fixture(tls, setup, teardown);
		tcase_add_test(tls, locks_are_kept_over_tls);
		tcase_add_test(tls, a_name_is_looked_up_and_expected_in_the_certificate);
		tcase_add_test(tls, another_name_may_be_expected);
		tcase_add_test(tls, a_certificate_for_another_name_is_not_accepted);
		tcase_add_test(tls, a_certificate_for_another_address_is_not_accepted);
		tcase_add_test(tls, a_certificate_of_another_authority_is_not_accepted);
		tcase_add_test(tls, whom_the_system_does_not_trust_is_not_accepted);
		tcase_add_test(tls, whom_the_system_trusts_is_accepted);
		tcase_add_test(tls,
			       a_file_that_is_wrong_is_named_and_read_again_when_it_has_changed);
		tcase_add_test(tls, a_key_that_does_not_fit_is_named);
		tcase_add_test(tls, a_server_that_says_nothing_ends_at_the_connect_timeout);
		tcase_add_test(tls, a_server_without_tls_is_not_spoken_to);
		tcase_add_test(tls, much_at_once_is_answered_in_order);
		tcase_add_test(tls, messages_come_over_tls);
		tcase_add_test(tls, a_server_that_restarts_is_used_again);
		tcase_set_timeout(clients, 60);
		tcase_add_unchecked_fixture(clients, make_folder, remove_folder);
		tcase_add_checked_fixture(clients, setup_clients, teardown);
		tcase_add_test(clients, a_server_that_wants_a_certificate_gets_it);
		tcase_add_test(clients, a_server_that_wants_a_certificate_refuses_who_has_none);
		tcase_set_timeout(sentinels, 60);
		tcase_add_unchecked_fixture(sentinels, make_folder, remove_folder);
		tcase_add_checked_fixture(sentinels, setup, teardown_sentinel);
		tcase_add_test(sentinels, sentinels_and_their_master_speak_tls);
		tcase_add_test(sentinels, a_master_speaks_tls_though_its_sentinels_do_not);
		tcase_add_test(sentinels, a_sentinel_of_another_authority_is_not_believed);
		tcase_set_timeout(clusters, 60);
		tcase_add_unchecked_fixture(clusters, make_folder, remove_folder);
		tcase_add_checked_fixture(clusters, setup_cluster, teardown_cluster);
		tcase_add_loop_test(clusters, all_nodes_of_a_cluster_speak_tls, 0, 2);
		tcase_add_test(clusters, a_redirection_in_a_cluster_leads_to_tls);
		tcase_add_test(clusters, a_cluster_of_another_authority_is_not_believed);
	}
	/* Empty where there is nothing to speak TLS with. */
	suite_add_tcase(suite, tls);
	suite_add_tcase(suite, clients);
	suite_add_tcase(suite, sentinels);
	suite_add_tcase(suite, clusters);
	return suite_run(suite);
}
