/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Lines that fit a narrow terminal: no line is longer than it, no byte but blanks is lost, and the
 * sequences of colours take no room and stay whole. A text that is too narrow to wrap comes out as
 * it went in.
 */

#include "fds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "ctl/wrap.h"

static void expect(const char *text, unsigned width, unsigned indent, const char *wrapped) {
        _cleanup_(freep) char *printed = NULL;
        size_t size;
        FILE *out = open_memstream(&printed, &size);

        assert_non_null(out);
        wrap_print(out, text, width, indent);
        assert_int_equal(fclose(out), 0);
        assert_string_equal(printed, wrapped);
}

static void test_wrap_at_blanks(void **state) {
        expect("", 40, 4, "");
        expect("short\n\n  line\n", 40, 4, "short\n\n  line\n");
        expect("Head: aaaa bbbb cccc dddd eeee ffff\nnext\n", 30, 6,
               "Head: aaaa bbbb cccc dddd eeee\n      ffff\nnext\n");
        expect("Head: aaaa bbbb cccc dddd eeeee fff\n", 30, 6,
               "Head: aaaa bbbb cccc dddd\n      eeeee fff\n");
        expect("      To do: aaaa bbbb cccc dddd eeee\n", 30, 6,
               "      To do: aaaa bbbb cccc\n      dddd eeee\n");
}

static void test_wrap_long_words(void **state) {
        expect("ab: 0123456789012345678901234567890123456789\n", 24, 4,
               "ab: 01234567890123456789\n    01234567890123456789\n");
        expect("ab: is 012345678901234567890123\n", 24, 4,
               "ab: is\n    01234567890123456789\n    0123\n");
}

static void test_wrap_colours(void **state) {
        expect("ab: \033[31maaaaaaaaaa\033[0m \033[32mbbbbbbbbb\033[0m\n", 24, 4,
               "ab: \033[31maaaaaaaaaa\033[0m \033[32mbbbbbbbbb\033[0m\n");
        expect("ab: \033[31maaaaaaaaaa\033[0m \033[32mbbbbbbbbbb\033[0m\n", 24, 4,
               "ab: \033[31maaaaaaaaaa\033[0m\n    \033[32mbbbbbbbbbb\033[0m\n");
}

static void test_wrap_colours_of_long_words(void **state) {
        expect("ab: \033[31m0123456789012345678901234567\033[0m x\n", 24, 4,
               "ab: \033[31m01234567890123456789\n    01234567\033[0m x\n");
        expect("ab: is \033[31m0123456789012345678901234567890123456789\033[0m\n", 24, 4,
               "ab: is\n    \033[31m01234567890123456789\n    01234567890123456789\033[0m\n");
}

static void test_wrap_not(void **state) {
        static const char text[] = "ab: aaaa bbbb cccc dddd eeee ffff gggg hhhh\n";

        expect(text, 0, 4, text);
        expect(text, 23, 4, text);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_wrap_at_blanks), checked_test(test_wrap_long_words),
                checked_test(test_wrap_colours),   checked_test(test_wrap_colours_of_long_words),
                checked_test(test_wrap_not),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
