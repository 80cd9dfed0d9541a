#include "sinks/row_search.h"

#include "base/error.h"

#define WINDOW_AFTER_BAD_ROW 64

RowSearch row_search_start(uint64_t first_row) {
    return (RowSearch){.window = UINT64_MAX, .suspect = ROW_SEARCH_NONE, .last_bad = first_row};
}

RowSearch row_search_resume(uint64_t row, uint64_t window) {
    check(window > 0);
    return (RowSearch){.window = window, .suspect = ROW_SEARCH_NONE, .last_bad = row};
}

void row_search_refused(RowSearch *search, uint64_t first, uint64_t next, uint64_t suspect) {
    check(next - first > 1 && next > first);
    check(suspect == ROW_SEARCH_NONE || (suspect >= first && suspect < next));
    search->bad_end = next;
    search->suspect = suspect;
    if (suspect == ROW_SEARCH_NONE)
        search->window = (next - first) / 2;
    else
        search->window = suspect > first ? suspect - first : 1;
    check(search->window > 0 && search->window < next - first); /* else the search would not end */
}

void row_search_went_through(RowSearch *search, uint64_t next) {
    if (next == search->suspect)
        search->window = 1;
    else if (next < search->bad_end)
        search->window = (search->bad_end - next + 1) / 2;
    else
        search->window = search->window > UINT64_MAX / 4 ? UINT64_MAX : search->window * 4;
    check(search->window > 0);
}

/* The next bad row is likely as far away as this one was. */
void row_search_found(RowSearch *search, uint64_t row) {
    check(row >= search->last_bad);
    uint64_t gap = row - search->last_bad;
    search->window = gap > WINDOW_AFTER_BAD_ROW / 2 ? gap * 2 : WINDOW_AFTER_BAD_ROW;
    search->last_bad = row;
    search->suspect = ROW_SEARCH_NONE;
    search->bad_end = 0;
}
