/*
 * Prepared admissions: the SYN of a new connection gets a real server, a local endpoint and a number that Python has chosen before it
 * came, as `ipc.admission_layout` describes it under RING_FIELDS. The SYN is rewritten as `nat.opening` would and goes up the stack, so
 * that the rules of the host judge each new connection. What is unusual goes up as it is, and is judged by Python.
 */
#pragma once
#include "by_client.h"
#include "endpoints.h"
#include "front_door.h"
#include "returning.h"
#include "segment.h"
#include "strays.h"

#define OPTION_TIMESTAMP 8
#define OPTION_TIMESTAMP_BYTES 10
#define TWO_NOPS 0x0101u
#define RESERVED_BITS 0x0f00
#define LEAST_TTL 32 /* `state.server_errors`: hosts begin with more, and a real server is only a few hops away */
#define STEERED 0x00a90000u /* the packet priority of `policy.ruleset` */

#define SYN_IS_ODD (1ull << 62)
#define SYN_TIMESTAMP_SHIFT 16 /* the place of the timestamp, counted from 1 */
#define SYN_TIMESTAMP_MASK 0xffull

/* Looks at one option of a SYN, as `look_at_option` does; here `seen` tells where the timestamp is, and whether all is usual. */
__noinline __u64 look_at_syn_option(__u64 seen)
{
	__u32 at = seen & 0xff, end = seen >> 8 & 0xff, zero = 0, kind, length;
	struct scratch *copy = bpf_map_lookup_elem(&scratch, &zero);

	if (!copy || at >= end || at >= MOST_OPTIONS)
		return seen | SEEN_END;
	kind = copy->bytes[at];
	if (kind == OPTION_NOP)
		return seen + 1;
	if (kind == OPTION_END)
		return seen | SEEN_END;
	length = copy->bytes[at + 1];
	if (at + 1 >= end || length < 2 || at + length > end)
		return seen | SEEN_END | SYN_IS_ODD;
	if (kind == OPTION_TIMESTAMP) {
		if (length != OPTION_TIMESTAMP_BYTES || seen >> SYN_TIMESTAMP_SHIFT & SYN_TIMESTAMP_MASK)
			return seen | SEEN_END | SYN_IS_ODD;
		seen |= (__u64)(at + 1) << SYN_TIMESTAMP_SHIFT;
	} else if (kind != OPTION_MSS && kind != OPTION_SCALE && kind != OPTION_SACK_PERMITTED) {
		return seen | SEEN_END | SYN_IS_ODD;
	}
	return seen + length;
}

/*
 * Whether a SYN is as hosts send it: what Python does to all others differs from packet to packet. Tells the place of its timestamp
 * among the options, counted from 1, or 0. Returns 0, or the counter of why it goes up.
 */
static __noinline __u32 judge_layout(struct __sk_buff *skb, struct packet *packet, struct settings *settings, __u32 *timestamp)
{
	__u64 seen = (__u64)packet->options << 8;

	if (packet->flags != SYN || packet->offset_flags & RESERVED_BITS || packet->payload || packet->ttl <= LEAST_TTL)
		return COUNT_UP_SYN;
	if (packet->options > SYN_OPTIONS_BYTES) /* so the client-address option fits in as well */
		return COUNT_UP_SYN;
	if (packet->options && !copied(skb, OPTIONS_START, packet->options))
		return COUNT_UP_SYN;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i <= MOST_OPTIONS; i++) {
		if (seen & SEEN_END)
			break;
		seen = look_at_syn_option(seen);
	}
	*timestamp = seen >> SYN_TIMESTAMP_SHIFT & SYN_TIMESTAMP_MASK;
	return seen & SYN_IS_ODD ? COUNT_UP_SYN : 0;
}

/* Turns a timestamp that begins at `start` into NOPs, and adds to `sum` what that adds to the words of the packet; 0 when all is well. */
static __noinline int blank_timestamp(struct __sk_buff *skb, __u32 start, __u32 *sum)
{
	__u32 first = start & ~1u, is_odd = start & 1; /* headers and options begin at even places of an IP packet, and so of a frame */

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < OPTION_TIMESTAMP_BYTES / 2 + 1; i++) {
		__u32 at = first + 2 * i, was, is = TWO_NOPS;
		__be16 word = 0;

		if (i == OPTION_TIMESTAMP_BYTES / 2 && !is_odd)
			break;
		if (bpf_skb_load_bytes(skb, at, &word, sizeof(word)))
			return -1;
		was = bpf_ntohs(word);
		if (is_odd && !i)
			is = (was & 0xff00) | (TWO_NOPS & 0xff);
		else if (i == OPTION_TIMESTAMP_BYTES / 2)
			is = (TWO_NOPS & 0xff00) | (was & 0xff);
		word = bpf_htons(is);
		*sum += change_of_word(was, is);
		if (bpf_skb_store_bytes(skb, at, &word, sizeof(word), 0))
			return -1;
	}
	return 0;
}

/* A sum that stands for itself modulo 0xffff, from 0 up, as Python has it. */
static __always_inline __u32 modulo(__u32 sum)
{
	sum = folded(sum);
	return sum == 0xffff ? 0 : sum;
}

/* Gives a record without a client one, or one that takes away the client it has: address and port count with their complements. */
static __always_inline void change_client(struct session_record *record, __be32 address, __be16 port, __u32 address_words, __u32 port_word)
{
	__u32 ip = modulo(record->inbound_ip_delta + address_words);
	__u32 transport = modulo(record->inbound_transport_delta + address_words + port_word);

	*(__u32 *)record->client_address = address;
	*(__u16 *)record->client_port = port;
	record->inbound_ip_delta = ip;
	record->outbound_ip_delta = modulo(0xffff - ip);
	record->inbound_transport_delta = transport;
	record->outbound_transport_delta = modulo(0xffff - transport);
}

/* Takes the client out of a record. */
static __always_inline void remove_client(struct session_record *record)
{
	__u32 client = modulo(words_of(bpf_ntohl(address_in(record->client_address))));

	change_client(record, 0, 0, 0xffff - client, 0xffff - bpf_ntohs(port_in(record->client_port)));
}

/* Makes a prepared record that of the session of this client, but for its version. Another session may have had it before. */
static __always_inline void fill(struct session_record *record, const struct packet *packet, __u64 now)
{
	union state_word opening = {.state = TCP_STATE_SYN_RECV, .flags = IS_OPENING | IN_FIRST_TABLE};
	__u32 delta = record->isn - packet->seq;
	struct side none = {};

	change_client(record, packet->source, packet->source_port, words_of(bpf_ntohl(packet->source)), bpf_ntohs(packet->source_port));
	record->inbound_seq_delta = delta;
	record->outbound_ack_delta = -delta;
	record->inbound_ack_delta = record->outbound_seq_delta = 0;
	record->inbound_window_shift = record->outbound_window_shift = 0;
	record->cookie = 0;
	record->client_isn = packet->seq;
	record->rs_first_seq = 0;
	*side_of(record, INBOUND) = none;
	*side_of(record, OUTBOUND) = none;
	record->client_next_seq = (__u64)packet->seq + 1;
	record->rs_acked = record->isn;
	record->last_seen_ns = now;
	record->opened_low = now / NS_PER_MS;
	record->opened_high = now / NS_PER_MS >> 32;
	*word_of(record) = opening.word;
	*(volatile __u32 *)&record->held = 0;
}

/* The options of its SYN, which are in the scratch area, are for Python: it may have to send that SYN again. */
static __always_inline void keep_options(struct session_record *record, __u32 bytes)
{
	struct scratch *copy;
	__u32 zero = 0;

	record->storm_reserved = 0;
	if (!bytes)
		return;
	copy = bpf_map_lookup_elem(&scratch, &zero);
	if (!copy)
		return;
	for (__u32 at = 0; at < SYN_OPTIONS_BYTES / 4; at++)
		((__u32 *)&record->storm_ns)[at] = ((__u32 *)copy->bytes)[at];
	record->storm_reserved = bytes;
}

/* The client of the session that had this entry before is forgotten, unless it has got another session meanwhile. */
static __noinline int forget_client(struct session_record *record, __u32 entry)
{
	if (!address_in(record->client_address))
		return 0;
	forget_client_flow(record, entry);
	remove_client(record);
	return 0;
}

/* Publishes both flows of a session, of which the real server's may be there. Returns 0, or the counter of why the client's is not. */
static __noinline __u32 publish(const struct packet *packet, struct session_record *record, __u32 entry)
{
	struct flow flow = client_flow(record, packet->source, packet->source_port);
	struct flow answer = {
		.family = 4,
		.protocol = IPPROTO_TCP,
		.source_port = port_in(record->real_server_port),
		.destination_port = port_in(record->local_port),
	};
	__u32 value = entry << FLOW_VALUE_BITS | INBOUND, *there;

	*(__u32 *)answer.source_address = address_in(record->real_server_address);
	*(__u32 *)answer.destination_address = address_in(record->local_address);
	if (bpf_map_update_elem(&flows, &flow, &value, BPF_NOEXIST))
		return COUNT_UP_RACE; /* the same SYN on another CPU, as a rule */
	value = entry << FLOW_VALUE_BITS | OUTBOUND;
	there = bpf_map_lookup_elem(&flows, &answer);
	if (there ? *there == value : !bpf_map_update_elem(&flows, &answer, &value, BPF_NOEXIST))
		return 0;
	bpf_map_delete_elem(&flows, &flow);
	return COUNT_UP_ROOM;
}

/* Whether this record may become that of a session for this packet. Returns 0, or the counter of why not. */
static __always_inline __u32 judge_record(const struct packet *packet, struct settings *settings, const struct session_record *record)
{
	struct real_server *real_server;
	__u32 slot;

	if (address_in(record->vip_address) != packet->destination || port_in(record->vip_port) != packet->destination_port)
		return COUNT_UP_EMPTY;
	slot = record->slot;
	real_server = bpf_map_lookup_elem(&real_servers, &slot);
	if (!real_server || real_server->flags & (RS_NO_LANE | RS_IS_REMOVED))
		return COUNT_UP_REMOVED;
	if (settings->toa && packet->total + CLIENT_OPTION_BYTES > real_server->mtu)
		return COUNT_UP_SYN;
	return 0;
}

/* Makes a record whose version is 0 that of a session. Returns 0, or the counter of why there is none. */
static __always_inline __u32 begin(const struct packet *packet, struct session *session)
{
	struct session_record *record = session->record;
	__u32 reason;

	forget_client(record, session->entry);
	fill(record, packet, bpf_ktime_get_ns());
	keep_options(record, packet->options);
	reason = session->is_proven ? become_proxied(packet, session) : 0;
	if (!reason)
		reason = publish(packet, record, session->entry);
	if (!reason) {
		*(volatile __u16 *)&record->version = RECORD_VERSION;
		return 0;
	}
	remove_client(record);
	if (session->is_proven)
		bpf_map_delete_elem(&proofs, &session->entry);
	return reason;
}

/* Takes a ticket and makes it a session. Returns 0, or the counter of why the packet goes up. */
static __noinline __u32 take_ticket(const struct packet *packet, struct ring *ring, struct session *session)
{
	__u32 is_mine = 0, reason = COUNT_UP_EMPTY, at;
	__u64 head = 0;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < MOST_TRIES; i++) {
		head = *(volatile __u64 *)&ring->head;
		if (*(volatile __u64 *)&ring->tail - head - 1 >= RING_PLACES)
			break;
		if (__sync_val_compare_and_swap(&ring->head, head, head + 1) == head) {
			is_mine = 1;
			break;
		}
	}
	if (!is_mine)
		return COUNT_UP_EMPTY;
	at = head & (RING_PLACES - 1);
	session->entry = ((volatile __u32 *)ring->tickets)[at];
	session->record = bpf_map_lookup_elem(&sessions, &session->entry);
	if (session->record && !session->record->version)
		reason = judge_record(packet, session->settings, session->record);
	if (!reason)
		reason = begin(packet, session);
	if (reason)
		((volatile __u32 *)ring->tickets)[at] = VOID_TICKET;
	return reason;
}

/* Has a session be that of an endpoint; whether there is one. */
static __always_inline int has_endpoint(struct session *session, __u64 endpoint)
{
	session->entry = endpoint;
	session->record = endpoint == NO_ENDPOINT ? 0 : bpf_map_lookup_elem(&sessions, &session->entry);
	return session->record != 0;
}

/*
 * Takes the next turn, for the pool that the schedule says, when there is an endpoint; `step` is that of the turn. Returns 0, or the
 * counter of why there is none.
 */
static __noinline __u32 take_turn(const struct packet *packet, struct ring *ring, struct session *session, __u64 choice, __u32 *step)
{
	__u32 length = *(volatile __u32 *)&ring->schedule_length, place, pool, reason;
	__u64 turn;

	if (!length)
		return COUNT_UP_EMPTY;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < MOST_TRIES; i++) {
		turn = *(volatile __u64 *)&ring->turn;
		if ((__s64)(*(volatile __u64 *)&ring->turn_limit - turn) <= 0)
			break;
		place = ring->by_client ? (__u32)choice : turn % length;
		pool = ((volatile __u16 *)ring->schedule)[place % SCHEDULE_PLACES];
		*step = ((volatile __u32 *)ring->steps)[turn % STEPS];
		if (!has_endpoint(session, rested_endpoint(pool, *step, 0)))
			break;
		reason = judge_record(packet, session->settings, session->record);
		if (reason)
			return reason;
		if (__sync_val_compare_and_swap(&ring->turn, turn, turn + 1) != turn)
			continue;
		return has_endpoint(session, take_rested_endpoint(pool, *step)) ? 0 : COUNT_UP_EMPTY;
	}
	return COUNT_UP_EMPTY;
}

/* Uses an endpoint again whose session is over. Returns 0, or the counter of why none is used. */
static __noinline __u32 take_endpoint(const struct packet *packet, struct ring *ring, struct session *session, __u64 choice)
{
	__u32 step = 0, reason = take_turn(packet, ring, session, choice, &step);
	struct home *home;

	if (reason)
		return reason;
	home = bpf_map_lookup_elem(&homes, &session->entry);
	if (!home)
		return COUNT_UP_EMPTY;
	/* Somebody may just be letting go of its client, and makes it void behind that. */
	if (__sync_lock_test_and_set(&home->place, PLACE_OUT) == PLACE_LET_GO)
		return COUNT_UP_RACE;
	*(volatile __u16 *)&session->record->version = 0;
	session->record->isn = (__u32)session->record->rs_acked + (step & ((1u << STEP_BITS) - 1));
	reason = begin(packet, session);
	*(volatile __u32 *)&home->place = reason ? PLACE_VOID : PLACE_TAKEN;
	if (reason)
		return reason;
	count(COUNT_ENDPOINT_REUSED);
	remember_longer(session->ring, packet->source, choice);
	return 0;
}

/* The ring of the shard that gets the packets of this client. */
static __always_inline struct ring *ring_of(const struct packet *packet, __u32 first_ring, struct session *session)
{
	session->ring = first_ring + shard_of_client(packet);
	return bpf_map_lookup_elem(&rings, &session->ring);
}

/* Opens a session, unless the shard has closed the ring: it waits for those who have entered. Returns as the two above. */
static __always_inline __u32 open_session(const struct packet *packet, struct ring *ring, struct session *session)
{
	__u32 reason = COUNT_UP_EMPTY;
	__u64 choice;

	if (enter(ring) && (__s32)(ring->generation - session->settings->generation) >= 0 &&
	    (session->is_proven || !*(volatile __u32 *)&ring->for_proofs)) {
		choice = choice_of_client(session->ring, packet->source);
		reason = choice == NO_CHOICE ? COUNT_UP_NEW_CLIENT : 0;
		if (!reason && session->comes_again)
			reason = let_client_go(packet, session->ring);
		if (!reason)
			reason = take_endpoint(packet, ring, session, choice);
		if (reason == COUNT_UP_EMPTY)
			reason = take_ticket(packet, ring, session);
	}
	leave(ring);
	return reason;
}

/* The SYN goes on to its real server, by way of the rules of the host. What cannot be rewritten any more is sent again by its client. */
static __noinline int pass_on(struct __sk_buff *skb, struct packet *packet, struct session *session, __u32 timestamp)
{
	struct settings *settings = session->settings;
	__u32 sum = 0, longer = settings->toa ? CLIENT_OPTION_BYTES : 0;
	struct rewrite to = {};

	read_rewrite(session, &to);
	count_carried(packet, session, session->record->last_seen_ns);
	count(COUNT_OPENED);
	if (!is_resized(skb, packet, longer))
		return TC_ACT_SHOT;
	if (longer) {
		count(COUNT_OPTION_ADDED);
		if (insert_client_option(skb, packet, settings->toa_kind, &sum))
			return TC_ACT_SHOT;
	}
	if (timestamp && settings->timestamp_remove && blank_timestamp(skb, OPTIONS_START + longer + timestamp - 1, &sum))
		return TC_ACT_SHOT;
	if (rewrite_tcp(skb, packet, &to, longer, 0, sum, 0))
		return TC_ACT_SHOT;
	skb->priority = STEERED;
	return TC_ACT_UNSPEC;
}

/* The first ring of the service that a SYN opens a connection to; null for all other packets. */
static __always_inline __u32 *first_ring_of(struct __sk_buff *skb, struct packet *packet)
{
	struct front_door_key key;

	if (!is_syn(skb, packet))
		return 0;
	key = service_of(packet);
	return bpf_map_lookup_elem(&admissions, &key);
}

/*
 * A function of its own, for its stack: the packet is read anew. It has no session in the lane, or with `comes_again` one that is over
 * and whose endpoint rests.
 */
static __noinline int open_by_ticket(struct __sk_buff *skb, struct settings *settings, __u32 comes_again)
{
	struct packet packet = {};
	struct session session = {.settings = settings, .comes_again = comes_again};
	struct way_out way = {};
	struct ring *ring;
	__u32 *first = 0, reason, timestamp = 0;

	if (!read_ip(skb, &packet))
		first = first_ring_of(skb, &packet);
	if (!first)
		return up(comes_again ? COUNT_UP_HELD : COUNT_UP_NO_SESSION);
	reason = judge_syn(skb, &packet, &way);
	if (!reason)
		reason = judge_layout(skb, &packet, settings, &timestamp);
	if (reason)
		return up(reason);
	ring = ring_of(&packet, *first, &session);
	reason = ring ? open_session(&packet, ring, &session) : COUNT_UP_EMPTY;
	if (!reason)
		return pass_on(skb, &packet, &session, timestamp);
	if (comes_again) /* as for any packet of a session that goes up */
		know_client(&packet);
	return up(reason);
}
