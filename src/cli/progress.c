/* Progress lines. */
#include "cli/progress.h"

#include "base/clock.h"
#include "cli/term.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SECOND 1000000000LL

ProgressMode progress_mode_auto(void)
{
    return term_is_tty(STDERR_FILENO) ? PROGRESS_BAR : PROGRESS_PLAIN;
}

ProgressMode progress_mode(const Cli *cli)
{
    static const char *const names[] = {"none", "plain", "bar", "json"};
    const char *how = cli_string(cli, "progress", "auto");
    for (int k = 0; k < 4; k++)
        if (strcmp(how, names[k]) == 0)
            return (ProgressMode)k;
    if (cli_flag(cli, "quiet"))
        return PROGRESS_NONE;
    return cli_json(cli) ? PROGRESS_JSON : progress_mode_auto();
}

void format_bytes(char *buf, size_t size, double bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    int unit = 0;
    while (bytes >= 999.5 && unit < 4) {
        bytes /= 1000;
        unit++;
    }
    snprintf(buf, size, "%.*f %s", bytes < 9.95 && unit > 0 ? 1 : 0, bytes, units[unit]);
}

void progress_init(Progress *p, ProgressMode mode, const char *label, const char *digest)
{
    *p = (Progress){.mode = mode, .label = label, .digest = digest};
}

static void take_sample(Progress *p, int64_t now, int64_t done)
{
    const int64_t last = p->sample_count - 1;
    if (last >= 0 && now - p->samples[last % PROGRESS_SAMPLES].ns < SECOND / 2)
        return;
    p->samples[p->sample_count % PROGRESS_SAMPLES].ns = now;
    p->samples[p->sample_count % PROGRESS_SAMPLES].done = done;
    p->sample_count++;
}

/* Bytes a second over what the samples span; 0: not known yet. */
static double rate_of(const Progress *p, int64_t now, int64_t done)
{
    const int64_t first = p->sample_count > PROGRESS_SAMPLES ? p->sample_count - PROGRESS_SAMPLES : 0;
    const int64_t ns = now - p->samples[first % PROGRESS_SAMPLES].ns;
    const int64_t bytes = done - p->samples[first % PROGRESS_SAMPLES].done;
    return ns > SECOND / 10 && bytes > 0 ? (double)bytes * 1e9 / (double)ns : 0;
}

static void format_seconds(char *buf, size_t size, double s)
{
    if (s < 60)
        snprintf(buf, size, "%.0f s", s);
    else if (s < 3600)
        snprintf(buf, size, "%d min %02d s", (int)s / 60, (int)s % 60);
    else
        snprintf(buf, size, "%d h %02d min", (int)(s / 3600), (int)(s / 60) % 60);
}

/* "  45 %  42 MB/93 MB  12 MB/s  4 s left" */
static void describe(char *buf, size_t size, double share, int64_t done, int64_t total, double rate, double eta)
{
    char a[24], b[24], r[24], e[32];
    format_bytes(a, sizeof a, (double)done);
    int n = 0;
    if (total > 0) {
        format_bytes(b, sizeof b, (double)total);
        n = snprintf(buf, size, "%3.0f %%  %s of %s", share * 100, a, b);
    } else {
        n = snprintf(buf, size, "%s", a);
    }
    if (rate > 0 && n > 0 && (size_t)n < size) {
        format_bytes(r, sizeof r, rate);
        n += snprintf(buf + n, size - (size_t)n, "  %s/s", r);
    }
    if (eta >= 0 && n > 0 && (size_t)n < size) {
        format_seconds(e, sizeof e, eta);
        snprintf(buf + n, size - (size_t)n, "  %s left", e);
    }
}

static void draw_bar(Progress *p, double share, const char *numbers)
{
    char line[1600], head[200];
    const bool utf8 = term_utf8();
    snprintf(head, sizeof head, "%.60s  %.20s", p->label, p->status);
    const int columns = term_columns(STDERR_FILENO) - 1;
    int room = columns - (int)strlen(head) - (int)strlen(numbers) - 4;
    room = room > 40 ? 40 : room;
    int n = snprintf(line, sizeof line, "\r%.*s", columns, head);
    if (room >= 5 && share >= 0) {
        const int full = (int)(share * room + 0.5);
        n += snprintf(line + n, sizeof line - (size_t)n, "  ");
        for (int k = 0; k < room; k++)
            n += snprintf(line + n, sizeof line - (size_t)n, "%s",
                          k < full ? (utf8 ? "\xe2\x96\x88" : "#") : (utf8 ? "\xe2\x96\x91" : "."));
    }
    if ((int)(strlen(head) + strlen(numbers)) + 2 <= columns)
        n += snprintf(line + n, sizeof line - (size_t)n, "  %s", numbers);
    snprintf(line + n, sizeof line - (size_t)n, "\033[K");
    fputs(line, stderr);
    fflush(stderr);
    p->bar_shown = true;
}

static void print_json_line(const Progress *p, int64_t done, int64_t total, double rate, double eta)
{
    JsonWriter w;
    json_write_init(&w, 0, 4096);
    json_write_object_begin(&w);
    json_write_key(&w, "status");
    json_write_string(&w, p->status);
    if (p->digest) {
        json_write_key(&w, "digest");
        json_write_string(&w, p->digest);
    }
    json_write_key(&w, "total");
    json_write_int(&w, total);
    json_write_key(&w, "completed");
    json_write_int(&w, done);
    json_write_key(&w, "rate");
    json_write_double(&w, rate);
    json_write_key(&w, "eta");
    if (eta >= 0)
        json_write_double(&w, eta);
    else
        json_write_null(&w);
    json_write_object_end(&w);
    if (json_write_finish(&w, NULL) == ST_OK) {
        puts(w.buf);
        fflush(stdout);
    }
    json_write_deinit(&w);
}

/* Is it time to show something? */
static bool is_due(const Progress *p, int64_t now, double share)
{
    const int64_t since = now - p->drawn_ns;
    if (p->drawn_ns == 0)
        return true;
    if (p->mode == PROGRESS_BAR)
        return since >= SECOND / 10;
    if (p->mode == PROGRESS_JSON)
        return since >= SECOND / 2;
    return since >= 10 * SECOND || (since >= SECOND && share - p->drawn_share >= 0.05);
}

void progress_update(Progress *p, const char *status, int64_t done, int64_t total)
{
    if (p->mode == PROGRESS_NONE)
        return;
    const int64_t now = clock_ns();
    if (!p->status || strcmp(p->status, status) != 0) {
        p->status = status;
        p->begin_ns = now;
        p->drawn_ns = 0;
        p->drawn_share = 0;
        p->sample_count = 0;
    }
    const double share = total > 0 ? (double)done / (double)total : -1;
    take_sample(p, now, done);
    if (!is_due(p, now, share))
        return;
    p->drawn_ns = now;
    p->drawn_share = share;
    const double rate = rate_of(p, now, done);
    const double eta = rate > 0 && total > 0 && now - p->begin_ns >= 3 * SECOND ? (double)(total - done) / rate : -1;
    char numbers[160];
    describe(numbers, sizeof numbers, share, done, total, rate, eta);
    if (p->mode == PROGRESS_BAR)
        draw_bar(p, share, numbers);
    else if (p->mode == PROGRESS_JSON)
        print_json_line(p, done, total, rate, eta);
    else
        fprintf(stderr, "%s: %s %s\n", p->label, p->status, numbers + strspn(numbers, " "));
}

void progress_finish(Progress *p)
{
    if (p->bar_shown)
        fputs("\r\033[K", stderr);
    p->bar_shown = false;
}
