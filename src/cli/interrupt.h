/* Ctrl-C during long work, without handlers and without state of the process beyond the signal mask: the
 * signals are blocked, and the work asks now and then whether one has come. One thread at a time. */
#ifndef PLUMB_CLI_INTERRUPT_H
#define PLUMB_CLI_INTERRUPT_H

#include <signal.h>

typedef struct {
    sigset_t before;
    int signal; /* the first one seen, 0: none yet */
} Interrupts;

/* SIGINT, SIGTERM and SIGHUP wait from here to interrupts_release. One that is still unseen then takes its
 * usual effect. */
void interrupts_hold(Interrupts *in);
void interrupts_release(Interrupts *in);

/* The signal that has come since interrupts_hold, 0: none. */
int interrupts_seen(Interrupts *in);

/* Exit code of a program ended by that signal: 130, 143, 129. */
int interrupt_exit_code(int signal_number);

#endif
