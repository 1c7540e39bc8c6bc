/* One child process, two pipes, a poll loop. */
#include "store/child.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 100
#define TERM_NS 2000000000

typedef struct {
    const ChildParams *params;
    ChildResult *result;
    pid_t pid;
    int out, messages; /* our ends of the pipes; -1: closed or none */
} Child;

/* ---- Starting ---- */

/* The environment with TMPDIR = dir. The array is owned, its texts are not, but for tmpdir. */
static char **make_environment(char *tmpdir)
{
    size_t n = 0, used = 0;
    while (environ[n])
        n++;
    char **env = mem_alloc(n + 2, sizeof *env);
    if (!env)
        return NULL;
    for (size_t k = 0; k < n; k++)
        if (strncmp(environ[k], "TMPDIR=", 7) != 0)
            env[used++] = environ[k];
    env[used] = tmpdir;
    return env;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Signals as a new program expects them, whatever this one ignores or blocks. */
static int set_attributes(posix_spawnattr_t *attr)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigemptyset(&all);
    for (const int *s = (const int[]){SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT, 0}; *s; s++)
        sigaddset(&all, *s);
    int e = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    e = e ? e : posix_spawnattr_setpgroup(attr, 0);
    e = e ? e : posix_spawnattr_setsigdefault(attr, &all);
    return e ? e : posix_spawnattr_setsigmask(attr, &none);
}

/* `out` and `messages`: the child's ends. */
static int spawn_with(Child *c, int out, int messages, char **env)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int e = posix_spawn_file_actions_init(&actions);
    if (e)
        return e;
    if ((e = posix_spawnattr_init(&attr)) != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return e;
    }
    e = set_attributes(&attr);
    e = e ? e : posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    e = e ? e : posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    e = e ? e : posix_spawn_file_actions_adddup2(&actions, messages, STDERR_FILENO);
    e = e ? e : posix_spawn_file_actions_addchdir_np(&actions, c->params->dir);
    e = e ? e : posix_spawnp(&c->pid, c->params->argv[0], &actions, &attr,
                             (char **)(uintptr_t)c->params->argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return e;
}

MUST_USE static Status start(Child *c, Error *err)
{
    Status st = ST_OK;
    int out[2] = {-1, -1}, messages[2] = {-1, -1};
    ByteBuf tmpdir = {0};
    char **env = NULL;
    if (bytebuf_printf(&tmpdir, "TMPDIR=%s", c->params->dir) != ST_OK || !bytebuf_cstr(&tmpdir) ||
        !(env = make_environment((char *)tmpdir.data)))
        TRY(error_set(err, ST_NOMEM, "no memory to start %s", c->params->argv[0]));
    if (pipe2(messages, O_CLOEXEC) != 0 || (c->params->on_output && pipe2(out, O_CLOEXEC) != 0))
        TRY(error_errno(err, "cannot make a pipe"));
    if (c->params->on_output)
        fcntl(out[0], F_SETPIPE_SZ, 1 << 20); /* fewer switches; the default does as well */
    errno = spawn_with(c, c->params->on_output ? out[1] : messages[1], messages[1], env);
    if (errno != 0)
        TRY(error_errno(err, "cannot start '%s'", c->params->argv[0]));
    c->messages = messages[0];
    c->out = out[0];
    messages[0] = out[0] = -1;
out:
    close_fd(&out[0]);
    close_fd(&out[1]);
    close_fd(&messages[0]);
    close_fd(&messages[1]);
    mem_free(env);
    bytebuf_free(&tmpdir);
    return st;
}

/* ---- Watching ---- */

/* Keep the end of what the child says. */
MUST_USE static Status keep_text(ByteBuf *text, const uint8_t *data, size_t n, Error *err)
{
    if (text->count + n > CHILD_TEXT_MAX && text->count > CHILD_TEXT_MAX / 2) {
        const size_t drop = text->count - CHILD_TEXT_MAX / 2;
        memmove(text->data, text->data + drop, text->count - drop);
        text->count -= drop;
    }
    return bytebuf_append(text, data, n) == ST_OK ? ST_OK
                                                 : error_set(err, ST_NOMEM, "no memory for a program's messages");
}

/* Read what is there; closes *fd at its end. */
MUST_USE static Status drain(Child *c, int *fd, Error *err)
{
    uint8_t data[65536];
    const size_t room = fd == &c->out ? sizeof data : CHILD_TEXT_MAX / 4;
    const ssize_t n = read(*fd, data, room);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return ST_OK;
    if (n <= 0) {
        close_fd(fd);
        return ST_OK;
    }
    if (fd == &c->out)
        return c->params->on_output(c->params->arg, data, (size_t)n, err);
    return keep_text(&c->result->text, data, (size_t)n, err);
}

MUST_USE static Status watch(Child *c, Error *err)
{
    Status st = ST_OK;
    int64_t next_tick = clock_ns();
    while (c->out >= 0 || c->messages >= 0) {
        struct pollfd fds[] = {{.fd = c->out, .events = POLLIN}, {.fd = c->messages, .events = POLLIN}};
        const int ready = poll(fds, 2, TICK_MS);
        if (ready < 0 && errno != EINTR)
            TRY(error_errno(err, "cannot wait for '%s'", c->params->argv[0]));
        if (ready > 0 && fds[0].revents)
            TRY(drain(c, &c->out, err));
        if (ready > 0 && fds[1].revents)
            TRY(drain(c, &c->messages, err));
        if (c->params->tick && clock_ns() >= next_tick) {
            next_tick = clock_ns() + (int64_t)TICK_MS * 1000000;
            if (!c->params->tick(c->params->arg))
                TRY(error_set(err, ST_CANCELLED, "interrupted"));
        }
    }
out:
    return st;
}

/* ---- Ending ---- */

static int exit_code_of(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* True when the child is gone. */
static bool reap(Child *c, int flags)
{
    int status = 0;
    pid_t got;
    do
        got = waitpid(c->pid, &status, flags);
    while (got < 0 && errno == EINTR);
    if (got == c->pid)
        c->result->exit_code = exit_code_of(status);
    return got != 0;
}

static void end(Child *c)
{
    const int64_t deadline = clock_ns() + TERM_NS;
    kill(-c->pid, SIGTERM);
    while (!reap(c, WNOHANG)) {
        if (clock_ns() > deadline) {
            kill(-c->pid, SIGKILL);
            reap(c, 0);
            break;
        }
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    kill(-c->pid, SIGKILL); /* what it may have left behind */
}

Status child_run(const ChildParams *p, ChildResult *result, Error *err)
{
    *result = (ChildResult){.exit_code = -1};
    Child c = {.params = p, .result = result, .out = -1, .messages = -1};
    Status st = start(&c, err);
    if (st != ST_OK)
        return st;
    st = watch(&c, err);
    close_fd(&c.out);
    close_fd(&c.messages);
    if (st != ST_OK)
        end(&c);
    else
        reap(&c, 0);
    ByteBuf *const text = &result->text;
    while (text->count > 0 && text->data[text->count - 1] == '\n')
        text->count--;
    if (st == ST_OK && !bytebuf_cstr(text))
        st = error_set(err, ST_NOMEM, "no memory for a program's messages");
    return st;
}
