#include "sinks/nats_subject.h"

#include "base/text.h"

#define TOKENS_PLAIN 9   /* $JS.ACK.STREAM.CONSUMER.delivered.stream.consumer.time.pending */
#define TOKENS_DOMAIN 11 /* $JS.ACK.DOMAIN.ACCOUNT.STREAM..., and perhaps one more of random letters */
#define TOKENS_MAX 16

bool nats_servers_next(NatsServers *servers) {
    if (!servers->rest) return false;
    const char *end = strchrnul(servers->rest, ',');
    servers->url = text_trim((Span){servers->rest, (size_t)(end - servers->rest)});
    servers->rest = *end ? end + 1 : NULL;
    return true;
}

/* How many there are, TOKENS_MAX + 1 if there are more. */
static size_t split(Span text, Span *tokens) {
    size_t count = 0;
    const char *start = text.data, *end = text.data + text.size;
    for (const char *at = start;; at++) {
        if (at < end && *at != '.') continue;
        if (count == TOKENS_MAX) return TOKENS_MAX + 1;
        tokens[count++] = (Span){start, (size_t)(at - start)};
        if (at == end) return count;
        start = at + 1;
    }
}

static bool number(Span token, uint64_t most, uint64_t *ret_number) {
    uint64_t value = 0;
    if (token.size == 0) return false;
    for (size_t i = 0; i < token.size; i++) {
        if (token.data[i] < '0' || token.data[i] > '9') return false;
        unsigned digit = (unsigned)(token.data[i] - '0');
        if (value > (most - digit) / 10) return false;
        value = value * 10 + digit;
    }
    *ret_number = value;
    return true;
}

bool nats_subject_is_ack(Span reply) {
    return text_begins(reply, SPAN("$JS.ACK."));
}

bool nats_subject_parse(Span reply, NatsDelivery *ret_delivery) {
    Span tokens[TOKENS_MAX];
    if (!nats_subject_is_ack(reply)) return false;
    size_t count = split(reply, tokens);
    if (count > TOKENS_MAX || (count != TOKENS_PLAIN && count < TOKENS_DOMAIN)) return false;
    const Span *token = tokens + (count == TOKENS_PLAIN ? 2 : 4);
    NatsDelivery delivery = {.stream = token[0], .consumer = token[1]};
    uint64_t time;
    if (token[0].size == 0 || token[1].size == 0 || !number(token[2], UINT64_MAX, &delivery.delivered) ||
        !number(token[3], UINT64_MAX, &delivery.stream_sequence) || !number(token[4], UINT64_MAX, &delivery.consumer_sequence) ||
        !number(token[5], INT64_MAX, &time) || !number(token[6], UINT64_MAX, &delivery.pending))
        return false;
    if (delivery.delivered == 0 || delivery.stream_sequence == 0 || delivery.consumer_sequence == 0) return false;
    delivery.time_nsec = (int64_t)time;
    *ret_delivery = delivery;
    return true;
}

NatsStreamChange nats_stream_change(const NatsStream *before, const NatsStream *now, uint64_t next) {
    if (before->created_nsec != now->created_nsec || now->last_sequence < before->last_sequence) return NATS_STREAM_ANEW;
    if (next > 0 && now->last_sequence + 1 < next) return NATS_STREAM_ANEW;
    return next > 0 && now->first_sequence > next ? NATS_STREAM_CUT : NATS_STREAM_GOES_ON;
}
