/* A packet's new headers. Checksums move by difference, as in `nat.fullnat`, so a damaged packet stays visibly damaged. */
#pragma once
#include "options.h"
#include "session.h"

#define TCP_CHECKSUM (TRANSPORT_START + (__u32)__builtin_offsetof(struct tcphdr, check))
#define UDP_CHECKSUM (TRANSPORT_START + (__u32)__builtin_offsetof(struct udphdr, check))

/* The time to live is the upper byte of its word. */
#define ONE_HOP 0x100

/* `hops`: 1 for a packet that leaves from here, 0 for one that the kernel routes. */
static __always_inline void rewrite_ip(struct iphdr *ip, struct rewrite *to, __u32 total, __u32 hops)
{
	/* A checksum is the complement of a sum: it falls by what the sum grows. */
	__u32 check = bpf_ntohs(ip->check) + to->ip_delta + hops * ONE_HOP + change_of_word(total, bpf_ntohs(ip->tot_len));

	check = folded(check);
	ip->check = check == 0xffff ? 0 : bpf_htons(check); /* zero has two forms, and this is the usual one */
	ip->tot_len = bpf_htons(total);
	ip->ttl -= hops;
	ip->saddr = to->source;
	ip->daddr = to->destination;
}

/* A window field moved by some bits to the left, up to what it can hold; to the right when `by` is negative. */
static __always_inline __u32 shifted(__u32 window, __s32 by)
{
	__u32 moved;

	if (by <= 0)
		return window >> (-by & 15);
	moved = window << (by & 15);
	return moved > 0xffff ? 0xffff : moved;
}

/*
 * Writes both headers of a TCP packet. `longer`: by how many bytes options have grown; `mss`: the new one, or 0; `sum`: what was
 * added to the words of the segment already; `hops` as above. Returns 0 when all is well; else the packet is of no use any more.
 */
static __always_inline int rewrite_tcp(struct __sk_buff *skb, struct packet *packet, struct rewrite *to, __u32 longer, __u32 mss,
				       __u32 sum, __u32 hops)
{
	__u32 seq = packet->seq + to->seq_delta, ack = packet->ack + to->ack_delta, window = packet->window;
	__u32 ports_delta = to->transport_delta + (0xffff - to->ip_delta); /* the other part is of the pseudo header */
	struct iphdr *ip = (void *)(long)skb->data + IP_START;
	struct tcphdr *tcp = (void *)(ip + 1);
	__be16 *mss_field = (void *)(tcp + 1) + 2;

	if ((void *)(tcp + 1) > (void *)(long)skb->data_end)
		return -1;
	if (mss) {
		if ((void *)(mss_field + 1) > (void *)(long)skb->data_end)
			return -1;
		sum += change_of_word(bpf_ntohs(*mss_field), mss);
		*mss_field = bpf_htons(mss);
	}
	if (to->window_shift) {
		window = shifted(packet->window, to->window_shift);
		sum += change_of_word(packet->window, window);
		tcp->window = bpf_htons(window);
	}
	sum += change_of(packet->seq, seq) + change_of(packet->ack, ack) + (~folded(ports_delta) & 0xffff);
	rewrite_ip(ip, to, packet->total + longer, hops);
	tcp->source = to->source_port;
	tcp->dest = to->destination_port;
	tcp->seq = bpf_htonl(seq);
	tcp->ack_seq = bpf_htonl(ack);
	tcp->doff += longer / 4;
	move_checksum(skb, TCP_CHECKSUM, (~to->ip_delta & 0xffff) + longer, sum, 0);
	return 0;
}

static __always_inline int rewrite_udp(struct __sk_buff *skb, struct packet *packet, struct rewrite *to)
{
	__u32 ports_delta = to->transport_delta + (0xffff - to->ip_delta);
	struct iphdr *ip = (void *)(long)skb->data + IP_START;
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(udp + 1) > (void *)(long)skb->data_end)
		return -1;
	rewrite_ip(ip, to, packet->total, 1);
	udp->source = to->source_port;
	udp->dest = to->destination_port;
	move_checksum(skb, UDP_CHECKSUM, ~to->ip_delta & 0xffff, ~folded(ports_delta) & 0xffff, BPF_F_MARK_MANGLED_0);
	return 0;
}
