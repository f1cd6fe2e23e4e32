/* A segment that is made anew in the place of one that came. Its checksum is moved, because that may be half a one: see `overwrite`. */
#pragma once
#include "front_door.h"

struct crafted {
	struct iphdr ip;
	struct tcphdr tcp;
	__be32 client[CLIENT_OPTION_BYTES / 4];
	__be32 options[MOST_OFFERED];
	__u32 words; /* of `options` */
	__u32 has_client; /* whether the client-address option is in front of them */
	__u32 payload; /* bytes of data, which whoever makes it writes */
	__u32 payload_sum; /* of its words */
};

_Static_assert(sizeof(struct crafted) <= CRAFTED_BYTES, "it has room");

/* One that is empty; null never. */
static __always_inline struct crafted *new_crafted(void)
{
	__u32 zero = 0;
	struct scratch *copy = bpf_map_lookup_elem(&scratch, &zero);
	struct crafted none = {};

	if (!copy)
		return 0;
	*(struct crafted *)copy->crafted = none;
	return (struct crafted *)copy->crafted;
}

/* What the words of `bytes` in a map add up to, a multiple of 4 of them. */
static __always_inline __u32 sum_in_map(const void *start, __u32 bytes)
{
	return bpf_ntohs(folded(bpf_csum_diff(0, 0, (void *)start, bytes, 0)));
}

static __always_inline __u32 bytes_of_options(const struct crafted *made)
{
	return (made->has_client ? CLIENT_OPTION_BYTES : 0) + 4 * made->words;
}

/* Puts the address of the client of a session in front of all options. */
static __always_inline void name_client(struct crafted *made, const struct session_record *record, __u32 kind)
{
	made->client[0] = bpf_htonl(kind << 24 | CLIENT_OPTION_BYTES << 16 | bpf_ntohs(port_in(record->client_port)));
	made->client[1] = address_in(record->client_address);
	made->has_client = 1;
}

/* Fills in the ends, the sizes and the flags, and the checksum of IP. Returns how many bytes the packet has. */
static __always_inline __u32 finish_headers(struct crafted *made, const struct rewrite *to, __u32 flags)
{
	__u32 header = sizeof(made->tcp) + bytes_of_options(made), total = sizeof(made->ip) + header + made->payload;

	*(__u8 *)&made->ip = IPV4_NO_OPTIONS;
	made->ip.tot_len = bpf_htons(total);
	made->ip.protocol = IPPROTO_TCP;
	made->ip.saddr = to->source;
	made->ip.daddr = to->destination;
	made->ip.check = 0;
	made->ip.check = bpf_htons(~folded(sum_in_map(&made->ip, sizeof(made->ip))));
	made->tcp.source = to->source_port;
	made->tcp.dest = to->destination_port;
	((__be16 *)&made->tcp)[6] = bpf_htons(header / 4 << DATA_OFFSET_SHIFT | flags);
	made->tcp.check = 0;
	return total;
}

/* The options, each word by itself: there is nothing to write to behind the last one. */
static __always_inline int write_options(struct __sk_buff *skb, const struct crafted *made)
{
	__u32 start = OPTIONS_START;

	if (made->has_client) {
		if (bpf_skb_store_bytes(skb, start, made->client, sizeof(made->client), 0))
			return -1;
		start += sizeof(made->client);
	}
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < MOST_OFFERED; i++) {
		if (i < made->words && bpf_skb_store_bytes(skb, start + 4 * i, &made->options[i], 4, 0))
			return -1;
	}
	return 0;
}

/*
 * Writes the headers of a segment over `packet`, and gives it its size. `to` are its ends. Returns 0 when all is well; else the
 * packet is of no use any more.
 */
static __noinline int write_over(struct __sk_buff *skb, const struct packet *packet, struct crafted *made, const struct rewrite *to,
				 __u32 flags)
{
	__u32 total = finish_headers(made, to, flags), was_bytes = packet->total - sizeof(struct iphdr);
	__u32 source = bpf_ntohl(packet->source), destination = bpf_ntohl(packet->destination);
	__u32 pseudo = words_of(source) + words_of(destination) + IPPROTO_TCP + was_bytes;
	__u32 sum = sum_in_map(&made->tcp, sizeof(made->tcp) + sizeof(made->client) + sizeof(made->options));

	sum += made->payload_sum + packet->checksum + pseudo;
	pseudo = change_of(source, bpf_ntohl(to->source)) + change_of(destination, bpf_ntohl(to->destination));
	pseudo += change_of_word(was_bytes, total - sizeof(struct iphdr));
	made->tcp.check = bpf_htons(packet->checksum);
	if (skb->len != IP_START + total && bpf_skb_change_tail(skb, IP_START + total, 0))
		return -1;
	if (bpf_skb_store_bytes(skb, IP_START, made, OPTIONS_START - IP_START, 0) || write_options(skb, made))
		return -1;
	move_checksum(skb, TCP_CHECKSUM, pseudo, sum, 0);
	return 0;
}
