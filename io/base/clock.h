// The one clock of rates and durations.
#ifndef ER_CLOCK_H
#define ER_CLOCK_H
double er_clock(void);  // seconds of the monotonic clock
#endif
