/* SHA-256, against the examples of FIPS 180-4. */
#include "base/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define OF_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define OF_MILLION_A "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
#define OF_NOTHING "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void published_examples(void **state)
{
    (void)state;
    char hex[SHA256_HEX_SIZE];
    assert_int_equal(digest_bytes(hex, "abc", 3, NULL), ST_OK);
    assert_string_equal(hex, OF_ABC);
    assert_int_equal(digest_bytes(hex, "", 0, NULL), ST_OK);
    assert_string_equal(hex, OF_NOTHING);
}

static void pieces_give_the_digest_of_the_whole(void **state)
{
    (void)state;
    char piece[1000], hex[SHA256_HEX_SIZE];
    memset(piece, 'a', sizeof piece);
    Digest *d = NULL;
    assert_int_equal(digest_create(&d, NULL), ST_OK);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(digest_add(d, piece, sizeof piece, NULL), ST_OK);
    assert_int_equal(digest_finish(d, hex, NULL), ST_OK);
    assert_string_equal(hex, OF_MILLION_A);
    digest_destroy(d);
}

static void file_of_a_million_bytes(void **state)
{
    (void)state;
    char path[] = "/tmp/plumb-test-digest-XXXXXX", hex[SHA256_HEX_SIZE];
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    for (int i = 0; i < 1000000; i++)
        fputc('a', f);
    fclose(f);
    assert_int_equal(digest_file(hex, path, NULL), ST_OK);
    assert_string_equal(hex, OF_MILLION_A);
    unlink(path);
}

static void unreadable_files_are_errors_that_name_the_path(void **state)
{
    (void)state;
    char hex[SHA256_HEX_SIZE];
    Error err = {0};
    assert_int_equal(digest_file(hex, "/nonexistent/file", &err), ST_NOTFOUND);
    assert_non_null(strstr(err.msg, "/nonexistent/file"));
    assert_int_equal(digest_file(hex, "/tmp", &err), ST_IO);
    assert_non_null(strstr(err.msg, "/tmp"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_examples),
        cmocka_unit_test(pieces_give_the_digest_of_the_whole),
        cmocka_unit_test(file_of_a_million_bytes),
        cmocka_unit_test(unreadable_files_are_errors_that_name_the_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
