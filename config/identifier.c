#include "base/text.h"
#include "config/definition.h"

#define SLUG_CHARACTERS_MAX 48

/* The letter under the accent: U+00C0..024F and U+1E00..1EFF; '-': none. */
static const char latin_letters[] = "aaaaaa-ceeeeiiiidnooooo-ouuuuy--aaaaaa-ceeeeiiiidnooooo-ouuuuy-y"
                                    "aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiii--jjkkkllllll-"
                                    "-llnnnnnnnnnoooooo--rrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs"
                                    "------------------f-------------oo-------------uu---------------"
                                    "-------------aaiioouuuuuuuuuu-aaaa----ggkkoooo--j---gg--nnaa----"
                                    "aaaaeeeeiiiioooorrrruuuusstt--hh------aaeeooooooooyy------------"
                                    "----------------";
static const char latin_additional_letters[] = "aabbbbbbccddddddddddeeeeeeeeeeffgghhhhhhhhhhiiiikkkkkkllllllllmm"
                                               "mmmmnnnnnnnnoooooooopppprrrrrrrrssssssssssttttttttuuuuuuuuuuvvvv"
                                               "wwwwwwwwwwxxxxyyzzzzzzhtwy------aaaaaaaaaaaaaaaaaaaaaaaaeeeeeeee"
                                               "eeeeeeeeiiiioooooooooooooooooooooooouuuuuuuuuuuuuuyyyyyyyy------";

/* Letters that are written as two. */
static const struct {
    uint32_t character;
    char letters[3];
} pairs[] = {{0xC6, "ae"},  {0xE6, "ae"},  {0xDE, "th"},  {0xFE, "th"},  {0xDF, "ss"},
             {0x132, "ij"}, {0x133, "ij"}, {0x152, "oe"}, {0x153, "oe"}, {0x1E9E, "ss"}};

/* What one character becomes: one or two of [a-z0-9_], "" for a combining accent or apostrophe, "-"
 * for anything else. */
static const char *slug_of(uint32_t character, char single[static 2]) {
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (pairs[i].character == character) return pairs[i].letters;
    single[0] = '-';
    single[1] = 0;
    if (character < 0x80) {
        char c = (char)character;
        if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_') single[0] = c;
        if (c == '\'') single[0] = 0;
    } else if (character >= 0xC0 && character < 0xC0 + sizeof latin_letters - 1) {
        single[0] = latin_letters[character - 0xC0];
    } else if (character >= 0x1E00 && character < 0x1E00 + sizeof latin_additional_letters - 1) {
        single[0] = latin_additional_letters[character - 0x1E00];
    } else if ((character >= 0x300 && character <= 0x36F) || character == 0x2019) {
        single[0] = 0;
    }
    return single;
}

char *identifier_slug(const char *name) {
    char slug[SLUG_CHARACTERS_MAX + 1];
    size_t used = 0;
    bool gap = false; /* a '-' is due before the next letter */
    const char *end = name + strlen(name);
    for (const char *at = name; at < end;) {
        uint32_t character;
        char single[2];
        size_t length = text_decode(at, end, &character);
        const char *letters = length > 0 ? slug_of(character, single) : "-";
        at += length > 0 ? length : 1;
        if (letters[0] == 0) continue;
        /* An id begins with a letter or digit. */
        if (letters[0] == '-' || (letters[0] == '_' && used == 0)) {
            gap = used > 0;
            continue;
        }
        if (used + (gap ? 1U : 0U) + strlen(letters) > SLUG_CHARACTERS_MAX) break;
        if (gap) slug[used++] = '-';
        gap = false;
        while (*letters) slug[used++] = *letters++;
    }
    slug[used] = 0;
    return text_copy(slug);
}

bool identifier_valid(const char *id) {
    size_t length = 0;
    for (; id[length]; length++) {
        char c = id[length];
        bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (length == SLUG_CHARACTERS_MAX || (!letter && (length == 0 || (c != '-' && c != '_')))) return false;
    }
    return length > 0;
}
