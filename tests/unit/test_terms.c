/* tests/unit/test_terms.c - what an account asks ingest to keep to: kept, checked, told */
#include "tests/unit/fake_bus.h"
#include "tests/unit/policy_rig.h"
#include "lib/clock.h"

#define ACTIVE   HOLDFAST__ACCOUNT_STATE__ACCOUNT_ACTIVE
#define DISABLED HOLDFAST__ACCOUNT_STATE__ACCOUNT_DISABLED
#define REVIEW   HOLDFAST__ACCOUNT_STATE__ACCOUNT_REVIEW
#define OK       HOLDFAST__DONE__RESULT__OK
#define INVALID  HOLDFAST__DONE__RESULT__INVALID
#define V_OK     HOLDFAST__VERDICT_CLASS__VERDICT_OK
#define V_HOLD   HOLDFAST__VERDICT_CLASS__VERDICT_HOLD
#define V_CANNOT HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND
#define BOTH     HOLDFAST__NOTIFY_WHO__NOTIFY_BOTH
#define MANAGER  HOLDFAST__NOTIFY_WHO__NOTIFY_MANAGER
#define FROM     HOLDFAST__NOTIFY_WHO__NOTIFY_FROM

static int open_rig(void **state)
{
	struct policy_rig *r;

	assert_int_equal(rig_setup(state), 0);
	r = *state;
	r->stage.state = &r->p;
	return 0;
}

static int close_rig(void **state)
{
	struct policy_rig *r = *state;

	r->p.bus = NULL;
	fake_close();
	return rig_teardown(state);
}

/* Set the fields that words name (NULL-ended), of the account "shop". */
static Holdfast__Done__Result put(struct policy_rig *r, Holdfast__Account *a,
                                  const char *const *words)
{
	Holdfast__AccountPut m = HOLDFAST__ACCOUNT_PUT__INIT;
	struct kv_batch *b = kv_batch_new();
	ProtobufCBinaryData set[8];
	Holdfast__Done__Result result;
	const char *text = "";

	a->name = pb_str("shop");
	m.account = a;
	m.set = set;
	while (words[m.n_set] != NULL) {
		set[m.n_set] = pb_str(words[m.n_set]);
		m.n_set++;
	}
	result = accounts_put(&r->p, &m, RIG_NOW, b, &text);
	if (result == OK)
		rig_write(r, &b);
	else
		kv_batch_free(&b);
	assert_true((result == OK) == (text[0] == '\0'));
	return result;
}

#define PUT(r, a, ...) put(r, a, (const char *const[]){ __VA_ARGS__, NULL })

static Holdfast__Frame *ask_mail_bytes(struct policy_rig *r, ProtobufCBinaryData id)
{
	Holdfast__MailQuery q = HOLDFAST__MAIL_QUERY__INIT;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	struct bus_from from = { .role = HOLDFAST__ROLE__ROLE_INGEST, .call = 1 };

	q.account = pb_str("shop");
	q.message_id = id;
	q.mail_from = pb_str("a@shop.test");
	f.body_case = HOLDFAST__FRAME__BODY_MAIL_QUERY;
	f.mail_query = &q;
	answer_mail(&r->stage, &from, &f, NULL);
	assert_true(fake.n_answer > 0);
	return fake.answer[fake.n_answer - 1].frame;
}

/* The verdict on a MAIL of "shop", as it came over the bus; it lives as long as the rig. */
static Holdfast__Verdict *ask_mail(struct policy_rig *r, uint8_t n)
{
	uint8_t id[UUID_LEN];
	Holdfast__Frame *f;

	rig_id(id, n);
	f = ask_mail_bytes(r, pb_bytes(id, UUID_LEN));
	assert_non_null(f);
	assert_int_equal(f->body_case, HOLDFAST__FRAME__BODY_VERDICT);
	return f->verdict;
}

static void fill_all(struct policy_rig *r)
{
	ProtobufCBinaryData domain[] = { pb_str("Shop.Test"), pb_str(".News.Shop.Test"),
	                                 pb_str("b\xc3\xbc" "cher.test"), pb_str("shop.test") };
	Holdfast__Account a = HOLDFAST__ACCOUNT__INIT;

	a.check_from = true;
	a.from_domain = domain;
	a.n_from_domain = ARRAY_LEN(domain);
	a.accept_refused = true;
	a.notify = BOTH;
	a.manager = pb_str("Boss@shop.test");
	a.rate_minute = 600;
	assert_int_equal(PUT(r, &a, "check_from", "from_domain", "accept_refused", "notify",
	                     "manager", "rate_minute"), OK);
}

static void assert_all(const Holdfast__Terms *t)
{
	assert_non_null(t);
	assert_true(t->check_from && t->accept_refused);
	assert_int_equal(t->n_from_domain, 3); /* as keys, each once */
	assert_true(pb_is(t->from_domain[0], "shop.test"));
	assert_true(pb_is(t->from_domain[1], ".news.shop.test"));
	assert_true(pb_is(t->from_domain[2], "xn--bcher-kva.test"));
	assert_int_equal(t->notify, BOTH);
	assert_true(pb_is(t->manager, "Boss@shop.test"));
}

static void terms_are_kept_over_a_restart(void **state)
{
	struct policy_rig *r = *state;
	struct account *a = rig_account(r, "shop", ACTIVE, 0);

	fill_all(r);
	assert_all(&a->terms);
	assert_int_equal(a->rate_minute, 600);
	rig_reopen(r);
	a = accounts_find(&r->p, pb_str("shop"));
	assert_all(&a->terms);
	assert_int_equal(a->rate_minute, 600);
	assert_all(ask_mail(r, 1)->terms);
}

static void what_is_not_named_stays(void **state)
{
	struct policy_rig *r = *state;
	struct account *a = rig_account(r, "shop", ACTIVE, 0);
	Holdfast__Account m = HOLDFAST__ACCOUNT__INIT;

	fill_all(r);
	m.soft_limit = 5;
	assert_int_equal(PUT(r, &m, "soft_limit"), OK);
	assert_all(&a->terms);
	assert_int_equal(PUT(r, &m, "from_domain"), OK); /* replaces them, by none */
	assert_int_equal(a->terms.n_from_domain, 0);
	assert_int_equal(PUT(r, &m, "notify", "manager", "check_from", "accept_refused",
	                     "rate_minute"), OK);
	assert_false(a->terms.check_from || a->terms.accept_refused);
	assert_int_equal(a->terms.manager.len + a->rate_minute, 0);
}

static void a_record_of_an_older_program_asks_for_nothing(void **state)
{
	/* what version 1 wrote before there were terms: name, state, soft_limit, version */
	static const uint8_t old[] = { 0x0a, 4, 's', 'h', 'o', 'p', 0x10, 3, 0x50, 4,
	                               0x88, 0x01, 1 };
	struct policy_rig *r = *state;
	struct kv_batch *b = kv_batch_new();
	Holdfast__Verdict *v;
	struct account *a;

	kv_put(b, CF_ACCOUNT, "shop", 4, old, sizeof(old));
	rig_write(r, &b);
	rig_reopen(r);
	a = accounts_find(&r->p, pb_str("shop"));
	assert_non_null(a);
	assert_int_equal(a->soft_limit, 4);
	v = ask_mail(r, 1);
	assert_int_equal(v->class_, V_OK);
	assert_false(v->terms->check_from || v->terms->accept_refused);
	assert_int_equal(v->terms->n_from_domain + v->terms->manager.len, 0);
	fill_all(r);
	assert_all(&a->terms);
}

static struct row {
	const char *name;
	const char *word;
	const char *text;      /* domain, or manager */
	uint64_t number;       /* notify, or rate */
	Holdfast__Done__Result want;
} rows[] = {
	{ "a domain with a space is none", "from_domain", "shop test", 0, INVALID },
	{ "an address is no domain", "from_domain", "a@shop.test", 0, INVALID },
	{ "nothing is no domain", "from_domain", "", 0, INVALID },
	{ "a dot is no domain", "from_domain", ".", 0, INVALID },
	{ "a dot in front is for all below", "from_domain", ".shop.test", 0, OK },
	{ "a manager without a domain is no address", "manager", "boss", 0, INVALID },
	{ "a manager in brackets is no address", "manager", "<boss@shop.test>", 0, INVALID },
	{ "a manager with a line end is no address", "manager", "boss@shop.test\r\n", 0, INVALID },
	{ "two managers are no address", "manager", "a@shop.test, b@shop.test", 0, INVALID },
	{ "an empty manager is none", "manager", "", 0, OK },
	{ "who is notified is one of four", "notify", "", 4, INVALID },
	{ "and not below none", "notify", "", UINT32_MAX, INVALID },
	{ "the sender may be notified without a manager", "notify", "", FROM, OK },
	{ "a manager that there is none of is not notified", "notify", "", MANAGER, INVALID },
	{ "nor together with the sender", "notify", "", BOTH, INVALID },
	{ "the highest rate is allowed", "rate_minute", "", RATE_MINUTE_MAX, OK },
	{ "a higher one is not", "rate_minute", "", RATE_MINUTE_MAX + 1, INVALID },
};

static void row_is_judged(void **state)
{
	struct policy_rig *r = *state;

	rig_account(r, "shop", ACTIVE, 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		Holdfast__Account a = HOLDFAST__ACCOUNT__INIT;
		ProtobufCBinaryData domain = pb_str(rows[i].text);
		Holdfast__Done__Result got;

		a.from_domain = &domain;
		a.n_from_domain = 1;
		a.manager = pb_str(rows[i].text);
		a.notify = (Holdfast__NotifyWho)rows[i].number;
		a.rate_minute = rows[i].number;
		got = PUT(r, &a, rows[i].word);
		if (got != rows[i].want)
			fail_msg("%s: %d", rows[i].name, (int)got);
	}
}

static void a_manager_that_is_notified_cannot_be_taken_away(void **state)
{
	struct policy_rig *r = *state;
	Holdfast__Account a = HOLDFAST__ACCOUNT__INIT;

	rig_account(r, "shop", ACTIVE, 0);
	fill_all(r);
	assert_int_equal(PUT(r, &a, "manager"), INVALID);
	assert_int_equal(PUT(r, &a, "manager", "notify"), OK);
}

/* n domains of the longest kind, "aaa..." with a number. */
static void make_domains(char text[][256], ProtobufCBinaryData *domain, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int len = snprintf(text[i], 256, "%061zu.%061d.%061d.%061d.test", i, 0, 0, 0);

		domain[i] = pb_bytes(text[i], (size_t)len);
	}
}

static void a_hundred_domains_are_told_whole_and_more_are_refused(void **state)
{
	struct policy_rig *r = *state;
	Holdfast__Account a = HOLDFAST__ACCOUNT__INIT;
	ProtobufCBinaryData domain[101];
	char text[101][256];
	Holdfast__Verdict *v;

	rig_account(r, "shop", ACTIVE, 0);
	make_domains(text, domain, 101);
	a.from_domain = domain;
	a.n_from_domain = 101;
	r->p.bus = (struct bus *)&fake; /* never looked into */
	assert_int_equal(PUT(r, &a, "from_domain"), INVALID);
	assert_int_equal(accounts_find(&r->p, pb_str("shop"))->terms.n_from_domain, 0);
	a.n_from_domain = 100;
	assert_int_equal(PUT(r, &a, "from_domain"), OK);
	v = ask_mail(r, 1);
	assert_int_equal(v->terms->n_from_domain, 100);
	for (size_t i = 0; i < 100; i++)
		assert_true(pb_is(v->terms->from_domain[i], text[i]));
}

/* Accounts with as many domains as there may be go over several pages, whole and once. */
static void pages_of_long_accounts_fit_into_frames(void **state)
{
	struct policy_rig *r = *state;
	Holdfast__AccountGet get = HOLDFAST__ACCOUNT_GET__INIT;
	Holdfast__Frame f = HOLDFAST__FRAME__INIT;
	struct bus_from from = { .call = 1 };
	ProtobufCBinaryData domain[100];
	char text[100][256], name[] = "shop0";
	size_t seen = 0;
	bool more = true;

	make_domains(text, domain, 100);
	for (; name[4] < '6'; name[4]++) {
		struct account *a = rig_account(r, name, ACTIVE, 0);
		Holdfast__Account m = HOLDFAST__ACCOUNT__INIT;
		Holdfast__AccountPut put_it = HOLDFAST__ACCOUNT_PUT__INIT;
		ProtobufCBinaryData set = pb_str("from_domain");
		struct kv_batch *b = kv_batch_new();
		const char *why = "";

		m.name = pb_str(a->name);
		m.from_domain = domain;
		m.n_from_domain = 100;
		put_it.account = &m;
		put_it.set = &set;
		put_it.n_set = 1;
		assert_int_equal(accounts_put(&r->p, &put_it, RIG_NOW, b, &why), OK);
		rig_write(r, &b);
	}
	f.body_case = HOLDFAST__FRAME__BODY_ACCOUNT_GET;
	f.account_get = &get;
	for (size_t pages = 0; more; pages++) {
		const Holdfast__AccountPage *page;

		assert_true(pages < 6);
		answer_account_get(&r->stage, &from, &f, NULL);
		page = fake.answer[fake.n_answer - 1].frame->account_page;
		assert_true(page->n_account > 0);
		for (size_t i = 0; i < page->n_account; i++, seen++)
			assert_int_equal(page->account[i]->n_from_domain, 100);
		get.after = page->account[page->n_account - 1]->name;
		more = page->more;
	}
	assert_int_equal(seen, 6);
}

static void terms_are_told_whatever_the_verdict_is(void **state)
{
	struct policy_rig *r = *state;
	struct account *a = rig_account(r, "shop", ACTIVE, 5);
	Holdfast__Verdict *v;

	fill_all(r);
	a->figures.used[WINDOW_TOTAL].n = 5;
	v = ask_mail(r, 1);
	assert_int_equal(v->cannot, HOLDFAST__CANNOT_SEND__CANNOT_QUOTA);
	assert_all(v->terms);
	a->figures.used[WINDOW_TOTAL].n = 0;
	a->state = DISABLED;
	v = ask_mail(r, 2);
	assert_int_equal(v->cannot, HOLDFAST__CANNOT_SEND__CANNOT_DISABLED);
	assert_all(v->terms);
	a->state = REVIEW;
	v = ask_mail(r, 3);
	assert_int_equal(v->class_, V_HOLD);
	assert_all(v->terms);
	a->exists = false;
	v = ask_mail(r, 4);
	assert_int_equal(v->cannot, HOLDFAST__CANNOT_SEND__CANNOT_UNKNOWN);
	assert_null(v->terms);
}

/* ---- the rate, as MAIL meets it */

static void set_rate(struct policy_rig *r, uint64_t rate, bool accept_refused)
{
	Holdfast__Account a = HOLDFAST__ACCOUNT__INIT;

	a.rate_minute = rate;
	a.accept_refused = accept_refused;
	assert_int_equal(PUT(r, &a, "rate_minute", "accept_refused"), OK);
}

static void the_message_over_the_rate_is_refused_with_its_time(void **state)
{
	struct policy_rig *r = *state;
	uint64_t before = clock_wall_ms();
	Holdfast__Verdict *v;

	rig_account(r, "shop", REVIEW, 0);
	set_rate(r, 2, false);
	assert_int_equal(ask_mail(r, 1)->class_, V_HOLD);
	assert_int_equal(ask_mail(r, 2)->class_, V_HOLD);
	v = ask_mail(r, 3);
	assert_int_equal(v->class_, V_CANNOT);
	assert_int_equal(v->cannot, HOLDFAST__CANNOT_SEND__CANNOT_RATE);
	assert_int_equal(v->hold, HOLDFAST__HOLD_REASON__HOLD_NONE);
	assert_true(v->reset_ms > before && v->reset_ms <= clock_wall_ms() + 60000);
	assert_int_equal(v->verdict_id.len, UUID_LEN);
	assert_non_null(v->terms);
	set_rate(r, 3, false); /* raised: it holds at once */
	assert_int_equal(ask_mail(r, 3)->class_, V_HOLD);
	set_rate(r, 0, false);
	for (uint8_t n = 10; n < 30; n++)
		assert_int_equal(ask_mail(r, n)->class_, V_HOLD);
}

static void a_question_that_is_repeated_counts_once(void **state)
{
	struct policy_rig *r = *state;

	rig_account(r, "shop", ACTIVE, 0);
	set_rate(r, 2, false);
	for (int i = 0; i < 5; i++)
		assert_int_equal(ask_mail(r, 1)->class_, V_OK);
	assert_int_equal(ask_mail(r, 2)->class_, V_OK);
	for (int i = 0; i < 5; i++)
		assert_int_equal(ask_mail(r, 3)->class_, V_CANNOT);
	assert_int_equal(ask_mail(r, 2)->class_, V_OK); /* they were let in */
	assert_int_equal(ask_mail(r, 1)->class_, V_OK);
}

static void a_refused_message_counts_only_where_refusals_are_accepted(void **state)
{
	struct policy_rig *r = *state;
	struct account *a = rig_account(r, "shop", ACTIVE, 0);

	set_rate(r, 2, false);
	a->state = DISABLED;
	for (uint8_t n = 1; n < 9; n++)
		assert_int_equal(ask_mail(r, n)->cannot,
		                 HOLDFAST__CANNOT_SEND__CANNOT_DISABLED);
	set_rate(r, 2, true);
	for (uint8_t n = 11; n < 19; n++)
		assert_int_equal(ask_mail(r, n)->cannot,
		                 n < 13 ? HOLDFAST__CANNOT_SEND__CANNOT_DISABLED
		                        : HOLDFAST__CANNOT_SEND__CANNOT_RATE);
}

static void a_message_without_an_id_is_malformed(void **state)
{
	struct policy_rig *r = *state;

	rig_account(r, "shop", ACTIVE, 0);
	assert_null(ask_mail_bytes(r, pb_str("short")));
	assert_int_equal(fake.answer[0].why, HOLDFAST__REFUSED__WHY__MALFORMED);
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_rig, close_rig)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(terms_are_kept_over_a_restart),
		T(what_is_not_named_stays),
		T(a_record_of_an_older_program_asks_for_nothing),
		T(row_is_judged),
		T(a_manager_that_is_notified_cannot_be_taken_away),
		T(a_hundred_domains_are_told_whole_and_more_are_refused),
		T(pages_of_long_accounts_fit_into_frames),
		T(terms_are_told_whatever_the_verdict_is),
		T(the_message_over_the_rate_is_refused_with_its_time),
		T(a_question_that_is_repeated_counts_once),
		T(a_refused_message_counts_only_where_refusals_are_accepted),
		T(a_message_without_an_id_is_malformed),
	};

	return cmocka_run_group_tests_name("terms", tests, NULL, NULL);
}
