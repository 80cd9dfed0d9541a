#include "mapping/record_id.h"

#include "base/buffer.h"

void record_id_space(Span cluster, Span topic, uint32_t generation, int32_t partition, Uuid *ret_space) {
    Buffer name = {0};
    buffer_append_span(&name, SPAN("sluice record id"));
    buffer_put_block(&name, cluster);
    buffer_put_block(&name, topic);
    buffer_put_u32(&name, generation);
    buffer_put_u32(&name, (uint32_t)partition);
    uuid_derive(buffer_span(&name), ret_space);
    buffer_deinit(&name);
}

void record_id(const Uuid *space, int64_t offset, uint32_t row, Uuid *ret_id) {
    char name[sizeof *space + sizeof offset + sizeof row];
    memcpy(name, space->bytes, sizeof *space);
    memcpy(name + sizeof *space, &offset, sizeof offset);
    memcpy(name + sizeof *space + sizeof offset, &row, sizeof row);
    uuid_derive((Span){name, sizeof name}, ret_id);
}
