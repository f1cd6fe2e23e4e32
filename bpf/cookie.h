/* A SYN cookie: `proxy.cookie` says what is in it. One that is right here is checked there again. */
#pragma once
#include "blake2s.h"
#include "packet.h"

#define NS_PER_S 1000000000ull
#define OFFER_MASK ((1u << COOKIE_OFFER_BITS) - 1)
#define COOKIE_SLOT_SHIFT (COOKIE_OFFER_BITS + COOKIE_AUTH_BITS)
#define AUTH_MASK ((1u << COOKIE_AUTH_BITS) - 1)

/* What a client offers in its SYN. */
struct offer {
	__u32 mss;
	__u32 scale; /* COOKIE_NO_SCALE when it does not scale */
	__u32 sack;
	__u32 names_mss;
};

/* The key of this slot; null when nobody has said it. */
static __always_inline struct cookie_key *cookie_key(__u64 slot)
{
	__u64 epoch = slot / COOKIE_SLOTS_PER_KEY;
	__u32 place = epoch % COOKIE_KEYS;
	struct cookie_key *key = bpf_map_lookup_elem(&cookie_keys, &place);

	return key && *(volatile __u64 *)&key->next_epoch == epoch + 1 ? key : 0;
}

static __always_inline __u32 code_of(const struct offer *offer)
{
	__u32 index = 0;

#define IS_AT_LEAST(size) index += offer->mss >= (size);
	FOR_EACH_COOKIE_MSS(IS_AT_LEAST)
#undef IS_AT_LEAST
	if (index)
		index -= 1;
	return index << 5 | offer->scale << 1 | offer->sack;
}

/* The mask of an offer, and the two numbers that go with it into its authentication. */
struct cookie_numbers {
	__u32 mask;
	__u32 a;
	__u32 b;
};

/* Those of the cookie that a client with this initial number gets in this slot, for the packet's flow. */
static __always_inline void read_numbers(const struct packet *packet, __u32 isn, const struct cookie_key *key, __u64 slot,
					 struct cookie_numbers *numbers)
{
	struct hashed_message message = {{
		packet->source,
		packet->destination,
		packet->source_port | (__u32)packet->destination_port << 16,
		bpf_htonl(isn),
		bpf_htonl(slot >> 32),
		bpf_htonl((__u32)slot),
	}};
	struct hash_digest digest = {};
	__u32 first, second, third;

	finish_hash((const void *)key->state, BLAKE2S_BLOCK_BYTES + COOKIE_MESSAGE_BYTES, &message, &digest);
	first = bpf_ntohl(digest.words[0]);
	second = bpf_ntohl(digest.words[1]);
	third = bpf_ntohl(digest.words[2]);
	numbers->mask = first >> 16 & OFFER_MASK;
	numbers->a = first << 16 | second >> 16;
	numbers->b = second << 16 | third >> 16 | 1;
}

static __always_inline __u32 make_cookie(const struct packet *packet, const struct offer *offer, const struct cookie_key *key,
					 __u64 slot)
{
	struct cookie_numbers numbers = {};
	__u32 code = code_of(offer);

	read_numbers(packet, packet->seq, key, slot, &numbers);
	return (__u32)(slot % COOKIE_SLOTS) << COOKIE_SLOT_SHIFT | (code ^ numbers.mask) << COOKIE_AUTH_BITS |
	       ((numbers.a + numbers.b * code) & AUTH_MASK);
}

#define COOKIE_IS_RIGHT 0
#define COOKIE_IS_WRONG 1
#define COOKIE_HAS_NO_KEY 2

/* What the code of an offer, in a cookie that was right, says. */
static __always_inline void read_code(__u32 code, struct offer *offer)
{
	__u32 index = code >> 5, place = 0;

#define IS_AT(size) \
	if (place++ == index) \
		offer->mss = (size);
	FOR_EACH_COOKIE_MSS(IS_AT)
#undef IS_AT
	offer->names_mss = 1;
	offer->scale = code >> 1 & 0xf;
	offer->sack = code & 1;
}

/* Whether the packet acknowledges the cookie of a client with this initial number; `code` is that of the offer in it. */
static __noinline int check_cookie(const struct packet *packet, __u32 isn, __u32 *code)
{
	__u64 slot = bpf_ktime_get_ns() / (NS_PER_S * COOKIE_SLOT_S);
	__u32 cookie = packet->ack - 1, age = (slot - (cookie >> COOKIE_SLOT_SHIFT)) % COOKIE_SLOTS;
	struct cookie_numbers numbers = {};
	struct cookie_key *key;

	if (age > slot)
		return COOKIE_IS_WRONG;
	slot -= age;
	key = cookie_key(slot);
	if (!key)
		return COOKIE_HAS_NO_KEY;
	read_numbers(packet, isn, key, slot, &numbers);
	*code = (cookie >> COOKIE_AUTH_BITS & OFFER_MASK) ^ numbers.mask;
	return ((numbers.a + numbers.b * *code) & AUTH_MASK) == (cookie & AUTH_MASK) ? COOKIE_IS_RIGHT : COOKIE_IS_WRONG;
}
