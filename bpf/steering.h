/* Which shard gets the packets of a client: `policy.steering`, as the rules of nftables have it. */
#pragma once
#include "packet.h"

#define HASH_START 0xdeadbeefu
#define CLIENT_BYTES 8 /* address and port, four bytes each */

#define TURNED(word, by) ((word) << (by) | (word) >> (32 - (by)))

/* The slot of a client in `policy.steering`: the `jhash` of nftables, modulo 256. */
static __always_inline __u32 slot_of_client(const struct packet *packet, __u32 seed)
{
	__u32 c = HASH_START + CLIENT_BYTES + seed, a = c + packet->source, b = c + packet->source_port;

	c = (c ^ b) - TURNED(b, 14);
	a = (a ^ c) - TURNED(c, 11);
	b = (b ^ a) - TURNED(a, 25);
	c = (c ^ b) - TURNED(b, 16);
	a = (a ^ c) - TURNED(c, 4);
	b = (b ^ a) - TURNED(a, 14);
	c = (c ^ b) - TURNED(b, 24);
	return c >> 24;
}

/* The shard of a client. */
static __always_inline __u32 shard_of_client(const struct packet *packet)
{
	__u32 zero = 0;
	struct steering *how = bpf_map_lookup_elem(&steering, &zero);

	if (!how || how->shards <= 1)
		return 0;
	return how->shard_of_slot[slot_of_client(packet, how->hash_seed) & (STEERING_SLOTS - 1)];
}
