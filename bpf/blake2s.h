/* The end of a BLAKE2s hash (RFC 7693): one short last block, behind the state in which all before it has left the hash. */
#pragma once
#include "maps.h"

#define BLAKE2S_BLOCK_BYTES 64

#define ROTATED(word, by) ((word) >> (by) | (word) << (32 - (by)))

#define HALF_MIX(a, b, c, d, word, by_d, by_b)                                                                                    \
	do {                                                                                                                      \
		v[a] += v[b] + (word);                                                                                            \
		v[d] = ROTATED(v[d] ^ v[a], by_d);                                                                                \
		v[c] += v[d];                                                                                                     \
		v[b] = ROTATED(v[b] ^ v[c], by_b);                                                                                \
	} while (0)

#define MIX(a, b, c, d, first, second)                                                                                            \
	do {                                                                                                                      \
		HALF_MIX(a, b, c, d, m[first], 16, 12);                                                                           \
		HALF_MIX(a, b, c, d, m[second], 8, 7);                                                                            \
	} while (0)

#define ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15)                                               \
	do {                                                                                                                      \
		MIX(0, 4, 8, 12, s0, s1);                                                                                         \
		MIX(1, 5, 9, 13, s2, s3);                                                                                         \
		MIX(2, 6, 10, 14, s4, s5);                                                                                        \
		MIX(3, 7, 11, 15, s6, s7);                                                                                        \
		MIX(0, 5, 10, 15, s8, s9);                                                                                        \
		MIX(1, 6, 11, 12, s10, s11);                                                                                      \
		MIX(2, 7, 8, 13, s12, s13);                                                                                       \
		MIX(3, 4, 9, 14, s14, s15);                                                                                       \
	} while (0)

/* What is hashed, as words of four bytes in the order of memory: for a cookie all of them. */
struct hashed_message {
	__u32 words[COOKIE_MESSAGE_BYTES / 4];
};

/* The first words of the hash, of which a cookie needs ten bytes. */
struct hash_digest {
	__u32 words[3];
};

/*
 * A function of its own, for its stack. There is no loop: all places are known when it is compiled, so most of it is in registers
 * and the verifier has one way through it. `h` is the state, eight words; `bytes` were hashed with this block, all together.
 */
static __noinline int finish_hash(const __u32 *h, __u32 bytes, const struct hashed_message *message, struct hash_digest *digest)
{
	__u32 m[16] = {
		message->words[0], message->words[1], message->words[2], message->words[3], message->words[4], message->words[5],
	};
	__u32 v[16] = {
		h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
		0x510e527f ^ bytes, 0x9b05688c, ~0x1f83d9ab, 0x5be0cd19,
	};

	ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
	ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3);
	ROUND(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4);
	ROUND(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8);
	ROUND(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13);
	ROUND(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9);
	ROUND(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11);
	ROUND(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10);
	ROUND(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5);
	ROUND(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0);
	digest->words[0] = h[0] ^ v[0] ^ v[8];
	digest->words[1] = h[1] ^ v[1] ^ v[9];
	digest->words[2] = h[2] ^ v[2] ^ v[10];
	return 0;
}
