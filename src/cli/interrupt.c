/* Blocked signals, asked for. */
#include "cli/interrupt.h"

#include <stddef.h>
#include <time.h>

static void ending_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}

void interrupts_hold(Interrupts *in)
{
    sigset_t set;
    ending_signals(&set);
    in->signal = 0;
    pthread_sigmask(SIG_BLOCK, &set, &in->before);
}

void interrupts_release(Interrupts *in)
{
    pthread_sigmask(SIG_SETMASK, &in->before, NULL);
}

int interrupts_seen(Interrupts *in)
{
    sigset_t set;
    ending_signals(&set);
    if (in->signal == 0) {
        const int got = sigtimedwait(&set, NULL, &(struct timespec){0});
        in->signal = got > 0 ? got : 0;
    }
    return in->signal;
}

int interrupt_exit_code(int signal_number)
{
    return 128 + signal_number;
}
