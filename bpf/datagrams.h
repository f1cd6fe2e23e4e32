/*
 * Datagrams of no session, from source networks that have all the sessions that they may have: their shard has said that it opens
 * none for a moment, and so they end here. Those of clients that may have a session of their shard go up: not all sessions of UDP
 * are in the lane.
 */
#pragma once
#include "front_door.h"

#define UDP_LENGTH_START (TRANSPORT_START + 4)

/* Whether its shard may have a session of the client: `sessions.datagram_clients`. */
static __always_inline int may_have_session(const struct packet *packet, __u32 shard, __u32 bits)
{
	__u64 client = (__u64)bpf_ntohl(packet->source) << 16 | bpf_ntohs(packet->source_port);
	__u32 place = (shard << (bits & 31)) + (__u32)(client * DATAGRAM_MULTIPLIER >> ((64 - bits) & 63));
	__u32 page = place / CHANGED_PAGE_BYTES;
	struct changed_page *clients = bpf_map_lookup_elem(&datagram_clients, &page);

	return !clients || ((volatile __u8 *)clients->entries)[place % CHANGED_PAGE_BYTES];
}

/* Whether the shard of the client opens no session for its network at this moment. */
static __always_inline int is_refused(const struct packet *packet, const struct datagram_rule *rule, __u32 shard, __u32 generation)
{
	struct refused_source_key key = {.shard = shard};
	struct refused_source *refused;

	*(__u32 *)key.network = packet->source & *(__u32 *)rule->source_mask;
	refused = bpf_map_lookup_elem(&refused_sources, &key);
	return refused && refused->generation == generation && bpf_ktime_get_ns() < refused->until_ns;
}

/* Whether the length in its header is one that it can have: `wire.integrity`. */
static __always_inline int has_its_length(struct __sk_buff *skb, const struct packet *packet)
{
	__be16 length;

	if (bpf_skb_load_bytes(skb, UDP_LENGTH_START, &length, sizeof(length)))
		return 0;
	return bpf_ntohs(length) >= sizeof(struct udphdr) && bpf_ntohs(length) <= packet->total - sizeof(struct iphdr);
}

/* A function of its own, for its stack: the datagram is read anew. It has no session in the lane. */
static __noinline int end_datagram(struct __sk_buff *skb, struct settings *how)
{
	struct packet packet = {};
	struct way_out way = {};
	struct rewrite to = {};
	struct datagram_rule *rule;
	struct front_door_key key;
	__u32 shard, reason;

	if (!how || read_ip(skb, &packet) || read_udp(skb, &packet))
		return up(COUNT_UP_NO_SESSION);
	key = service_of(&packet);
	rule = bpf_map_lookup_elem(&datagram_rules, &key);
	if (!rule)
		return up(COUNT_UP_NO_SESSION);
	shard = shard_of_client(&packet);
	if (!is_refused(&packet, rule, shard, how->generation) || may_have_session(&packet, shard, rule->place_bits))
		return up(COUNT_UP_NO_SESSION);
	if (!has_its_length(skb, &packet))
		return up(COUNT_UP_IP);
	to.source = packet.destination;
	to.destination = packet.source;
	to.source_port = packet.destination_port;
	to.destination_port = packet.source_port;
	reason = find_client(skb, &packet, &to, &way);
	if (reason)
		return up(reason);
	count(COUNT_SOURCE_LIMIT);
	return TC_ACT_SHOT;
}
