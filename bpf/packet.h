/* A packet: what of it the program reads, and whether it is one that a lane may carry at all. */
#pragma once
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include "checksum.h"

#define IP_START ((__u32)sizeof(struct ethhdr))
#define TRANSPORT_START (IP_START + (__u32)sizeof(struct iphdr))
#define OPTIONS_START (TRANSPORT_START + (__u32)sizeof(struct tcphdr))

#define IPV4_NO_OPTIONS 0x45
#define FRAGMENT_BITS 0x3fff

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define PSH 0x08
#define ACK 0x10
#define URG 0x20
#define FLAG_BITS 0x3f
#define ALL_FLAGS 0xfff
#define DATA_OFFSET_SHIFT 12

#define INBOUND 0 /* client to real server */
#define OUTBOUND 1

struct packet {
	__u32 source; /* in network order, as the ports */
	__u32 destination;
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 tos;
	__u8 ttl;
	__u8 flags; /* of TCP: the six of RFC 9293 */
	__u8 direction;
	__u32 total; /* bytes from the IP header on */
	__u32 header; /* bytes of both headers, options included */
	__u32 payload; /* bytes of data, in all segments */
	__u32 segments; /* how many the kernel would make of it, or has made it of */
	__u32 largest; /* bytes of the largest one of them, IP header included */
	__u32 options; /* bytes of TCP options */
	__u32 seq; /* in host order, as all below */
	__u32 ack;
	__u32 offset_flags;
	__u32 window;
	__u32 checksum; /* of TCP or UDP */
};

/* Whether a frame of this many bytes lies in one piece at skb->data, so that it can be read and written there. */
static __always_inline int is_at_hand(struct __sk_buff *skb, __u32 bytes)
{
	if ((void *)(long)skb->data + bytes <= (void *)(long)skb->data_end)
		return 1;
	return !bpf_skb_pull_data(skb, bytes) && (void *)(long)skb->data + bytes <= (void *)(long)skb->data_end;
}

/* Reads the IP header and the ports. Returns 0, or the counter of why the packet goes up. */
static __always_inline __u32 read_ip(struct __sk_buff *skb, struct packet *packet)
{
	const __u32 needed = TRANSPORT_START + sizeof(struct udphdr);
	struct ethhdr *eth;
	struct iphdr *ip;
	struct udphdr *ports;

	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->pkt_type != PACKET_HOST || skb->vlan_present)
		return COUNT_UP_NO_SESSION;
	if (!is_at_hand(skb, needed))
		return COUNT_UP_NO_SESSION;
	eth = (void *)(long)skb->data;
	if ((void *)eth + needed > (void *)(long)skb->data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		return COUNT_UP_NO_SESSION;
	ip = (void *)(eth + 1);
	ports = (void *)(ip + 1);
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return COUNT_UP_NO_SESSION;
	packet->total = bpf_ntohs(ip->tot_len);
	if (*(__u8 *)ip != IPV4_NO_OPTIONS || ip->frag_off & bpf_htons(FRAGMENT_BITS) || packet->total > skb->len - IP_START)
		return COUNT_UP_IP;
	if (!is_header_sound(ip)) /* the kernel drops it further up, and it may have been meant for somebody else */
		return COUNT_UP_CHECKSUM;
	packet->source = ip->saddr;
	packet->destination = ip->daddr;
	packet->source_port = ports->source;
	packet->destination_port = ports->dest;
	packet->protocol = ip->protocol;
	packet->tos = ip->tos;
	packet->ttl = ip->ttl;
	/* Behind a short packet there may be padding. A packet of several segments has none. */
	if (skb->gso_size && packet->total != skb->len - IP_START)
		return COUNT_UP_IP;
	return 0;
}

static __always_inline void count_segments(struct __sk_buff *skb, struct packet *packet)
{
	__u32 size = skb->gso_size;

	packet->segments = 1;
	packet->largest = packet->total;
	if (size && packet->payload > size) {
		packet->segments = (packet->payload + size - 1) / size;
		packet->largest = packet->header + size;
	}
}

static __always_inline __u32 read_tcp(struct __sk_buff *skb, struct packet *packet)
{
	struct tcphdr *tcp;

	if (!is_at_hand(skb, OPTIONS_START))
		return COUNT_UP_IP;
	tcp = (void *)(long)skb->data + TRANSPORT_START;
	if ((void *)(tcp + 1) > (void *)(long)skb->data_end)
		return COUNT_UP_IP;
	packet->offset_flags = bpf_ntohs(((__be16 *)tcp)[6]);
	packet->flags = packet->offset_flags & FLAG_BITS;
	packet->seq = bpf_ntohl(tcp->seq);
	packet->ack = bpf_ntohl(tcp->ack_seq);
	packet->window = bpf_ntohs(tcp->window);
	packet->checksum = bpf_ntohs(tcp->check);
	packet->header = sizeof(struct iphdr) + tcp->doff * 4;
	if (tcp->doff < 5 || packet->header > packet->total)
		return COUNT_UP_IP;
	packet->options = packet->header - sizeof(struct iphdr) - sizeof(struct tcphdr);
	packet->payload = packet->total - packet->header;
	count_segments(skb, packet);
	return 0;
}

static __always_inline __u32 read_udp(struct __sk_buff *skb, struct packet *packet)
{
	packet->header = sizeof(struct iphdr) + sizeof(struct udphdr);
	if (packet->header > packet->total)
		return COUNT_UP_IP;
	packet->payload = packet->total - packet->header;
	packet->segments = 1;
	packet->largest = packet->total;
	return skb->gso_size ? COUNT_UP_SEGMENTS : 0;
}

/* Whether the checksum of a TCP packet of one segment is right. */
static __always_inline int is_tcp_sound(struct __sk_buff *skb, struct packet *packet)
{
	__u32 bytes = packet->total - sizeof(struct iphdr);
	__u32 pseudo = words_of(bpf_ntohl(packet->source)) + words_of(bpf_ntohl(packet->destination)) + IPPROTO_TCP + bytes;

	return is_sound(skb, TRANSPORT_START, bytes, pseudo, packet->checksum);
}
