/* The way of a packet out of the machine, by the kernel's routes. */
#pragma once
#include "packet.h"

#ifndef AF_INET
#define AF_INET 2
#endif

/* What a packet gets written over its headers, addresses and ports in network order. */
struct rewrite {
	__u32 source;
	__u32 destination;
	__u16 source_port;
	__u16 destination_port;
	__u16 ip_delta;
	__u16 transport_delta;
	__u32 seq_delta;
	__u32 ack_delta;
	__s32 window_shift;
};

struct way_out {
	__u32 interface;
	struct bpf_redir_neigh next_hop;
};

static __always_inline __u32 address_in(const __u8 *field)
{
	return *(const __u32 *)field;
}

static __always_inline __u16 port_in(const __u8 *field)
{
	return *(const __u16 *)field;
}

/*
 * Asks the kernel's routes about the packet as it will be, `longer` bytes longer. Returns 0, or the counter of why it goes up.
 * Whether the next hop's address is known does not matter: whoever sends the packet asks for it.
 */
static __noinline __u32 find_way(struct __sk_buff *skb, struct packet *packet, struct rewrite *to, __u32 longer,
				      struct way_out *way)
{
	struct bpf_fib_lookup route = {
		.family = AF_INET,
		.l4_protocol = packet->protocol,
		.sport = to->source_port,
		.dport = to->destination_port,
		.tot_len = packet->largest + longer,
		.ifindex = skb->ifindex,
		.tos = packet->tos,
		.ipv4_src = to->source,
		.ipv4_dst = to->destination,
	};
	long answer = bpf_fib_lookup(skb, &route, sizeof(route), 0);

	if ((answer != BPF_FIB_LKUP_RET_SUCCESS && answer != BPF_FIB_LKUP_RET_NO_NEIGH) || route.family != AF_INET)
		return COUNT_UP_ROUTE;
	way->interface = route.ifindex;
	way->next_hop.nh_family = AF_INET;
	way->next_hop.ipv4_nh = route.ipv4_dst;
	return 0;
}

static __always_inline int send(struct way_out *way)
{
	return bpf_redirect_neigh(way->interface, &way->next_hop, sizeof(way->next_hop), 0);
}
