// Private to io/: text into new memory, and the system's words for errno.
#ifndef ER_FORMAT_H
#define ER_FORMAT_H

// printf into new memory, which the caller frees; NULL when memory is out.
char *er_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

// "no space left on device"; valid until the thread's next call.
const char *er_errno_text(int e);
#endif
