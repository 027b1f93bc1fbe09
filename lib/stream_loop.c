/* lib/stream_loop.c - what all streams of one loop share
 *
 * One list of streams that have something to do, run once a turn just before
 * the poll, so that all replies of a turn leave in one system call; and the
 * read buffers, which are in use only during a callback.  Lives as long as any
 * stream of the loop.  A loop's streams belong to one thread.
 */
#include "lib/stream_private.h"

#include <signal.h>
#include "lib/mem.h"

static _Thread_local struct stream_loop *loops;

/* Streams that become ready meanwhile have their turn in the next one. */
static void on_prepare(uv_prepare_t *prepare)
{
	struct stream_loop *sl = prepare->data;
	struct stream *s;

	sl->turn++;
	while ((s = TAILQ_FIRST(&sl->ready)) != NULL && s->ready_turn != sl->turn) {
		stream_unready(s);
		stream_run(s);
	}
	if (TAILQ_EMPTY(&sl->ready)) {
		uv_prepare_stop(&sl->prepare);
		uv_idle_stop(&sl->idle);
	}
}

/* Its being active is its whole effect: it keeps the poll from waiting. */
static void on_idle(uv_idle_t *idle)
{
}

void stream_make_ready(struct stream *s)
{
	struct stream_loop *sl = s->sl;

	if (s->is_ready || s->state == STREAM_CLOSED)
		return;
	if (TAILQ_EMPTY(&sl->ready)) {
		uv_prepare_start(&sl->prepare, on_prepare);
		uv_idle_start(&sl->idle, on_idle);
	}
	s->is_ready = true;
	s->ready_turn = sl->turn;
	TAILQ_INSERT_TAIL(&sl->ready, s, link);
}

void stream_unready(struct stream *s)
{
	if (!s->is_ready)
		return;
	s->is_ready = false;
	TAILQ_REMOVE(&s->sl->ready, s, link);
}

static struct stream_loop *new_loop(uv_loop_t *loop)
{
	struct stream_loop *sl = xmalloc(sizeof(*sl));

	/* libuv sends with writev(): a peer that is gone must be an error. */
	signal(SIGPIPE, SIG_IGN);
	sl->loop = loop;
	sl->refs = 0;
	sl->turn = 1;
	TAILQ_INIT(&sl->ready);
	uv_prepare_init(loop, &sl->prepare);
	uv_idle_init(loop, &sl->idle);
	sl->prepare.data = sl;
	sl->idle.data = sl;
	sl->handles = 2;
	sl->next = loops;
	loops = sl;
	return sl;
}

struct stream_loop *stream_loop_get(uv_loop_t *loop)
{
	struct stream_loop *sl = loops;

	while (sl != NULL && sl->loop != loop)
		sl = sl->next;
	if (sl == NULL)
		sl = new_loop(loop);
	sl->refs++;
	return sl;
}

static void on_handle_closed(uv_handle_t *h)
{
	struct stream_loop *sl = h->data;

	if (--sl->handles == 0)
		xfree(sl);
}

void stream_loop_put(struct stream_loop *sl)
{
	struct stream_loop **at = &loops;

	if (--sl->refs > 0)
		return;
	while (*at != sl)
		at = &(*at)->next;
	*at = sl->next;
	uv_close((uv_handle_t *)&sl->prepare, on_handle_closed);
	uv_close((uv_handle_t *)&sl->idle, on_handle_closed);
}
