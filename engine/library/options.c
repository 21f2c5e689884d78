// Options of programs that were compiled with an older or a newer errata.h.
#include <limits.h>
#include <string.h>

#include "engine/library/library_internal.h"
#include "io/base/status.h"

er_status er_options_take(void *own, size_t bytes, const void *options, size_t least, const char *init) {
    uint64_t size = 0;
    if (!options) return er_fail(ER_EARG, "no options");
    memcpy(&size, options, sizeof size);
    if (size < least || size % 8 || size > 1 << 16)
        return er_fail(ER_EARG, "options of %llu bytes: they begin as %s", (unsigned long long)size, init);
    for (size_t at = bytes; at < size; at++)
        if (((const unsigned char *)options)[at])
            return er_fail(ER_EUNSUPPORTED,
                "an option is set that this library, %s, is too old to know (byte %zu of %llu)", er_version(),
                at, (unsigned long long)size);
    memset(own, 0, bytes);
    memcpy(own, options, size < bytes ? (size_t)size : bytes);
    return ER_OK;
}

er_status er_device_take(er_device_options *out, const char *device, const char *precision, uint64_t threads,
    uint64_t memory_limit) {
    er_device_options d = ER_DEVICE_OPTIONS_DEFAULT;
    if (device) d.kind = device;
    if (precision && !er_precision_parse(&d.precision, precision))
        return er_fail(ER_EARG, "precision '%s' is none of fp32, bf16, fp16, tf32", precision);
    if (threads > INT_MAX) return er_fail(ER_EARG, "%llu threads", (unsigned long long)threads);
    d.threads = (int)threads;
    d.memory_limit = (size_t)memory_limit;
    *out = d;
    return ER_OK;
}
