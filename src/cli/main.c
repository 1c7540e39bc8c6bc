/* The program: hands its arguments to the command table. */
#include "cli/cli.h"

#include <locale.h>
#include <signal.h>

int main(int argc, char **argv)
{
    /* Characters of the terminal, but never the locale's decimal comma. */
    setlocale(LC_CTYPE, "");
    /* A closed pipe is noticed as EPIPE where output is written, and ends quietly (cli.c). */
    signal(SIGPIPE, SIG_IGN);
    return cli_main(cli_commands, argc, argv);
}
