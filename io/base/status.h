// The error pattern of the whole project.
//
// Every fallible function returns er_status; results go through out-parameters, which come first and are
// written only on success. The innermost failure calls er_fail() once; callers pass the code up untouched. A
// message is one line, lower case, and names the object and the number ("model.safetensors: tensor 'x' ends
// at 40, file at 36").
//
//     er_status rc = ER_OK; float *x = NULL;
//     if (!(x = malloc(n * sizeof *x))) ER_FAIL(ER_ENOMEM, "%zu floats", n);
//     ER_TRY(er_io_read(f, x, n));
//     *out = x; x = NULL;
// out:
//     free(x); return rc;
#ifndef ER_STATUS_H
#define ER_STATUS_H
#ifdef __cplusplus
extern "C" {
#endif

// engine/errata.h has the type too, and includes nothing of ours; a test compares them.
#ifndef ER_STATUS_TYPES
#define ER_STATUS_TYPES
typedef enum er_status {
    ER_OK = 0,
    ER_ENOMEM,        // host or device memory exhausted                                   exit 1
    ER_EIO,           // the system refused to read or write, or an input changed in use   exit 74
    ER_ENOENT,        // an input file or folder does not exist                            exit 66
    ER_EFORMAT,       // input bytes are not what they claim to be                         exit 65
    ER_EUNSUPPORTED,  // well-formed input that errata does not handle                     exit 65
    ER_EARG,          // the caller's request makes no sense                               exit 2
    ER_ECONFIG,       // a settings file or hyper-parameter is wrong                       exit 78
    ER_EOUTPUT,       // the output cannot be created or is in the way                     exit 73
    ER_ENUMERIC,      // not positive definite, NaN, or a residual out of bounds           exit 70
    ER_EDEVICE,       // the device cannot be used, or it failed                           exit 69
    ER_ENODEVICE,     // this machine has no such device, or this build no code for one       exit 69
    ER_EINTERRUPTED,  // asked to stop; what was finished is kept                          exit 75
} er_status;
#endif

// Records the message for this thread (with file and line kept apart) and returns `code`.
er_status er_fail_(const char *file, int line, er_status code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
#define er_fail(...) er_fail_(__FILE__, __LINE__, __VA_ARGS__)

// The message alone, for the user, of the last failure in this thread; "" when nothing failed yet. Public, as
// is the next.
const char *er_last_error(void) __attribute__((visibility("default")));
int er_exit_code(er_status rc) __attribute__((visibility("default")));  // the documented process exit code
const char *er_last_error_place(void);                                  // "file.c:123", for --verbose
void er_error_clear(void);  // "" again, for whoever has got over what failed

// For functions with one `out:` label and a local `er_status rc`: every resource starts NULL, `out:` frees
// them all.
#define ER_TRY(call)                                                                                         \
    do {                                                                                                     \
        if ((rc = (call)) != ER_OK) goto out;                                                                \
    } while (0)
#define ER_FAIL(...)                                                                                         \
    do {                                                                                                     \
        rc = er_fail(__VA_ARGS__);                                                                           \
        goto out;                                                                                            \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
