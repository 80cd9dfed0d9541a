#include "tests/unit/storage/fixture.h"

#include "base/buffer.h"
#include "storage/environment_private.h"
#include "storage/record.h"
#include "storage/rejects.h"

static Reject make_event(uint32_t sink, const char *data) {
    return (Reject){.sink = sink,
                    .at = 5,
                    .id = fixture_id(8),
                    .mapping_version = 2,
                    .column = SPAN("c"),
                    .reason = SPAN("not a number"),
                    .content_type = SPAN("application/json"),
                    .data = span_of(data),
                    .place = SPAN("kafka:t:3:17")};
}

static Reject make_row(const Uuid *file, uint64_t row) {
    return (Reject){.sink = 1, .at = 6, .is_row = true, .id = *file, .row = row, .reason = SPAN("duplicate key"), .data = SPAN("1,a\n")};
}

typedef struct Seen {
    Reject last;
    char numbers[100];
} Seen;

static int see(void *context, const Reject *reject, Error *error) {
    Seen *seen = context;
    seen->last = *reject;
    (void)snprintf(seen->numbers + strlen(seen->numbers), 20, "%" PRIu64 ":%" PRIu64 " ", reject->number, reject->row);
    return 0;
}

static void assert_visible(Txn *txn, uint32_t sink, uint64_t after, const char *numbers) {
    Seen seen = {0};
    assert_ok(rejects_visit(txn, sink, after, see, &seen, error));
    assert_string_equal(seen.numbers, numbers);
}

static void assert_count(Txn *txn, uint32_t sink, uint64_t wanted) {
    uint64_t count = UINT64_MAX;
    assert_int_equal(rejects_count(txn, sink, &count, NULL), 0);
    assert_int_equal(count, wanted);
}

/* What the counter says is what is there. */
static void assert_bytes(Txn *txn) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Span key = {0}, value;
    uint64_t bytes = 0;
    assert_ok(db_cursor(txn, DB_REJECTS, &cursor, error));
    for (int result = db_move(cursor, MDB_FIRST, &key, &value, NULL); result == 0; result = db_move(cursor, MDB_NEXT, &key, &value, NULL))
        if (key.data[0] == 'V' || key.data[0] == 'P') bytes += key.size + value.size;
    assert_int_equal(rejects_bytes(txn), bytes);
}

/* What was not kept says so; records of the versions before did not know it. */
static void test_dropped(void **state) {
    Fixture fixture;
    fixture_init(&fixture, 4 << 20);
    Txn *txn = fixture_write(&fixture);
    Reject event = make_event(1, "");
    event.dropped = true;
    event.event_bytes = 1234;
    assert_ok(rejects_add(txn, &event, error));
    Seen seen = {0};
    assert_ok(rejects_visit(txn, 1, 0, see, &seen, error));
    assert_true(seen.last.dropped && seen.last.event_bytes == 1234 && seen.last.data.size == 0);

    Span key = {.data = "V\0\0\0\1\0\0\0\0\0\0\0\2", .size = 13};
    Buffer record = {0};
    record_begin(&record, 'V', 2);
    buffer_put_u32(&record, 1);
    buffer_put_u64(&record, 5);
    buffer_put_u8(&record, 0);
    buffer_append(&record, event.id.bytes, sizeof event.id.bytes);
    buffer_put_u64(&record, 0);
    buffer_put_u32(&record, 2);
    for (int i = 0; i < 3; i++) buffer_put_block(&record, SPAN("x"));
    buffer_put_block(&record, SPAN("{\"a\":1}"));
    buffer_put_u64(&record, 7);
    record_seal(&record);
    assert_ok(db_put(txn, DB_REJECTS, key, buffer_span(&record), error));
    assert_ok(rejects_visit(txn, 1, 1, see, &seen, error));
    assert_true(!seen.last.dropped && seen.last.event_bytes == 0 && seen.last.running == 7);
    assert_true(span_equal(seen.last.data, SPAN("{\"a\":1}")));
    buffer_deinit(&record);
    fixture_commit(txn);
    fixture_deinit(&fixture);
}

static void test_events(void **state) {
    Fixture fixture;
    uint64_t removed;
    fixture_init(&fixture, 4 << 20);
    Txn *txn = fixture_write(&fixture);
    assert_int_equal(rejects_bytes(txn), 0);
    for (int i = 0; i < 4; i++) {
        Reject event = make_event(1, "{\"a\":}");
        assert_ok(rejects_add(txn, &event, error));
        assert_int_equal(event.number, i + 1);
    }
    Reject other = make_event(2, "");
    assert_ok(rejects_add(txn, &other, error));
    assert_int_equal(other.number, 1);
    assert_bytes(txn);
    fixture_commit(txn);

    fixture_reopen(&fixture);
    txn = fixture_write(&fixture);
    assert_visible(txn, 1, 0, "1:0 2:0 3:0 4:0 ");
    assert_visible(txn, 1, 2, "3:0 4:0 ");
    assert_count(txn, 1, 4);
    assert_count(txn, 3, 0);
    assert_visible(txn, 1, UINT64_MAX, "");
    assert_visible(txn, 3, 0, "");
    Seen seen = {0};
    assert_ok(rejects_visit(txn, 1, 3, see, &seen, error));
    assert_true(seen.last.sink == 1 && seen.last.at == 5 && !seen.last.is_row && seen.last.mapping_version == 2 && seen.last.number == 4);
    assert_true(span_equal(seen.last.data, SPAN("{\"a\":}")) && span_equal(seen.last.column, SPAN("c")));
    assert_true(span_equal(seen.last.reason, SPAN("not a number")) && span_equal(seen.last.content_type, SPAN("application/json")));
    Uuid id = fixture_id(8);
    assert_true(uuid_equal(&seen.last.id, &id));
    assert_true(span_equal(seen.last.place, SPAN("kafka:t:3:17")));
    assert_ok(rejects_remove(txn, 1, 3, &removed, error));
    assert_int_equal(removed, 3);
    assert_visible(txn, 1, 0, "4:0 ");
    assert_count(txn, 1, 1);
    assert_ok(rejects_remove(txn, 1, UINT64_MAX, &removed, error));
    assert_int_equal(removed, 1);
    assert_bytes(txn);
    Reject event = make_event(1, "x");
    assert_ok(rejects_add(txn, &event, error));
    assert_int_equal(event.number, 5); /* never given twice */
    assert_ok(rejects_remove(txn, 1, UINT64_MAX, &removed, error));
    assert_ok(rejects_remove(txn, 2, UINT64_MAX, &removed, error));
    assert_int_equal(rejects_bytes(txn), 0);
    fixture_commit(txn);
    fixture_deinit(&fixture);
}

static void test_pending(void **state) {
    Fixture fixture;
    uint64_t rows;
    Uuid file = fixture_id(1), other = fixture_id(2);
    fixture_init(&fixture, 4 << 20);
    Txn *txn = fixture_write(&fixture);
    Reject first[] = {make_row(&file, 7), make_row(&file, 300), make_row(&file, 5)}, second[] = {make_row(&file, 300), make_row(&file, 9)};
    Reject others[] = {make_row(&other, 400)};
    assert_ok(rejects_put_pending(txn, &file, first, 3, error));
    assert_ok(rejects_put_pending(txn, &other, others, 1, error));
    assert_ok(rejects_count_pending(txn, &file, &rows, error));
    assert_int_equal(rows, 3);
    assert_visible(txn, 1, 0, "");
    /* The next attempt found others. */
    assert_ok(rejects_put_pending(txn, &file, second, 2, error));
    assert_ok(rejects_count_pending(txn, &file, &rows, error));
    assert_int_equal(rows, 2);
    assert_bytes(txn);
    fixture_commit(txn);

    fixture_reopen(&fixture);
    txn = fixture_write(&fixture);
    assert_ok(rejects_publish(txn, &file, &rows, error));
    assert_int_equal(rows, 2);
    assert_visible(txn, 1, 0, "1:9 2:300 ");
    assert_bytes(txn);
    assert_ok(rejects_publish(txn, &file, &rows, error)); /* again, as recovery may */
    assert_int_equal(rows, 0);
    assert_ok(rejects_count_pending(txn, &other, &rows, error));
    assert_int_equal(rows, 1);
    assert_ok(rejects_drop_pending(txn, &other, error));
    assert_ok(rejects_count_pending(txn, &other, &rows, error));
    assert_int_equal(rows, 0);
    assert_visible(txn, 1, 0, "1:9 2:300 ");
    assert_bytes(txn);
    Reject twice[] = {make_row(&file, 1), make_row(&file, 1)};
    assert_fails(rejects_put_pending(txn, &file, twice, 2, error), -EEXIST);
    txn_abort(txn);
    fixture_deinit(&fixture);
}

static void test_damage_and_full_map(void **state) {
    Fixture fixture;
    Seen seen = {0};
    char key[13] = {'V', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1};
    fixture_init(&fixture, 1 << 20);
    Txn *txn = fixture_write(&fixture);
    Reject event = make_event(1, "data");
    assert_ok(rejects_add(txn, &event, error));
    fixture_commit(txn);
    for (size_t bit = 0; bit < 8 * 60; bit++) {
        fixture_flip(&fixture, DB_REJECTS, (Span){.data = key, .size = 13}, bit);
        txn = fixture_read(&fixture);
        /* Its data is lost, the reject is seen. */
        seen = (Seen){0};
        assert_ok(rejects_visit(txn, 1, 0, see, &seen, error));
        assert_string_equal(seen.numbers, "1:0 ");
        txn_abort(txn);
        fixture_flip(&fixture, DB_REJECTS, (Span){.data = key, .size = 13}, bit);
    }
    /* Counters are counted anew. */
    static const char counters[][5] = {"N\0\0\0\1", "B"};
    for (size_t i = 0; i < 2; i++) {
        Span counter = {.data = counters[i], .size = i == 0 ? 5 : 1};
        uint64_t count;
        fixture_flip(&fixture, DB_REJECTS, counter, 20);
        txn = fixture_write(&fixture);
        assert_true(rejects_bytes(txn) > 0);
        assert_ok(rejects_count(txn, 1, &count, error));
        assert_int_equal(count, 1);
        Reject second = make_event(1, "data");
        assert_ok(rejects_add(txn, &second, error));
        assert_int_equal(second.number, 2);
        assert_bytes(txn);
        txn_abort(txn);
        fixture_flip(&fixture, DB_REJECTS, counter, 20);
    }
    /* A pending one that is damaged holds up no import. */
    Uuid file = fixture_id(7);
    char pending[25] = {'P'};
    uint64_t published;
    memcpy(pending + 1, file.bytes, 16);
    pending[24] = 3;
    txn = fixture_write(&fixture);
    Reject row = {.sink = 1, .is_row = true, .id = file, .row = 3, .reason = SPAN("r"), .data = SPAN("d")};
    assert_ok(rejects_put_pending(txn, &file, &row, 1, error));
    fixture_commit(txn);
    fixture_flip(&fixture, DB_REJECTS, (Span){.data = pending, .size = 25}, 30);
    txn = fixture_write(&fixture);
    assert_ok(rejects_publish(txn, &file, &published, error));
    assert_int_equal(published, 1);
    assert_bytes(txn);
    fixture_commit(txn);
    static char block[100000];
    event.data = (Span){.data = block, .size = sizeof block};
    txn = fixture_write(&fixture);
    int result = 0, count = 0;
    for (; result == 0 && count < 100; count++) result = rejects_add(txn, &event, NULL);
    assert_int_equal(result, -ENOSPC);
    txn_abort(txn);
    txn = fixture_read(&fixture);
    assert_bytes(txn);
    assert_visible(txn, 1, 0, "1:0 ");
    txn_abort(txn);
    fixture_deinit(&fixture);
}

/* As programs wrote them that did not know the running time, or the place. */
static void test_older_versions(void **state) {
    Fixture fixture;
    fixture_init(&fixture, 1 << 20);
    for (uint8_t version = 1; version <= 2; version++) {
        Buffer record = {0};
        char key[13] = {'V', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, (char)version};
        record_begin(&record, 'V', version);
        buffer_put_u32(&record, 1);
        buffer_put_u64(&record, 5);
        buffer_put_u8(&record, 0);
        for (int i = 0; i < 16; i++) buffer_put_u8(&record, 8);
        buffer_put_u64(&record, 0);
        buffer_put_u32(&record, 2);
        buffer_put_block(&record, SPAN("c"));
        buffer_put_block(&record, SPAN("why"));
        buffer_put_block(&record, SPAN("text/plain"));
        buffer_put_block(&record, SPAN("old"));
        if (version >= 2) buffer_put_u64(&record, 77);
        record_seal(&record);
        Txn *txn = fixture_write(&fixture);
        assert_ok(db_insert(txn, DB_REJECTS, (Span){.data = key, .size = sizeof key}, buffer_span(&record), error));
        fixture_commit(txn);
        txn = fixture_read(&fixture);
        Seen seen = {0};
        assert_ok(rejects_visit(txn, 1, version - 1u, see, &seen, error));
        assert_true(span_equal(seen.last.data, SPAN("old")));
        assert_int_equal(seen.last.running, version >= 2 ? 77 : 0);
        assert_int_equal(seen.last.place.size, 0);
        txn_abort(txn);
        buffer_deinit(&record);
    }
    fixture_deinit(&fixture);
    (void)state;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dropped),        cmocka_unit_test(test_events),
        cmocka_unit_test(test_pending),        cmocka_unit_test(test_damage_and_full_map),
        cmocka_unit_test(test_older_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
