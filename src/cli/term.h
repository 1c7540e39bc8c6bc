/* What the terminal can do. Never colour, spinner or prompt when it is not one. Any thread. */
#ifndef PLUMB_CLI_TERM_H
#define PLUMB_CLI_TERM_H

#include <stdbool.h>

bool term_is_tty(int fd);

/* Width: of the terminal, else COLUMNS, else 80; never below 20. */
int term_columns(int fd);

/* Colours and cursor movements may be written to fd: a terminal that is not "dumb", without NO_COLOR; or
 * CLICOLOR_FORCE set (colours only: see term_is_tty for movements). */
bool term_colour(int fd);

/* The locale's characters are UTF-8, so bars and quotes need not be ASCII. */
bool term_utf8(void);

#endif
