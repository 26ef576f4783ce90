/* SPDX-License-Identifier: MIT */
/* The small parts of the core: leases, lock strings, timers, keys, patterns. */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "core/lease.h"
#include "core/lock_string.h"
#include "core/store.h"
#include "core/timer.h"
#include "suite.h"

#define MS INT64_C(1000)

static const struct {
	int64_t ttl_ms, drift_us;
} drifts[] = {
	{10, 2 * MS + 100},		 /* 1 % */
	{1000, 12 * MS},		 /* 1 % */
	{200000, 2002 * MS},		 /* 1 % is 2 s */
	{3600000, 2002 * MS},		 /* no more than 2 s */
	{4000000, 2002 * MS},		 /* 0.05 % is 2 s */
	{86400000, 2 * MS + 43200 * MS}, /* 0.05 % of a day */
};

START_TEST(drift_is_a_hundredth_capped_at_two_seconds_but_half_a_thousandth_at_least)
	{
		ck_assert_int_eq(lease_drift_us(drifts[_i].ttl_ms * MS), drifts[_i].drift_us);
	}
END_TEST

START_TEST(a_lease_ends_before_the_store_forgets_it)
	{
		struct lease lease = lease_make(5000, 1000 * MS);

		ck_assert_int_eq(lease.end_us, 5000 + 988 * MS);
		ck_assert_int_eq(lease_left_us(&lease, 5000), 988 * MS);
		ck_assert_int_eq(lease_left_us(&lease, lease.end_us), 0);
		ck_assert_int_eq(lease_left_us(&lease, lease.end_us + 1), 0);
		ck_assert_int_gt(lease_gone_us(&lease), 5000 + 1000 * MS);
		ck_assert_int_eq(lease_notice_us(&lease), 1000 * MS / 3);
		lease = lease_make(0, 3600 * 1000 * MS);
		ck_assert_int_eq(lease_notice_us(&lease), 5000 * MS);
	}
END_TEST

static void fill_with(struct entropy *entropy, void *buf, size_t size)
{
	(void)entropy;
	for (size_t i = 0; i < size; i++)
		((unsigned char *)buf)[i] = (unsigned char)(i * 8);
}

START_TEST(a_lock_string_is_base64_of_32_bytes)
	{
		struct entropy entropy = {fill_with};
		char string[LOCK_STRING_SIZE];

		lock_string_make(&entropy, string);
		/* printf of the bytes 0, 8, ..., 248 | base64 */
		ck_assert_str_eq(string, "AAgQGCAoMDhASFBYYGhweICIkJigqLC4wMjQ2ODo8Pg=");
		ck_assert(
			lock_string_equal(string, "AAgQGCAoMDhASFBYYGhweICIkJigqLC4wMjQ2ODo8Pg="));
		ck_assert(
			!lock_string_equal(string, "AAgQGCAoMDhASFBYYGhweICIkJigqLC4wMjQ2ODo8Ph="));
		ck_assert(!lock_string_equal(string, ""));
		ck_assert(!lock_string_equal("", ""));
	}
END_TEST

/* ------------------------------------------------------------------ timers */

enum { N_TIMERS = 500 };

static struct timers timers;
static struct timer many[N_TIMERS];
static int64_t last_us;
static unsigned n_fired;

static void fired(struct timer *timer)
{
	ck_assert_int_eq(timer->due_us, CLOCK_NEVER);
	n_fired++;
}

static void again(struct timer *timer)
{
	if (++n_fired < 10)
		timer_set(&timers, timer, (int64_t)n_fired);
}

START_TEST(timers_fire_in_order_however_they_were_set)
	{
		unsigned n_set = 0;

		timers_init(&timers);
		srand(7);
		for (int i = 0; i < N_TIMERS; i++)
			timer_init(&many[i], fired);
		for (int round = 0; round < 20000; round++) {
			struct timer *timer = &many[rand() % N_TIMERS];

			if (rand() % 3)
				timer_set(&timers, timer, rand() % 10000);
			else
				timer_stop(&timers, timer);
		}
		for (int i = 0; i < N_TIMERS; i++)
			n_set += many[i].due_us != CLOCK_NEVER;
		n_fired = 0;
		last_us = -1;
		while (timers_next_us(&timers) != CLOCK_NEVER) {
			int64_t next_us = timers_next_us(&timers);

			ck_assert_int_gt(next_us, last_us);
			last_us = next_us;
			timers_run(&timers, next_us);
		}
		ck_assert_uint_eq(n_fired, n_set);
		timers_deinit(&timers);
	}
END_TEST

START_TEST(a_timer_may_set_itself_again)
	{
		timers_init(&timers);
		timer_init(&many[0], again);
		timer_set(&timers, &many[0], 0);
		n_fired = 0;
		timers_run(&timers, 100);
		ck_assert_uint_eq(n_fired, 10);
		timers_deinit(&timers);
	}
END_TEST

/* ------------------------------------------------------------------ keys and patterns */

static const struct {
	const char *key, *fence;
} keys[] = {
	{"red_mutex_lock", "{red_mutex_lock}:fence"},
	{"orders:{7}", "orders:{7}:fence"},
	{"a{b", "{a{b}:fence"},
	{"a{}b", "{a{}b}:fence"},
};

START_TEST(companions_of_a_key_lie_in_its_slot)
	{
		struct store_key key;

		store_key_init(&key, keys[_i].key);
		ck_assert_str_eq(key.key, keys[_i].key);
		ck_assert_str_eq(key.fence, keys[_i].fence);
		ck_assert_ptr_nonnull(strstr(key.holder, ":holder"));
		ck_assert_ptr_nonnull(strstr(key.channel, ":free"));
		store_key_deinit(&key);
	}
END_TEST

static Suite *parts_suite(void)
{
	Suite *suite = suite_create("core/parts");
	TCase *tc = tcase_create("parts");

#define LENGTH(a) ((int)(sizeof(a) / sizeof(*(a))))
	tcase_add_loop_test(
		tc, drift_is_a_hundredth_capped_at_two_seconds_but_half_a_thousandth_at_least, 0,
		LENGTH(drifts));
	tcase_add_test(tc, a_lease_ends_before_the_store_forgets_it);
	tcase_add_test(tc, a_lock_string_is_base64_of_32_bytes);
	tcase_add_test(tc, timers_fire_in_order_however_they_were_set);
	tcase_add_test(tc, a_timer_may_set_itself_again);
	tcase_add_loop_test(tc, companions_of_a_key_lie_in_its_slot, 0, LENGTH(keys));
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	return suite_run(parts_suite());
}
