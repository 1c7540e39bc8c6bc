/* Time for measuring and for bounded waits. Any thread; cannot fail. */
#ifndef PLUMB_BASE_CLOCK_H
#define PLUMB_BASE_CLOCK_H

#include <stdint.h>

/* Nanoseconds since some fixed point; never goes back, does not follow changes of the wall clock. */
int64_t clock_ns(void);

#endif
