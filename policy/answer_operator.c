/* policy/answer_operator.c - what operators change: accounts, credentials, networks, lists
 *
 * Each act is one batch; Done follows its sync.
 */
#include "policy/policy.h"

#include "lib/clock.h"

void answer_account_put(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                     struct blob *body)
{
	struct policy *p = policy_of(state);
	struct kv_batch *batch = kv_batch_new();
	const char *text = "";
	Holdfast__Done__Result r = HOLDFAST__DONE__RESULT__INVALID;

	if (f->account_put->account != NULL)
		r = accounts_put(p, f->account_put, clock_wall_ms(), batch, &text);
	later_act(p, from, r, text, &batch);
}

void answer_credential_put(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                        struct blob *body)
{
	struct policy *p = policy_of(state);
	struct kv_batch *batch = kv_batch_new();
	const char *text = "";
	Holdfast__Done__Result r = credential_put(p, f->credential_put, batch, &text);

	later_act(p, from, r, text, &batch);
}

void answer_source_put(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                    struct blob *body)
{
	struct policy *p = policy_of(state);
	struct kv_batch *batch = kv_batch_new();
	const char *text = "";
	Holdfast__Done__Result r = sources_put(p, f->source_put, batch, &text);

	later_act(p, from, r, text, &batch);
}

void answer_list_put(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                  struct blob *body)
{
	struct policy *p = policy_of(state);
	struct kv_batch *batch = kv_batch_new();
	const char *text = "";
	Holdfast__Done__Result r = HOLDFAST__DONE__RESULT__INVALID;

	if (f->list_put->entry != NULL)
		r = list_put(p, f->list_put, clock_wall_ms(), batch, &text);
	later_act(p, from, r, text, &batch);
}

void answer_list_remove(void *state, const struct bus_from *from, const Holdfast__Frame *f,
                     struct blob *body)
{
	struct policy *p = policy_of(state);
	struct kv_batch *batch = kv_batch_new();
	const char *text = "";
	Holdfast__Done__Result r = list_remove(p, f->list_remove, clock_wall_ms(), batch, &text);

	later_act(p, from, r, text, &batch);
}
