// The one clock of rates and durations.
#ifndef ER_CLOCK_H
#define ER_CLOCK_H

#ifdef __cplusplus
extern "C" {
#endif
double er_clock(void);  // seconds of the monotonic clock
#ifdef __cplusplus
}
#endif
#endif
