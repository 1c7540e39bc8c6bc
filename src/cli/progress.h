/* Progress of something counted in bytes, as a bar, as lines, or as JSON Lines.
 *
 * A bar is redrawn at most ten times a second and fits the terminal's width; lines come every 10 s, or every
 * 5 % if a second has passed. The rate is the mean of the last ten seconds; no time left is shown in the
 * first three. Bars and lines go to stderr, JSON to stdout. One thread at a time. */
#ifndef PLUMB_CLI_PROGRESS_H
#define PLUMB_CLI_PROGRESS_H

#include "cli/cli.h"

#include <stdint.h>

typedef enum { PROGRESS_NONE, PROGRESS_PLAIN, PROGRESS_BAR, PROGRESS_JSON } ProgressMode;

#define CLI_OPTION_PROGRESS                                                                          \
    {.name = "progress", .kind = OPT_STRING, .value = "HOW", .choices = "auto plain bar json none",  \
     .rare = true, .help = "show progress: auto, plain, bar, json, none (default auto: a bar on a terminal)"}

/* By --progress of a command that has CLI_OPTION_PROGRESS and CLI_OPTION_QUIET (NULL: by what stderr is). */
ProgressMode progress_mode(const Cli *cli);
ProgressMode progress_mode_auto(void);

#define PROGRESS_SAMPLES 21

typedef struct {
    ProgressMode mode;
    const char *label;  /* borrowed */
    const char *digest; /* for JSON; borrowed, may be NULL */
    const char *status; /* of the last update */
    int64_t begin_ns, drawn_ns;
    double drawn_share; /* of the last line, 0..1 */
    bool bar_shown;
    struct {
        int64_t ns, done;
    } samples[PROGRESS_SAMPLES]; /* a ring, one each half second */
    int64_t sample_count;
} Progress;

void progress_init(Progress *p, ProgressMode mode, const char *label, const char *digest);
/* `status` is a word ("fetching"); when it changes, measuring begins anew. total 0: unknown. */
void progress_update(Progress *p, const char *status, int64_t done, int64_t total);
/* Take the bar away. */
void progress_finish(Progress *p);

/* "93 MB", "1.2 GB", "812 B" into buf. */
void format_bytes(char *buf, size_t size, double bytes);

#endif
