/* Runs a fuzz target over files, for machines without a fuzzer and for every `make test`: first over
 * no bytes at all, then over each file given and each file of each directory given. Every input is
 * handed over in a block of exactly its size, so that the address sanitizer sees one byte too many. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(size ? size : 1);
    if (!f || !data || fread(data, 1, size, f) != size) {
        fprintf(stderr, "replay: cannot read '%s'\n", path);
        return 1;
    }
    fclose(f);
    fprintf(stderr, "replay: %s (%zu bytes)\n", path, size); /* the last line names a crash's input */
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

static int replay(const char *path, int *files)
{
    struct stat s;
    if (stat(path, &s) != 0) {
        fprintf(stderr, "replay: no such file: '%s'\n", path);
        return 1;
    }
    if (!S_ISDIR(s.st_mode)) {
        (*files)++;
        return replay_file(path, (size_t)s.st_size);
    }
    struct dirent **entries;
    const int n = scandir(path, &entries, NULL, alphasort);
    int failed = n < 0;
    for (int i = 0; i < n; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            failed |= replay(name, files);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    return failed;
}

int main(int argc, char **argv)
{
    int files = 0, failed = 0;
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++)
        failed |= replay(argv[i], &files);
    if (files == 0) {
        fprintf(stderr, "replay: no files to replay\n");
        return 1;
    }
    printf("replayed %d files\n", files);
    return failed;
}
