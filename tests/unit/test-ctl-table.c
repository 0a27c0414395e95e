/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What pv-reaperctl prints: sizes, times, unknown values, widths, and that nothing speaks to the
 * terminal. Records are made here as if a daemon had answered; text and JSON go to memory. Each
 * test frees what it made.
 */

#include "fds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/size.h"
#include "ctl/json.h"
#include "ctl/say.h"
#include "ctl/table.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* ---- numbers ---- */

static void test_sizes(void **state) {
        static const struct {
                uint64_t bytes;
                const char *text;
        } rows[] = {
                {0, "0 B"},
                {1, "1 B"},
                {1023, "1023 B"},
                {KIB, "1.0 KiB"},
                {KIB + 512, "1.5 KiB"},
                {MIB - 1, "1023.9 KiB"}, /* not 1024.0 */
                {MIB, "1.0 MiB"},
                {4 * GIB, "4.0 GiB"},
                {4 * GIB - 1, "3.9 GiB"},
                {512 * GIB + 100 * MIB, "512.0 GiB"},
                {1024 * GIB, "1.0 TiB"},
                {UINT64_MAX, "15.9 EiB"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                char buffer[FORMAT_MAX];

                format_size(buffer, sizeof(buffer), rows[i].bytes);
                assert_string_equal(buffer, rows[i].text);
        }
}

static void test_times(void **state) {
        static const struct {
                uint64_t usec;
                const char *text;
        } rows[] = {
                {0, "0 ms"},
                {1, "1 us"},
                {999, "999 us"},
                {1000, "1 ms"},
                {350 * USEC_PER_MSEC, "350 ms"},
                {USEC_PER_SEC - 1, "999 ms"},
                {USEC_PER_SEC, "1.0 s"},
                {1299 * USEC_PER_MSEC, "1.2 s"},
                {60 * USEC_PER_SEC - 1, "59.9 s"}, /* not 60.0 */
                {60 * USEC_PER_SEC, "1 min 0 s"},
                {723 * USEC_PER_SEC, "12 min 3 s"},
                {3600 * USEC_PER_SEC - 1, "59 min 59 s"},
                {3600 * USEC_PER_SEC, "1 h 0 min"},
                {86399 * USEC_PER_SEC, "23 h 59 min"},
                {90000 * USEC_PER_SEC, "1 d 1 h"},
                {UINT64_MAX, "213503982 d 8 h"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                char buffer[FORMAT_MAX];

                format_usec(buffer, sizeof(buffer), rows[i].usec);
                assert_string_equal(buffer, rows[i].text);
        }
}

/* ---- values ---- */

static const struct value text_value = {.type = VALUE_STRING, .string = "vm-a"};
static const struct value empty_value = {.type = VALUE_STRING, .string = ""};
static const struct value number_value = {.type = VALUE_UNSIGNED, .number = UINT64_MAX};
static const struct value time_value = {.type = VALUE_UNSIGNED, .number = 723 * USEC_PER_SEC};
static const struct value error_value = {.type = VALUE_SIGNED, .signed_number = -EIO};
static const struct value odd_error_value = {.type = VALUE_SIGNED, .signed_number = -4000};
static const struct value positive_value = {.type = VALUE_SIGNED, .signed_number = 7};
static const struct value no_error_value = {.type = VALUE_SIGNED, .signed_number = 0};
static const struct value yes_value = {.type = VALUE_BOOL, .flag = true};
static const struct value no_value = {.type = VALUE_BOOL, .flag = false};

static void assert_formats(enum format format, const struct value *value, const char *expected) {
        char *text = format_value(format, value);

        assert_non_null(text);
        assert_string_equal(text, expected);
        free(text);
}

static void test_values(void **state) {
        assert_formats(FORMAT_TEXT, &text_value, "vm-a");
        assert_formats(FORMAT_NUMBER, &number_value, "18446744073709551615");
        assert_formats(FORMAT_NUMBER, &error_value, "-5");
        assert_formats(FORMAT_USEC, &time_value, "12 min 3 s");
        assert_formats(FORMAT_ABOUT, &time_value, "~12 min 3 s");
        assert_formats(FORMAT_ERROR, &error_value, "EIO");
        assert_formats(FORMAT_ERROR, &odd_error_value, "-4000");
        assert_formats(FORMAT_ERROR, &positive_value, "7");
        assert_formats(FORMAT_ERROR, &no_error_value, "0");
        assert_formats(FORMAT_BOOL, &yes_value, "yes");
        assert_formats(FORMAT_BOOL, &no_value, "no");
}

static void test_unknown(void **state) {
        for (enum format format = FORMAT_TEXT; format <= FORMAT_ERROR; format++)
                assert_formats(format, NULL, "-");
        assert_formats(FORMAT_TEXT, &empty_value, "-");
}

/* A daemon of another version may think otherwise about a type. */
static void test_unexpected_types(void **state) {
        assert_formats(FORMAT_TEXT, &number_value, "-");
        assert_formats(FORMAT_SIZE, &text_value, "-");
        assert_formats(FORMAT_USEC, &error_value, "-");
        assert_formats(FORMAT_NUMBER, &yes_value, "-");
        assert_formats(FORMAT_BOOL, &number_value, "-");
        assert_formats(FORMAT_ERROR, &number_value, "-");
}

static void test_control_characters(void **state) {
        static const struct value nasty = {.type = VALUE_STRING,
                                           .string = "a\033[31m\nb\tc\r\177\302\233z"};
        char text[] = "\001ok\xff~ ";

        assert_formats(FORMAT_TEXT, &nasty, "a?[31m?b?c????z");
        make_printable(text);
        assert_string_equal(text, "?ok?~ ");
}

/* ---- tables ---- */

static const struct column columns[] = {
        {"Name", "name", "NAME", FORMAT_TEXT, 0, NULL},
        {"Hidden", "hidden", NULL, FORMAT_TEXT, 0, NULL},
        {"Size", "size", "SIZE", FORMAT_SIZE, 2, "How large"},
        {"Last", "last", "LAST", FORMAT_TEXT, 1, NULL},
        {},
};

static void add_row(struct record_list *list, const char *name, uint64_t size, const char *last) {
        struct value value = {.type = VALUE_STRING, .string = name};
        struct record *record;

        assert_int_equal(record_list_add(list, &record), 0);
        assert_int_equal(record_add(record, "Name", &value), 0);
        assert_int_equal(record_add(record, "Hidden", &value), 0);
        value.string = last;
        if (last)
                assert_int_equal(record_add(record, "Last", &value), 0);
        value = (struct value){.type = VALUE_UNSIGNED, .number = size};
        if (size != UINT64_MAX)
                assert_int_equal(record_add(record, "Size", &value), 0);
}

static void assert_table(const struct record_list *list, bool legend, const char *expected) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);

        assert_non_null(out);
        assert_int_equal(table_print(out, columns, list, &(struct table_look){.legend = legend}),
                         0);
        assert_int_equal(fclose(out), 0);
        assert_string_equal(text, expected);
        free(text);
}

static void test_table(void **state) {
        struct record_list list = {};

        add_row(&list, "a-long-name", 10, "x");
        add_row(&list, "b", 1023 * MIB, NULL);
        add_row(&list, "c", UINT64_MAX, "long enough");
        assert_table(&list, true,
                     "NAME               SIZE  LAST\n"
                     "a-long-name        10 B  x\n"
                     "b            1023.0 MiB  -\n"
                     "c                     -  long enough\n");
        assert_table(&list, false,
                     "a-long-name        10 B  x\n"
                     "b            1023.0 MiB  -\n"
                     "c                     -  long enough\n");
        record_list_deinit(&list);
        assert_int_equal(list.n_records, 0);
}

static void assert_narrow(const struct record_list *list, unsigned width, const char *expected) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);

        assert_non_null(out);
        assert_int_equal(table_print(out, columns, list, &(struct table_look){true, width}), 0);
        assert_int_equal(fclose(out), 0);
        assert_string_equal(text, expected);
        free(text);
}

/* The least important column goes first, and the most important ones stay, whatever is too wide. */
static void test_narrow_table(void **state) {
        struct record_list list = {};

        add_row(&list, "a-name", 10, "last");
        assert_narrow(&list, 18, "NAME    SIZE  LAST\na-name  10 B  last\n");
        assert_narrow(&list, 17, "NAME    LAST\na-name  last\n");
        assert_narrow(&list, 11, "NAME\na-name\n");
        assert_narrow(&list, 1, "NAME\na-name\n");
        assert_narrow(&list, 0, "NAME    SIZE  LAST\na-name  10 B  last\n");
        record_list_deinit(&list);
}

/* A long name is shortened before a column goes, and no more than it must be. */
static void test_names_in_a_narrow_table(void **state) {
        static const struct column names[] = {{"Name", "name", "NAME", FORMAT_NAME, 0, NULL},
                                              {"Size", "size", "SIZE", FORMAT_SIZE, 1, NULL},
                                              {"Last", "last", "WHY", FORMAT_TEXT, 0, NULL},
                                              {}};
        static const struct {
                unsigned width;
                const char *text;
        } rows[] = {
                {0, "abcdefghijklmnopqrstuvwxyz0123456789  10 B  limit\nb"},
                {49, "abcdefghijklmnopqrstuvwxyz0123456789  10 B  limit\nb"},
                {48, "abcdefghijklmnopq..uvwxyz0123456789  10 B  limit\nb"},
                {37, "abcdefghijk..z0123456789  10 B  limit\nb"},
                {36, "abcdefghijklmn..xyz0123456789  limit\nb"}, /* room again */
                {15, "abc..789  limit\nb"},
                {14, "abc..789  limit\nb"}, /* a name is never shorter than that */
        };
        struct record_list list = {};

        add_row(&list, "abcdefghijklmnopqrstuvwxyz0123456789", 10, "limit");
        add_row(&list, "b", 10, "limit");
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                char *text = NULL;
                size_t size = 0;
                FILE *out = open_memstream(&text, &size);

                assert_non_null(out);
                assert_int_equal(table_print(out, names, &list,
                                             &(struct table_look){.width = rows[i].width}),
                                 0);
                assert_int_equal(fclose(out), 0);
                if (strncmp(text, rows[i].text, strlen(rows[i].text)) != 0)
                        fail_msg("%u: %s", rows[i].width, text);
                free(text);
        }
        record_list_deinit(&list);
}

/* Local time for people, the same with its zone for programs. */
static void test_dates(void **state) {
        static const struct value value = {.type = VALUE_UNSIGNED,
                                           .number = UINT64_C(1796000000) * USEC_PER_SEC + 999999};
        char text[FORMAT_MAX];

        assert_int_equal(setenv("TZ", "XYZ-5:30", 1), 0);
        tzset();
        assert_formats(FORMAT_DATE, &value, "2026-11-30 06:23:20");
        format_date(text, sizeof(text), value.number, true);
        assert_string_equal(text, "2026-11-30T06:23:20+05:30");
        assert_formats(FORMAT_DATE, NULL, "-");
        assert_int_equal(unsetenv("TZ"), 0);
        tzset();
}

static void test_shares(void **state) {
        static const struct value some = {.type = VALUE_UNSIGNED, .number = 1234};
        static const struct value little = {.type = VALUE_UNSIGNED, .number = 5};

        assert_formats(FORMAT_SHARE, &some, "12.34%");
        assert_formats(FORMAT_SHARE, &little, "0.05%");
}

static void test_empty_table(void **state) {
        const struct record_list list = {};

        assert_table(&list, true, "NAME  SIZE  LAST\n");
        assert_table(&list, false, "");
}

static void test_record(void **state) {
        struct record_list list = {};
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);

        assert_non_null(out);
        add_row(&list, "a", UINT64_MAX, "b");
        assert_int_equal(table_print_record(out, columns, list.records), 0);
        assert_int_equal(fclose(out), 0);
        assert_string_equal(text, "  NAME: a\nhidden: a\n  LAST: b\n");
        free(text);
        record_list_deinit(&list);
}

/* ---- JSON ---- */

static void assert_json(const struct record_list *list, enum json_mode mode, const char *expected) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);

        assert_non_null(out);
        assert_int_equal(json_print(out, columns, list, mode), 0);
        assert_int_equal(fclose(out), 0);
        assert_string_equal(text, expected);
        free(text);
}

static void test_json(void **state) {
        struct record_list list = {};

        assert_json(&list, JSON_SHORT, "[]\n");
        add_row(&list, "a\033\302\233", 10 * GIB, NULL);
        assert_json(&list, JSON_SHORT,
                    "[{\"name\":\"a\\u001B\\u009B\",\"hidden\":\"a\\u001B\\u009B\","
                    "\"size\":10737418240,\"last\":null}]\n");
        record_list_deinit(&list);
        add_row(&list, "a", UINT64_MAX - 1, "b");
        assert_json(&list, JSON_PRETTY,
                    "[\n"
                    "    {\n"
                    "        \"name\": \"a\",\n"
                    "        \"hidden\": \"a\",\n"
                    "        \"size\": 1.8446744073709552e19,\n"
                    "        \"last\": \"b\"\n"
                    "    }\n"
                    "]\n");
        record_list_deinit(&list);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_sizes),
                checked_test(test_times),
                checked_test(test_values),
                checked_test(test_unknown),
                checked_test(test_unexpected_types),
                checked_test(test_control_characters),
                checked_test(test_table),
                checked_test(test_narrow_table),
                checked_test(test_names_in_a_narrow_table),
                checked_test(test_dates),
                checked_test(test_shares),
                checked_test(test_empty_table),
                checked_test(test_record),
                checked_test(test_json),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
