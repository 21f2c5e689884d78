// How many threads OpenMP and OpenBLAS take is a setting of the calling thread and of the process. A device
// changes both; a library gives them back to its host.
#ifndef ER_HOST_THREADS_H
#define ER_HOST_THREADS_H
#include "io/base/status.h"

typedef struct er_host_threads er_host_threads;
// Before a thread opens its devices, and when it has closed them. OpenBLAS's setting comes back when the last
// that keeps one is through.
er_status er_host_threads_keep(er_host_threads **out);
void er_host_threads_put_back(er_host_threads *kept);  // frees; NULL is fine
#endif
