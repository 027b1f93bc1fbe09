/* ingest/txn_notify.c - refusals that were accepted at RCPT become a notification
 *
 * The notification is a transaction of our own and is in custody before the client hears 250:
 * were it to get lost, nobody would ever know of the refusal.
 */
#include "ingest/txn_in.h"

#include <assert.h>
#include <string.h>
#include "lib/clock.h"
#include "proto/verdict.h"

static enum next txn_notify(struct txn *t);
static enum next txn_notify_wait(struct txn *t);

const struct step STEP_NOTIFY             = { "notify",      txn_notify };
static const struct step STEP_NOTIFY_WAIT = { "notify-wait", txn_notify_wait };

/* Who is told: the manager, the sender, both.  cannot: the account cannot send.  Then its sender
 * is told only at a domain that it has registered: a refusal must not be a way to write to
 * strangers. */
static size_t told(const struct txn *t, bool cannot, const char *out[2])
{
	Holdfast__NotifyWho who = t->terms.notify;
	size_t n = 0;

	if ((who & HOLDFAST__NOTIFY_WHO__NOTIFY_MANAGER) && t->terms.manager[0] != '\0')
		out[n++] = t->terms.manager;
	if ((who & HOLDFAST__NOTIFY_WHO__NOTIFY_FROM) && t->from[0] != '\0' &&
	    (!cannot || terms_name_sender(&t->terms, t->from)) &&
	    (n == 0 || strcmp(out[0], t->from) != 0))
		out[n++] = t->from;
	return n;
}

/* Is one of its refusals that the account cannot send? */
static bool cannot_send(const struct txn *t)
{
	struct rcpt *r, *tmp;

	HASH_ITER(hh, t->rcpts, r, tmp)
		if (r->exception != NULL &&
		    r->refused == HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND)
			return true;
	return false;
}

/* A rate is no refusal but a pause: it is told on the wire to everybody.  So is what nobody would
 * be told by mail, though somebody is to be. */
bool txn_accepts_refused(const struct txn *t, const Holdfast__Verdict *v)
{
	bool cannot = v->class_ == HOLDFAST__VERDICT_CLASS__VERDICT_CANNOT_SEND;
	const char *to[2];

	if (!t->terms.accept_refused || verdict_exception(v) == NULL ||
	    v->cannot == HOLDFAST__CANNOT_SEND__CANNOT_RATE)
		return false;
	return !cannot || t->terms.notify == HOLDFAST__NOTIFY_WHO__NOTIFY_NONE ||
	       told(t, true, to) > 0;
}

static size_t refusals(const struct txn *t, struct notify_refusal *out)
{
	struct rcpt *r, *tmp;
	size_t n = 0;

	if (t->held) {
		Holdfast__Verdict held = HOLDFAST__VERDICT__INIT;

		held.class_ = HOLDFAST__VERDICT_CLASS__VERDICT_HOLD;
		out[n++] = (struct notify_refusal){
			verdict_exception(&held), verdict_text(held.class_), NULL,
		};
	}
	HASH_ITER(hh, t->rcpts, r, tmp)
		if (r->exception != NULL)
			out[n++] = (struct notify_refusal){
				r->exception, verdict_text(r->refused), r->addr,
			};
	return n;
}

bool txn_must_notify(const struct txn *t)
{
	const char *to[2];
	struct rcpt *r, *tmp;

	if (!t->terms.accept_refused || told(t, cannot_send(t), to) == 0)
		return false;
	if (t->held)
		return true;
	HASH_ITER(hh, t->rcpts, r, tmp)
		if (r->exception != NULL)
			return true;
	return false;
}

static bool address(struct txn *child, const char *to)
{
	struct smtp_path path;
	struct buf key = BUF_INIT;
	bool ok = smtp_addr_parse(to, strlen(to), &path) == ERR_OK &&
	          smtp_addr_key(path.addr, path.len, &key) == ERR_OK;

	if (ok) {
		txn_rcpt_take(child, &path, key.data, key.len)->ok = true;
		child->n_ok = HASH_COUNT(child->rcpts);
	}
	buf_free(&key);
	return ok;
}

static void body_make(const struct txn *t, struct txn *child, const char *const *to, size_t n_to)
{
	struct notify_refusal *list = xcalloc(HASH_COUNT(t->rcpts) + 1, sizeof(*list));
	struct buf msg = BUF_INIT;

	notify_build(&msg, &(struct notify_facts){
		.hostname = t->in->stage->worker->common->hostname, .id = child->idtext,
		.about = t->idtext, .from = t->from, .to = to, .n_to = n_to, .refusal = list,
		.n = refusals(t, list), .now_ms = child->received_ms }, &child->eight_bit);
	child->utf8 = child->utf8_address;
	child->body = blob_take(&msg);
	t->in->on_way += child->body->len;
	ingest_memory(t->in, (int64_t)child->body->len);
	xfree(list);
}

/* Hand the notification over.  Resumes in txn_notified(). */
static enum next txn_notify(struct txn *t)
{
	const char *to[2];
	size_t n = told(t, cannot_send(t), to);
	struct txn *child = txn_new(t->in, &t->peer);

	child->from = xstrdup("");
	child->helo = xstrdup("");
	child->parent = t->id;
	for (size_t i = 0; i < n; i++)
		if (!address(child, to[i]))
			log_warn("notify", LOGID(&t->mid), LOGS("account", t->account),
			         LOGS("why", "is no address"), LOGS("to", to[i]));
	body_make(t, child, to, n);
	metric_add(t->in->stage->metrics, M_NOTIFICATIONS, 1);
	txn_goto(t, &STEP_NOTIFY_WAIT);
	txn_goto(child, &STEP_GIVE);
	txn_run(child);
	return NEXT_WAIT;
}

static enum next txn_notify_wait(struct txn *t)
{
	return NEXT_WAIT;
}

void txn_notified(struct ingest *in, uint64_t id, bool ok)
{
	struct txn *t = txn_find(in, id);

	if (t == NULL)
		return;
	assert(t->step == &STEP_NOTIFY_WAIT);
	if (!ok) {
		txn_refuse(t, NO_ROOM,
		           "452 4.3.1 No room for the message now, try again later\r\n");
		return;
	}
	txn_goto(t, &STEP_GIVE);
	txn_run(t);
}
