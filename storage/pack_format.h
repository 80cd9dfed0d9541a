/*
 * Layout of a pack file; docs/formats.md has each byte. A pack is a chain of frames as RFC 8878
 * defines them: what is not row text stands in skippable frames (u32 magic, u32 size of the
 * content), so `zstd -dc` gives the rows of all slices. Little-endian.
 *
 *   header frame | slice: description frame, zstd frame, end frame | … | footer frame
 */
#pragma once

#include <stdint.h>

#define PACK_FORMAT 1
#define PACK_MAGIC "SLUICEPK"   /* 8 bytes, without the NUL */
#define SLICE_MAGIC 0x45434C53u /* "SLCE" */

#define FRAME_HEADER 0x184D2A50u
#define FRAME_DESCRIPTION 0x184D2A51u
#define FRAME_SLICE_END 0x184D2A52u
#define FRAME_FOOTER 0x184D2A53u
#define FRAME_PREFIX_BYTES 8

#define PACK_HEADER_BYTES 56 /* of the content */
#define PACK_FIRST_SLICE (FRAME_PREFIX_BYTES + PACK_HEADER_BYTES)
#define SLICE_TAIL_BYTES 112 /* end of the end frame's content, behind the block sizes */
#define FOOTER_ENTRY_BYTES 88
#define FOOTER_TAIL_BYTES 64 /* end of the footer's content, behind the entries */

#define PACK_BLOCK_BYTES (256u << 10)     /* of row text; one longer row is a block of its own */
#define PACK_BLOCK_BYTES_MAX (256u << 20) /* more is damage, not a row */
#define PACK_DESCRIPTION_BYTES_MAX (64u << 20)
