/*
 * A client comes again whose session is over and whose endpoint rests: the flow that leads there makes way for its new session, as
 * `ipc.admission_layout` describes it under HOME_FIELDS. The endpoint stays where it is, for whoever gets it later.
 */
#pragma once
#include "endpoints.h"
#include "front_door.h"

/* An endpoint that stands in a line of its pool has a place below this; above it are the marks. */
#define PLACES_OF_POOL (LINES_OF_POOL * LINE_PLACES)

/* The flow of a client's packets to the service of a record. */
static __always_inline struct flow client_flow(const struct session_record *record, __be32 address, __be16 port)
{
	struct flow flow = {
		.family = 4,
		.protocol = IPPROTO_TCP,
		.source_port = port,
		.destination_port = port_in(record->vip_port),
	};

	*(__u32 *)flow.source_address = address;
	*(__u32 *)flow.destination_address = address_in(record->vip_address);
	return flow;
}

/* The flow of a client leads to this entry no more; when the client has got another session meanwhile, its flow stays. */
static __always_inline void forget_client_flow(struct session_record *record, __u32 entry)
{
	struct flow flow = client_flow(record, address_in(record->client_address), port_in(record->client_port));
	__u32 *value = bpf_map_lookup_elem(&flows, &flow);

	if (value && *value == (entry << FLOW_VALUE_BITS | INBOUND))
		bpf_map_delete_elem(&flows, &flow);
}

/* Whether the endpoint of an entry rests. */
static __always_inline int rests(__u32 entry)
{
	struct home *home = bpf_map_lookup_elem(&homes, &entry);

	return home && home->pool && *(volatile __u32 *)&home->place < PLACES_OF_POOL;
}

/*
 * Whether a packet that may not be carried opens a new connection in the place of a session that is over. While such packets get
 * cookies, that is for a shard.
 */
static __always_inline int is_new_connection(struct __sk_buff *skb, struct packet *packet, const struct session *session)
{
	return session->is_held && session->direction == INBOUND && is_syn(skb, packet) && rests(session->entry) &&
	       !gets_cookie(skb, packet);
}

/*
 * Lets the client of a SYN go from the endpoint that it had. Only one program at a time does that with an endpoint; who takes it
 * meanwhile leaves it alone, and it is void. The record keeps its client, whom others may just be reading there, but is that of no
 * session any more. Programs have entered `ring`. Returns 0, or the counter of why the packet goes up.
 */
static __noinline __u32 let_client_go(const struct packet *packet, __u32 ring)
{
	struct session session = {};
	__u32 reason = COUNT_UP_RACE, place;
	struct home *home;

	if (find_session(packet, &session))
		return session.has_flow ? COUNT_UP_RACE : 0; /* without a flow it is gone already */
	if (packet->seq == session.record->client_isn) /* a late copy of the SYN that has opened it */
		return COUNT_UP_HELD;
	home = bpf_map_lookup_elem(&homes, &session.entry);
	if (!home || !home->pool || home->ring != ring)
		return COUNT_UP_HELD;
	place = *(volatile __u32 *)&home->place;
	if (place >= PLACES_OF_POOL || __sync_val_compare_and_swap(&home->place, place, PLACE_LET_GO) != place)
		return COUNT_UP_RACE;
	if (fits(packet, session.record, INBOUND)) {
		*(volatile __u16 *)&session.record->version = 0;
		forget_client_flow(session.record, session.entry);
		count(COUNT_CLIENT_RETURNED);
		reason = 0;
	}
	if (__sync_val_compare_and_swap(&home->place, PLACE_LET_GO, place) != PLACE_LET_GO)
		*(volatile __u32 *)&home->place = PLACE_VOID;
	return reason;
}
