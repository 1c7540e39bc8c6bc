/* plumb version: what this program is and how it was built. */
#include "cli/cli.h"
#include "cli/options.h"

#include "version.h" /* generated: PLUMB_COMMIT */

#include <stdio.h>

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown"
#endif

#if defined(__x86_64__)
#define ARCHITECTURE "x86_64"
#elif defined(__aarch64__)
#define ARCHITECTURE "aarch64"
#else
#define ARCHITECTURE "other"
#endif

static void write_pair(JsonWriter *w, const char *key, const char *value)
{
    json_write_key(w, key);
    json_write_string(w, value);
}

static int run_version(Cli *cli)
{
    if (!cli_json(cli)) {
        printf("plumb %s", PLUMB_VERSION);
        if (*PLUMB_COMMIT)
            printf(" (%s)", PLUMB_COMMIT);
        putchar('\n');
        return 0;
    }
    JsonWriter w;
    json_write_init(&w, 0, 4096);
    json_write_object_begin(&w);
    write_pair(&w, "version", PLUMB_VERSION);
    if (*PLUMB_COMMIT)
        write_pair(&w, "commit", PLUMB_COMMIT);
    write_pair(&w, "compiler", COMPILER);
    write_pair(&w, "architecture", ARCHITECTURE);
    json_write_object_end(&w);
    const int code = cli_print_json(cli, &w);
    json_write_deinit(&w);
    return code;
}

static const CliOption options[] = {CLI_OPTION_JSON, {0}};

const CliCommand cmd_version = {
    .name = "version",
    .help = "print the version",
    .about = "With --json also the commit, the compiler and the architecture.",
    .options = options,
    .diagnostic = true,
    .run = run_version,
};
