#include "config/nats_name.h"

#include <string.h>

#include "base/text.h"

bool nats_name_valid(Span name) {
    if (name.size == 0 || name.size > NATS_NAME_BYTES_MAX || text_check(name) != name.size) return false;
    for (size_t i = 0; i < name.size; i++)
        if ((unsigned char)name.data[i] <= ' ' || name.data[i] == 0x7f || strchr(".*>/\\", name.data[i])) return false;
    return true;
}

bool nats_filter_valid(Span subject) {
    if (subject.size == 0 || subject.size > NATS_NAME_BYTES_MAX || text_check(subject) != subject.size) return false;
    size_t start = 0;
    for (size_t i = 0; i <= subject.size; i++) {
        bool ends = i == subject.size;
        if (!ends && ((unsigned char)subject.data[i] <= ' ' || subject.data[i] == 0x7f)) return false;
        if (!ends && subject.data[i] != '.') continue;
        Span token = {subject.data + start, i - start};
        if (token.size == 0) return false;
        if (token.size > 1 && (memchr(token.data, '*', token.size) || memchr(token.data, '>', token.size))) return false;
        if (token.data[0] == '>' && !ends) return false;
        start = i + 1;
    }
    return true;
}
