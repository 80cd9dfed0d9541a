#include "tests/support/simdjson_peer.h"

#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>

#include <simdjson.h>

static_assert(SIMDJSON_PEER_PADDING >= simdjson::SIMDJSON_PADDING, "simdjson reads further than the header says");

struct SimdjsonPeer {
    simdjson::dom::parser parser;
    simdjson::dom::element root;
    std::string copy;    // of the text, with padding
    std::string compact; // of the container that was asked for
    bool accepted = false;
};

static void fatal(const char *what) {
    (void)std::fprintf(stderr, "simdjson_peer: %s\n", what);
    std::abort();
}

SimdjsonPeer *simdjson_peer_new(size_t depth_most) {
    auto *peer = new (std::nothrow) SimdjsonPeer;
    if (!peer) fatal("out of memory");
#ifdef SIMDJSON_THREADS_ENABLED
    peer->parser.threaded = false;
#endif
    if (depth_most && peer->parser.allocate(1024, depth_most)) fatal("the parser takes no such depth");
    return peer;
}

void simdjson_peer_free(SimdjsonPeer *peer) {
    delete peer;
}

const char *simdjson_peer_kernel(void) {
    static const std::string name = simdjson::get_active_implementation()->name();
    return name.c_str();
}

bool simdjson_peer_accepts(SimdjsonPeer *peer, const char *text, size_t size, const char **ret_what) {
    peer->copy.reserve(size + SIMDJSON_PEER_PADDING);
    peer->copy.assign(text ? text : "", size);
    auto error = peer->parser.parse(peer->copy.data(), size, false).get(peer->root);
    if (error == simdjson::MEMALLOC) fatal("out of memory");
    peer->accepted = !error;
    if (error && ret_what) *ret_what = simdjson::error_message(error);
    return peer->accepted;
}

SimdjsonValue simdjson_peer_at(SimdjsonPeer *peer, const char *pointer) {
    using simdjson::dom::element_type;
    if (!peer->accepted) fatal("there is no document");
    SimdjsonValue value{};
    simdjson::dom::element found;
    if (*pointer == 0)
        found = peer->root;
    else if (peer->root.at_pointer(pointer).get(found))
        return value;
    std::string_view text;
    switch (found.type()) {
    case element_type::NULL_VALUE: value.kind = SIMDJSON_NULL; break;
    case element_type::BOOL:
        value.kind = SIMDJSON_BOOLEAN;
        value.boolean = bool(found);
        break;
    case element_type::INT64:
        value.kind = SIMDJSON_INTEGER;
        value.integer = int64_t(found);
        value.number = double(value.integer);
        break;
    case element_type::UINT64:
        value.kind = SIMDJSON_UNSIGNED;
        value.natural = uint64_t(found);
        value.number = double(value.natural);
        break;
    case element_type::DOUBLE:
        value.kind = SIMDJSON_DOUBLE;
        value.number = double(found);
        break;
    case element_type::STRING:
        value.kind = SIMDJSON_STRING;
        text = std::string_view(found);
        break;
    case element_type::OBJECT:
        value.kind = SIMDJSON_OBJECT;
        for (auto field : simdjson::dom::object(found)) {
            (void)field;
            value.count++;
        }
        break;
    case element_type::ARRAY:
        value.kind = SIMDJSON_ARRAY;
        for (auto item : simdjson::dom::array(found)) {
            (void)item;
            value.count++;
        }
        break;
    }
    if (value.kind == SIMDJSON_OBJECT || value.kind == SIMDJSON_ARRAY) {
        peer->compact = simdjson::minify(found);
        text = peer->compact;
    }
    value.text = text.data();
    value.text_size = text.size();
    return value;
}

bool simdjson_peer_parse(SimdjsonPeer *peer, const char *text, size_t size) {
    simdjson::dom::element root;
    peer->accepted = false;
    return !peer->parser.parse(text, size, false).get(root);
}

long simdjson_peer_parse_many(SimdjsonPeer *peer, const char *text, size_t size, size_t batch) {
    simdjson::dom::document_stream stream;
    peer->accepted = false;
    if (peer->parser.parse_many(text, size, batch).get(stream)) return -1;
    long count = 0;
    for (auto document : stream) {
        if (document.error()) return -1;
        count++;
    }
    return stream.truncated_bytes() ? -1 : count;
}
