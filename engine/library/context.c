// Contexts: who hears a call and who may stop it, and what a thread gets back when its call ends.
#include <stdlib.h>
#include <string.h>

#include "engine/library/library_internal.h"
#include "io/base/status.h"

struct er_context {
    er_listener listener;
    _Atomic(int) busy;
};

const char *er_version(void) { return ERRATA_VERSION; }

er_status er_context_new(er_context **out) {
    if (!out) return er_fail(ER_EARG, "er_context_new: nowhere to put the context");
    er_context *c = calloc(1, sizeof *c);
    if (!c) return er_fail(ER_ENOMEM, "a context");
    *out = c;
    return ER_OK;
}

void er_context_free(er_context *c) { free(c); }

void er_context_on_log(er_context *c, er_log_level most, er_log_fn fn, void *user) {
    if (!c) return;
    atomic_store(&c->listener.level, (int)most);
    c->listener.log = fn;
    c->listener.log_user = user;
}

void er_context_on_progress(er_context *c, er_progress_fn fn, void *user) {
    if (!c) return;
    c->listener.progress = fn;
    c->listener.progress_user = user;
}

void er_context_stop(er_context *c) {
    if (c) atomic_store(&c->listener.stop, 1);
}

void er_context_resume(er_context *c) {
    if (c) atomic_store(&c->listener.stop, 0);
}

// The thread's own, but for numbers: 0.5 is written 0.5. NULL when memory is out.
static locale_t copy_locale(void) {
    locale_t copy = duplocale(uselocale((locale_t)0));
    locale_t made = copy ? newlocale(LC_NUMERIC_MASK, "C", copy) : (locale_t)0;
    if (copy && !made) freelocale(copy);
    return made;
}

er_status er_call_begin(er_call *call, er_context *c) {
    er_status rc = ER_OK;
    memset(call, 0, sizeof *call);
    if (c && atomic_exchange(&c->busy, 1)) return er_fail(ER_EARG, "the context serves another call");
    if (!(call->numbers = copy_locale())) ER_FAIL(ER_ENOMEM, "a locale");
    ER_TRY(er_host_threads_keep(&call->threads));
    call->context = c;
    call->locale = uselocale(call->numbers);
    call->before = er_listener_set(c ? &c->listener : &call->silent);
    call->outer = er_warnings_swap(NULL);
    return ER_OK;
out:
    if (call->numbers) freelocale(call->numbers);
    if (c) atomic_store(&c->busy, 0);
    return rc;
}

er_status er_call_end(er_call *call, er_status rc) {
    if (rc == ER_OK) er_error_clear();  // of what failed on the way and was got over
    (void)er_warnings_swap(call->outer);
    (void)er_listener_set(call->before);
    (void)uselocale(call->locale);
    freelocale(call->numbers);
    er_host_threads_put_back(call->threads);
    if (call->context) atomic_store(&call->context->busy, 0);
    return rc;
}
