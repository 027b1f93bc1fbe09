/* ingest/session_pace.c - who is read when memory is short
 *
 * Messages come into memory, and wait there for custody.  While memory_bytes is used up nobody is
 * read as long as a message is on its way to custody, since its bytes will go; when none is, one
 * session of those whose message is coming in is read, so that it can finish: the limit is passed
 * by one message at most.  The others wait without being read, their deadlines rest, and their
 * clients feel it as a slow network.  A file on disk would take the same message twice to the
 * disk, here and in the stage that keeps it, and would only move the limit.
 *
 * Whose turn it is must bring bytes: who does not goes to the end of the row, and who fails to do
 * so in TURNS_MAX turns one after the other is given up (451), or a few clients that stall could
 * hold the door shut for all.  So is, where others wait, whose message takes more than TICKS_MAX
 * ticks of turns: a few bytes now and then would hold the door as well.
 */
#include "ingest/session_in.h"

#include "lib/clock.h"
#include "lib/log.h"

/* A client that takes no replies gives no more commands. */
#define UNSENT_MAX (256 * 1024)
#define TURN_BYTES 1024 /* least that a turn (a tick of 100 ms) must bring */
#define TURNS_MAX  10
#define TICKS_MAX  100  /* 10 s: by then 50 MiB have come over 50 Mbit/s */

void session_receiving_set(struct session *s, bool on)
{
	struct session *first;

	if (s->is_receiving == on)
		return;
	s->is_receiving = on;
	s->stalls = s->ticks = 0;
	if (on) {
		TAILQ_INSERT_TAIL(&s->in->receiving, s, receiving);
	} else {
		TAILQ_REMOVE(&s->in->receiving, s, receiving);
		first = TAILQ_FIRST(&s->in->receiving);
		if (first != NULL)
			first->turn_bytes = first->counted;
	}
}

static bool memory_is_short(const struct ingest *in)
{
	return in->memory >= in->conf.memory_bytes;
}

/* Somebody's turn has come: the message of the first in the row may come in. */
static bool turn_is_on(const struct ingest *in)
{
	return memory_is_short(in) && in->on_way == 0;
}

/* Must s wait for memory? */
static bool must_wait(const struct session *s)
{
	return s->is_receiving && memory_is_short(s->in) &&
	       !(turn_is_on(s->in) && TAILQ_FIRST(&s->in->receiving) == s);
}

/* It is not the client's fault that it was not read. */
static void waiting_set(struct session *s, bool on)
{
	uint64_t now = clock_mono_ms();

	if (on == (s->waiting_since_ms != 0))
		return;
	if (on) {
		s->waiting_since_ms = now;
		stream_deadline(s->stream, 0);
		return;
	}
	if (s->data_since_ms != 0)
		s->data_since_ms += now - s->waiting_since_ms;
	s->waiting_since_ms = 0;
	stream_deadline(s->stream, s->deadline_ms);
}

/* May s be read now? */
static bool may_read(const struct session *s)
{
	if (s->smtp == NULL)
		return true;
	return !smtp_server_full(s->smtp) && stream_unsent(s->stream) < UNSENT_MAX &&
	       s->waiting_since_ms == 0;
}

void session_pace(struct session *s)
{
	bool pause;

	if (s->stream == NULL)
		return;
	waiting_set(s, must_wait(s));
	pause = !may_read(s);
	if (pause == s->paused)
		return;
	s->paused = pause;
	if (pause)
		stream_pause(s->stream);
	else
		stream_resume(s->stream);
}

void sessions_balance(struct ingest *in)
{
	struct session *s;

	TAILQ_FOREACH(s, &in->receiving, receiving)
		session_pace(s);
}

static void give_up(struct session *s)
{
	metric_add(s->in->stage->metrics, M_STALLED, 1);
	s->why = "stalled";
	smtp_server_end(s->smtp, 451, "4.3.1",
	                "Memory is short and the message stalls, try again later",
	                "stalled");
	session_settle(s, false);
}

void sessions_turn(struct ingest *in)
{
	struct session *s = TAILQ_FIRST(&in->receiving), *next;

	if (s == NULL || !turn_is_on(in)) {
		in->judged = false;
		return;
	}
	if (!in->judged) {
		in->judged = true;
		s->turn_bytes = s->counted;
		return;
	}
	next = TAILQ_NEXT(s, receiving);
	if (++s->ticks >= TICKS_MAX && next != NULL) {
		give_up(s);
		return;
	}
	if (s->counted - s->turn_bytes >= TURN_BYTES) {
		s->turn_bytes = s->counted;
		s->stalls = 0;
		return;
	}
	if (++s->stalls >= TURNS_MAX) {
		give_up(s);
		return;
	}
	TAILQ_REMOVE(&in->receiving, s, receiving);
	TAILQ_INSERT_TAIL(&in->receiving, s, receiving);
	next = TAILQ_FIRST(&in->receiving);
	next->turn_bytes = next->counted;
	session_pace(s);
	session_pace(next);
}
