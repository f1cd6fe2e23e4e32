/* TCP options: the layouts that are carried, SACK blocks in the other side's numbers, and the client-address option. */
#pragma once
#include "progress.h"

/* Two NOPs, and kind and length of the option behind them. */
#define TIMESTAMP_HEAD 0x0101080au
#define TIMESTAMP_BYTES 12
#define SACK_HEAD 0x010105u /* its length is in the eight bits behind */
#define HEAD_BYTES 4
#define MSS_HEAD 0x0204u
#define MOST_OPTIONS 40
#define MOST_EDGES 8

#define CLIENT_OPTION_BYTES 8
#define LEAST_MSS 88

struct sack {
	__u32 start; /* of the first edge, from the start of the frame; 0 without SACK blocks */
	__u32 edges;
};

/* A function of its own: so its variable on the stack, of which there are 512 bytes, is there once. */
static __noinline __u32 word_at(struct __sk_buff *skb, __u32 place)
{
	__be32 word = 0;

	bpf_skb_load_bytes(skb, place, &word, sizeof(word));
	return bpf_ntohl(word);
}

/* Reads the options of a packet that opens nothing. False when they are laid out in an unusual way. */
static __always_inline int read_options(struct __sk_buff *skb, struct packet *packet, struct sack *sack)
{
	__u32 start = OPTIONS_START, bytes = packet->options, head, edges;

	if (!bytes)
		return 1;
	head = word_at(skb, start);
	if (head == TIMESTAMP_HEAD && bytes >= TIMESTAMP_BYTES) {
		if (bytes == TIMESTAMP_BYTES)
			return 1;
		start += TIMESTAMP_BYTES;
		bytes -= TIMESTAMP_BYTES;
		head = word_at(skb, start);
	}
	edges = (bytes - HEAD_BYTES) / 4;
	if (head >> 8 != SACK_HEAD || (head & 0xff) + 2 != bytes || !edges || edges % 2)
		return 0;
	sack->start = start + HEAD_BYTES;
	sack->edges = edges;
	return 1;
}

/* Moves both edges of each SACK block by `delta`. Adds to `sum` what that adds to the words of the packet; 0 when all is well. */
static __always_inline int shift_sack(struct __sk_buff *skb, struct sack *sack, __u32 delta, __u32 *sum)
{
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < MOST_EDGES; i++) {
		__u32 was, is;
		__be32 edge;

		if (i >= sack->edges)
			break;
		was = word_at(skb, sack->start + 4 * i);
		is = was + delta;
		edge = bpf_htonl(is);
		*sum += change_of(was, is);
		if (bpf_skb_store_bytes(skb, sack->start + 4 * i, &edge, sizeof(edge), 0))
			return -1;
	}
	return 0;
}

/*
 * Puts the client's address in front of all options of a packet that was made longer already, and adds to `sum` what that adds to
 * its words, the data offset among them. Returns 0 when all is well; else the packet is of no use any more.
 */
static __always_inline int insert_client_option(struct __sk_buff *skb, struct packet *packet, __u32 kind, __u32 *sum)
{
	__u32 bytes = packet->total - (OPTIONS_START - IP_START), port = bpf_ntohs(packet->source_port);
	struct {
		__u8 kind;
		__u8 length;
		__be16 port;
		__be32 address;
	} option = {kind, CLIENT_OPTION_BYTES, packet->source_port, packet->source};

	if (bytes) {
		__u32 last = bytes - 1;
		struct scratch *copy = copied(skb, OPTIONS_START, bytes);

		asm volatile("" : "+r"(last));
		if (!copy || last >= SCRATCH_BYTES)
			return -1;
		asm volatile("" : "+r"(last));
		if (bpf_skb_store_bytes(skb, OPTIONS_START + CLIENT_OPTION_BYTES, copy->bytes, last + 1, 0))
			return -1;
	}
	*sum += (kind << 8) + CLIENT_OPTION_BYTES + port + words_of(bpf_ntohl(packet->source));
	*sum += CLIENT_OPTION_BYTES / 4 << DATA_OFFSET_SHIFT;
	return bpf_skb_store_bytes(skb, OPTIONS_START, &option, sizeof(option), 0);
}

/* The MSS that leaves room for the option on a route with this MTU, as nat.opening has it. */
static __always_inline __u32 fitting_mss(__u32 mss, __u32 mtu)
{
	__u32 most = mtu - (OPTIONS_START - IP_START);
	__s32 fitting = (__s32)(mss < most ? mss : most) - CLIENT_OPTION_BYTES;
	__s32 least = mss < LEAST_MSS ? mss : LEAST_MSS;

	return fitting < least ? least : fitting;
}
