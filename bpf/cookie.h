/* A SYN cookie: `proxy.cookie` says what is in it. All of them are checked there. */
#pragma once
#include "blake2s.h"
#include "packet.h"

#define NS_PER_S 1000000000ull
#define OFFER_MASK ((1u << COOKIE_OFFER_BITS) - 1)
#define AUTH_MASK ((1u << COOKIE_AUTH_BITS) - 1)

/* What a client offers in its SYN. */
struct offer {
	__u32 mss;
	__u32 scale; /* COOKIE_NO_SCALE when it does not scale */
	__u32 sack;
	__u32 names_mss;
};

/* The key of this moment; null when nobody has said it. */
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

static __always_inline __u32 make_cookie(const struct packet *packet, const struct offer *offer, const struct cookie_key *key,
					 __u64 slot)
{
	struct cookie_message message = {{
		packet->source,
		packet->destination,
		packet->source_port | (__u32)packet->destination_port << 16,
		bpf_htonl(packet->seq),
		bpf_htonl(slot >> 32),
		bpf_htonl((__u32)slot),
	}};
	struct cookie_digest digest = {};
	__u32 first, second, third, code = code_of(offer), mask, a, b;

	finish_hash(key, &message, &digest);
	first = bpf_ntohl(digest.words[0]);
	second = bpf_ntohl(digest.words[1]);
	third = bpf_ntohl(digest.words[2]);
	mask = first >> 16 & OFFER_MASK;
	a = first << 16 | second >> 16;
	b = second << 16 | third >> 16 | 1;
	return (__u32)(slot % COOKIE_SLOTS) << (COOKIE_OFFER_BITS + COOKIE_AUTH_BITS) | (code ^ mask) << COOKIE_AUTH_BITS |
	       ((a + b * code) & AUTH_MASK);
}
