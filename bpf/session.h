/* The session of a packet, and whether the lane may carry its packets at this moment. */
#pragma once
#include <linux/pkt_cls.h>
#include "route.h"
#include "state.h"

struct session {
	struct session_record *record;
	struct real_server *real_server;
	struct settings *settings;
	__u32 entry;
	__u32 direction;
	__u32 has_flow; /* whether the packet's flow is there, whatever its entry is */
	__u32 is_held;
	__u32 comes_again; /* whether its client has had another one, whose endpoint rests */
	__u32 ring; /* of prepared admissions, of which it may get one */
	__u32 is_proven; /* whether its client has returned a right cookie, for an offer with this code */
	__u32 code;
	union state_word was;
};

static __always_inline __u32 is_between(const struct packet *packet, const __u8 *source, const __u8 *source_port, const __u8 *destination,
					const __u8 *destination_port)
{
	return packet->source == address_in(source) && packet->destination == address_in(destination) &&
	       packet->source_port == port_in(source_port) && packet->destination_port == port_in(destination_port);
}

/* Whether the record is of the packet's flow: an entry may have got another session since the flow was looked up. */
static __always_inline __u32 fits(const struct packet *packet, struct session_record *record, __u32 direction)
{
	if (record->version != RECORD_VERSION || record->family != 4 || record->protocol != packet->protocol)
		return 0;
	if (direction == INBOUND)
		return is_between(packet, record->client_address, record->client_port, record->vip_address, record->vip_port);
	return is_between(packet, record->real_server_address, record->real_server_port, record->local_address, record->local_port);
}

/* Finds the session. Returns 0, or the counter of why the packet goes up. */
static __always_inline __u32 find_session(const struct packet *packet, struct session *session)
{
	struct flow flow = {
		.family = 4,
		.protocol = packet->protocol,
		.source_port = packet->source_port,
		.destination_port = packet->destination_port,
	};
	__u32 *value;

	*(__u32 *)flow.source_address = packet->source;
	*(__u32 *)flow.destination_address = packet->destination;
	value = bpf_map_lookup_elem(&flows, &flow);
	if (!value)
		return COUNT_UP_NO_SESSION;
	session->has_flow = 1;
	session->entry = *value >> 1;
	session->direction = *value & 1;
	session->record = bpf_map_lookup_elem(&sessions, &session->entry);
	if (!session->record)
		return COUNT_UP_NO_SESSION;
	/* First: whoever makes the record that of a new session lets go of it last, so one that is not held is read as a whole. */
	session->is_held = *(volatile __u32 *)&session->record->held;
	if (!fits(packet, session->record, session->direction))
		return COUNT_UP_NO_SESSION;
	return 0;
}

/* Whether the session's packets of this direction may take the lane at all. Returns 0, or the counter of why the packet goes up. */
static __always_inline __u32 may_carry(struct __sk_buff *skb, struct packet *packet, struct session *session)
{
	__u32 interface = skb->ifindex, slot = session->record->slot, wanted;
	__u8 *sides;

	if (session->is_held)
		return COUNT_UP_HELD;
	wanted = session->direction ? SIDE_REAL_SERVERS : SIDE_CLIENTS;
	sides = bpf_map_lookup_elem(&interfaces, &interface);
	if (!sides || !(*sides & wanted))
		return COUNT_UP_SIDE;
	session->real_server = bpf_map_lookup_elem(&real_servers, &slot);
	if (!session->real_server)
		return COUNT_UP_REMOVED;
	if (session->real_server->flags & RS_NO_LANE)
		return COUNT_UP_CLOSED;
	if (session->direction == INBOUND && session->real_server->flags & RS_IS_REMOVED)
		return COUNT_UP_REMOVED;
	if (packet->ttl <= 1)
		return COUNT_UP_TTL;
	session->was.word = *(volatile __u32 *)word_of(session->record);
	return 0;
}

/* What a packet of this direction gets written over its headers. */
static __always_inline void read_rewrite(struct session *session, struct rewrite *to)
{
	struct session_record *record = session->record;

	if (session->direction == INBOUND) {
		to->source = address_in(record->local_address);
		to->destination = address_in(record->real_server_address);
		to->source_port = port_in(record->local_port);
		to->destination_port = port_in(record->real_server_port);
		to->ip_delta = record->inbound_ip_delta;
		to->transport_delta = record->inbound_transport_delta;
		to->seq_delta = record->inbound_seq_delta;
		to->ack_delta = record->inbound_ack_delta;
		to->window_shift = record->inbound_window_shift;
	} else {
		to->source = address_in(record->vip_address);
		to->destination = address_in(record->client_address);
		to->source_port = port_in(record->vip_port);
		to->destination_port = port_in(record->client_port);
		to->ip_delta = record->outbound_ip_delta;
		to->transport_delta = record->outbound_transport_delta;
		to->seq_delta = record->outbound_seq_delta;
		to->ack_delta = record->outbound_ack_delta;
		to->window_shift = record->outbound_window_shift;
	}
}

static __always_inline void count(__u32 counter)
{
	__u64 *number = bpf_map_lookup_elem(&counts, &counter);

	if (number)
		*number += 1;
}

/* Counts a packet that is carried, for its session and its real server, and moves the session's deadline. */
static __always_inline void count_carried(struct packet *packet, struct session *session, __u64 now)
{
	__u32 key = session->record->slot * 2 + session->direction;
	__u32 bytes = packet->payload + packet->segments * packet->header;
	struct traffic *numbers = bpf_map_lookup_elem(&traffic, &key);

	session->record->last_seen_ns = now;
	count_packet(side_of(session->record, session->direction), packet->segments, bytes);
	if (numbers) {
		numbers->packets += packet->segments;
		numbers->bytes += bytes;
	}
	count(COUNT_CARRIED);
}

static __always_inline int up(__u32 reason)
{
	count(reason);
	return TC_ACT_UNSPEC;
}
